"""A flow with all that happened to it: its steps, calls, look-ups, outcomes, what operators did, and what held it back.

Nothing personal is read: no event, no words of the partner but those of the outcome, which are masked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from schemas.outcomes import FACTS
from worker.engine.states import PLAN
from worker.ledger import holds
from worker.ledger.browse import Summary
from worker.ledger.database import Connection

SHOWN = tuple(FACTS)
"""Facts that may be shown: those that an outcome tells."""

_SHOWN_OF_STEPS = (*SHOWN, "found", "accounts")
"""Besides: the ids and states of the trading permissions that a look-up found, and the accounts."""

_HOLDS_MOST = 20
"""Holds of one scope that are looked at, the newest: more in the life of a flow explain nothing better."""


@dataclass(frozen=True, slots=True)
class StepSeen:
    """One Tradovate operation of a flow, or a wait (`PLAN`). `result`: ids only.

    `history`, in its order: `waited` for these keys until `at`; what a look-up `found` (`rows.Found`); back in a queue
    (`state`), not before `due`; `lost`: the replica that sent it has died.
    """

    id: int
    operation: str
    state: str
    attempts: int
    due: datetime
    waits_for: Sequence[str]
    created_at: datetime
    ended_at: datetime | None
    call_ids: Sequence[int]
    result: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]] = ()

    @property
    def waits(self) -> bool:
        """Whether it is no operation but a wait."""
        return self.operation == PLAN


@dataclass(frozen=True, slots=True)
class CallSeen:
    """A call that carried a step of the flow, or looked for what one had made."""

    id: int
    operation: str
    endpoint: str
    domain: str
    kind: str
    items: int
    replica: str
    at: datetime
    finished_at: datetime | None
    result: str | None
    http_status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class OutcomeSeen:
    """An outcome of the flow; `published_at` None while it is in the outbox."""

    outcome_id: str
    status: str
    error_code: str | None
    error_text: str | None
    request_status: str | None
    created_at: datetime
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class NoteSeen:
    """What an operator did to the flow, and why."""

    at: datetime
    action: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Held:
    """What kept calls back for a while; `until` None: it still does, and no end is set."""

    scope: str
    reason: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Story:
    """A flow with all that happened to it, each in its order. `holds`: what keeps its next call back now; `held`: what
    kept calls of its operations back during its life.
    """

    summary: Summary
    facts: Mapping[str, Any]
    steps: Sequence[StepSeen]
    calls: Sequence[CallSeen]
    outcomes: Sequence[OutcomeSeen]
    notes: Sequence[NoteSeen]
    holds: Sequence[holds.Hold]
    held: Sequence[Held] = ()


async def story_of(connection: Connection, summary: Summary) -> Story:
    """The flow with its steps, calls, outcomes and notes."""
    facts = await connection.fetchval("select facts from flow where id = $1", summary.flow_id)
    steps = [
        StepSeen(**{**dict(row), "result": shown(row["result"], _SHOWN_OF_STEPS)})
        for row in await connection.fetch(
            "select id, operation, state, attempts, due, coalesce(waits_for, '{}') as waits_for, created_at, ended_at,"
            " call_ids, coalesce(result, '{}'::jsonb) as result, history from step where flow_id = $1 order by id",
            summary.flow_id,
        )
    ]
    calls = await connection.fetch(
        "select id, operation, endpoint, domain, kind, items, replica, at, finished_at, result, http_status, error"
        " from call where id = any($1) order by id",
        sorted({call for step in steps for call in step.call_ids}),
    )
    outcomes = await connection.fetch(
        "select outcome_id, status, body, created_at, published_at from outcome where flow_id = $1 order by id",
        summary.flow_id,
    )
    notes = await connection.fetch(
        "select at, action, by, reason from note where flow_id = $1 order by id", summary.flow_id
    )
    scopes = [holds.ALL, holds.LOGIN, holds.PAUSE_ALL]
    if summary.operation is not None:
        scopes += [holds.pause_scope(summary.operation), holds.endpoint_scope(summary.operation)]
    held = await holds.live(connection, scopes) if summary.state.stored == "open" else []
    return Story(
        summary,
        shown(facts or {}),
        steps,
        [CallSeen(*row) for row in calls],
        [_outcome(row) for row in outcomes],
        [NoteSeen(*row) for row in notes],
        held,
        await _held(connection, summary, {step.operation for step in steps if not step.waits}),
    )


async def _held(connection: Connection, summary: Summary, operations: Collection[str]) -> list[Held]:
    scopes = [holds.ALL, holds.LOGIN, holds.PAUSE_ALL]
    scopes += [scope(each) for each in operations for scope in (holds.pause_scope, holds.endpoint_scope)]
    rows = await connection.fetch(
        "select h.scope, h.reason, h.created_at as since, least(h.cleared_at, h.until) as until"
        " from unnest($1::text[]) as s (scope) cross join lateral (select * from hold where scope = s.scope"
        " and created_at <= coalesce($3::timestamptz, statement_timestamp()) order by scope, created_at desc limit $4)"
        " as h where coalesce(least(h.cleared_at, h.until), 'infinity') >= $2::timestamptz order by h.id",
        sorted(set(scopes)),
        summary.created_at,
        summary.ended_at,
        _HOLDS_MOST,
    )
    return [Held(**dict(row)) for row in rows]


def shown(facts: Mapping[str, Any], names: Sequence[str] = SHOWN) -> dict[str, Any]:
    """The facts that may be shown."""
    return {name: facts[name] for name in names if facts.get(name) not in (None, [], ())}


def _outcome(row: Any) -> OutcomeSeen:
    body = orjson.loads(row["body"])
    return OutcomeSeen(
        row["outcome_id"],
        row["status"],
        body.get("errorCode"),
        body.get("errorText"),
        body.get("requestStatus"),
        row["created_at"],
        row["published_at"],
    )
