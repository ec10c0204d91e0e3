"""Flows for an operator to see: the newest by filters, and one by any of its ids.

Quick with millions of flows: every query is a few probes of an index, and pages follow the flow's id, which is
time-ordered. Nothing personal is read: no event, no words of the partner but those of the outcome, which are masked.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from schemas.events import TOPICS
from worker.ledger.database import Connection
from worker.ledger.state_summary import WORKING

SEEN_WITHIN = 15
"""Seconds; a replica says every five that it is there."""


class FlowState(StrEnum):
    """The states of a flow as people call them; the first two are a flow that is open."""

    WAITING = "waiting"
    WORKING = "working"
    IN_DOUBT = "in_doubt"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def stored(self) -> str:
        """As the ledger's rows have it."""
        return "open" if self in (FlowState.WAITING, FlowState.WORKING) else self.value


@dataclass(frozen=True, slots=True)
class Summary:
    """A flow in one line. `operation`, `due`, `waits_for`: of the step that is not over. `kept`: its event is here."""

    flow_id: uuid.UUID
    event_id: str
    topic: str
    state: FlowState
    order_id: str | None
    trader_id: str | None
    user_id: int | None
    account_id: int | None
    round: int
    attempts: int
    error_code: str | None
    error_text: str | None
    created_at: datetime
    ended_at: datetime | None
    partition: int
    offset: int
    kept: bool
    operation: str | None
    due: datetime | None
    waits_for: Sequence[str]


_COLUMNS = f"""
f.id, f.event_id, f.topic, case f.state when 'open' then {WORKING} else f.state end,
f.order_id, f.trader_id, coalesce(f.user_id, (f.facts ->> 'userId')::bigint),
coalesce(f.account_id, (f.facts ->> 'accountId')::bigint), f.round, greatest(f.attempts, coalesce(m.most, 0)),
f.error_code, f.error_text, f.created_at, f.ended_at, f.partition, f."offset", f.body is not null,
s.operation, case f.state when 'open' then s.due end, coalesce(s.waits_for, '{{}}')
"""

_STEP = """
left join lateral (select operation, state, due, lease, waits_for from step where flow_id = f.id
    and state not in ('done', 'refused') order by id desc limit 1) s on true
"""

_MOST = "left join lateral (select max(attempts) as most from step where flow_id = f.id) m on true"

_OF_STATE = f"(f.state <> 'open' or $3::text is null or {WORKING} = $3)"

_OF_TRADER = """
select id from flow where trader_id = $6
union select id from flow where user_id = (select user_id from trader where trader_id = $6)
"""

_OF_ORDER = "select id from flow where order_id = $6"

# The ids come first, and each flow is then read by its own (`offset 0` keeps it so): planned in one piece, this may
# walk all flows to find the few.
_BY_ID = "cross join lateral (select * from flow where id = found.id offset 0) as f"

_LAST = "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid"
_FIRST = "'00000000-0000-0000-0000-000000000000'::uuid"


def _newest(states: Sequence[FlowState]) -> str:
    """Flows of these states, by topic: each state has an index of topics and ids. Only ids are read of each pair of
    both; a page's flows, and only these, are then read whole.
    """
    # Compared as rows: asked for a topic and an order by id, the planner walks all flows from the newest on until it
    # has met enough of them, or the last. With a third column in the row, the state, a probe that finds too few would
    # go on through all the other states of its topic.
    opened = [state for state in states if state.stored == "open"]
    found = []
    for stored in sorted({state.stored for state in states}):
        # Whether an open flow waits shows in its step, which is read only if that is asked.
        of_state = len(opened) == 1 and stored == "open"
        step, also = (_STEP, f"and {WORKING} = '{opened[0].value}'") if of_state else ("", "")
        found.append(f"""
    select f.id from unnest($1::text[]) t cross join lateral (
        select f.id from flow f {step}
        where f.state = '{stored}' and (f.topic, f.id) < (t, coalesce($2, {_LAST})) and (f.topic, f.id) >= (t, {_FIRST})
        {also} order by f.topic desc, f.id desc limit $3) f""")  # noqa: S608 - constants of ours
    return f"""
select {_COLUMNS} from (
    select id from ({" union all ".join(found)}) as of_all order by id desc limit $3) as found {_BY_ID} {_STEP} {_MOST}
order by f.id desc
"""  # noqa: S608 - constants of ours


_FILTERED = """
select {columns} from ({ids}) as found {by_id} {step} {most} where f.topic = any($1) and f.state = any($2)
and {of_state} and ($4::uuid is null or f.id < $4){more} order by f.id desc limit $5
"""

_MATCHES = f"""
select {_COLUMNS} from (
    select id from flow where id = $1::uuid
    union select f.id from unnest($2::text[]) as t (topic) join flow f on f.topic = t.topic and f.event_id = $3
    union (select id from flow where order_id = $3 order by created_at desc limit $4)) as found {_BY_ID} {_STEP} {_MOST}
order by f.id desc limit $4
"""  # noqa: S608 - constants of ours


async def newest(
    connection: Connection,
    *,
    states: Sequence[FlowState] = tuple(FlowState),
    topics: Sequence[str] = TOPICS,
    trader_id: str | None = None,
    order_id: str | None = None,
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[Summary]:
    """The newest flows that meet all filters, newest first; `before`: those older than that flow, the next page.

    `trader_id` finds flows that name the trader's Tradovate user in place of the trader, too.
    """
    if trader_id is None and order_id is None:
        return [_summary(row) for row in await connection.fetch(_newest(states), list(topics), before, limit)]
    stored = sorted({state.stored for state in states})
    opened = [state.value for state in states if state.stored == "open"]
    only = opened[0] if len(opened) == 1 else None
    arguments = [list(topics), stored, only, before, limit]
    ids, more = (_OF_ORDER, "") if trader_id is None else (_OF_TRADER, "")
    keys = [order_id if trader_id is None else trader_id]
    if trader_id is not None and order_id is not None:
        more = " and f.order_id = $7"
        keys.append(order_id)
    parts = {"columns": _COLUMNS, "by_id": _BY_ID, "step": _STEP, "most": _MOST, "of_state": _OF_STATE}
    query = _FILTERED.format(**parts, ids=ids, more=more)
    return [_summary(row) for row in await connection.fetch(query, *arguments, *keys)]


async def matches(connection: Connection, text: str, limit: int = 20) -> list[Summary]:
    """The flows whose flow id, event id or order id `text` is, newest first. A flow id means that flow alone."""
    flow_id = _uuid(text)
    found = [_summary(row) for row in await connection.fetch(_MATCHES, flow_id, list(TOPICS), text, limit)]
    return [each for each in found if each.flow_id == flow_id] or found


async def content(connection: Connection, flow_id: uuid.UUID) -> bytes | None:
    """The keyed hash of what a flow's event says."""
    found: bytes | None = await connection.fetchval("select content from flow where id = $1", flow_id)
    return found


async def workers(connection: Connection) -> int:
    """How many workers run now."""
    count: int = await connection.fetchval(
        "select count(*) from replica where role = 'worker' and seen_at > now() - make_interval(secs => $1)",
        float(SEEN_WITHIN),
    )
    return count


def _summary(row: Any) -> Summary:
    columns = list(row)
    columns[3] = FlowState(columns[3])
    return Summary(*columns)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
