"""What a working set has decided, written: one statement, and `Again` when somebody else was quicker.

All parts of the statement see the ledger as it was before it. So what a new or a moved step must know of a wake-up,
or of a user that has just become known, is worked out here; then the steps of other flows are told, which takes
statements of their own: each probes one index, and reads no step that it does not change.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from schemas.base import utc_text
from schemas.outcomes import Outcome
from worker.engine.flows.base import Succeeded
from worker.ledger.database import Connection
from worker.ledger.rows import (
    HISTORY_MOST,
    MOVES,
    NOT_OURS,
    Claimed,
    Finish,
    FlowRow,
    Later,
    Move,
    OutcomeRow,
    StepState,
)
from worker.ledger.working_set import OUTCOME_LEASE, NewStep, WorkingSet
from worker.ledger.writes import Writes, columns


@dataclass(frozen=True, slots=True)
class Moves:
    """Steps that move under `lease`: nothing at all is written when one of them is no longer held by it."""

    lease: uuid.UUID
    steps: Sequence[tuple[Claimed, Move]]


async def save(
    connection: Connection,
    working: WorkingSet,
    *,
    new: bool = False,
    moves: Moves | None = None,
    writes: Writes | None = None,
) -> Sequence[OutcomeRow]:
    """Writes all of it. Raises `Again` when a race was lost. Returns the outcomes, leased to this replica.

    `new`: the flows are not in the ledger yet. `writes`: what is to be written in the same statement besides.
    """
    working.settle_wakes()
    writes, flows = writes or Writes(), list(working.changed.values())
    if new:
        _insert_flows(writes, working, flows)
    working.shared.add_writes(writes)
    working.departures.add_writes(writes)
    if moves is not None:
        _move_steps(writes, working, moves)
    turned = [step for step in working.steps if step.replaces is not None]
    _turn_steps(writes, working, turned)
    if not new:
        _update_flows(writes, working, flows)
    _insert_steps(writes, working, [step for step in working.steps if step.replaces is None])
    outcomes = _insert_outcomes(writes, working)
    told = await writes.run(connection)
    await _wake(connection, working)
    await _rekey(connection, working)
    ids: Mapping[str, tuple[int, bool]] = (told["outcomes"] if outcomes else None) or {}
    until = working.begun + OUTCOME_LEASE
    rows = []
    for (flow, *_), (outcome_id, flow_id, topic, _, status, key, headers, body) in zip(
        working.outcomes, outcomes, strict=True
    ):
        row_id, ours = ids.get(outcome_id, (None, False))
        if row_id is not None:
            lease, accepted_at = until if ours else NOT_OURS, flow.created_at if flow else None
            rows.append(OutcomeRow(row_id, topic, status, key, headers, body, lease, flow_id, accepted_at))
    return rows


def _insert_flows(writes: Writes, working: WorkingSet, flows: Sequence[FlowRow]) -> None:
    if not flows:
        return
    seal = working.vault.seal
    writes.add(
        "new_flows",
        'insert into flow (id, topic, event_id, record_key, partition, "offset", trace, trader_id, user_id,'
        " order_id, account_id, state, attempts, facts, body, content, error_code, error_text, asked_at, created_at,"
        " ended_at)"
        " select *, case when s = 'open' then null else c end from unnest($1::uuid[], $2::text[], $3::text[],"
        " $4::bytea[], $5::int[], $6::bigint[], $7::jsonb[], $8::text[], $9::bigint[], $10::text[], $11::bigint[],"
        " $12::text[], $13::int[], $14::jsonb[], $15::bytea[], $16::bytea[], $17::text[], $18::text[],"
        " $19::timestamptz[], $20::timestamptz[])"
        " as n (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, s, a13, a14, a15, a16, a17, a18, a19, c)"
        " on conflict (topic, event_id) do nothing returning 1",
        *columns(flows, "id", "topic", "event_id", "record_key", "partition", "offset", "trace", "trader_id"),
        *columns(flows, "user_id", "order_id", "account_id", "state", "attempts", "facts"),
        [seal(flow.event.keep()) if flow.state in ("open", "in_doubt") else None for flow in flows],
        *columns(flows, "content", "error_code", "error_text", "asked_at", "created_at"),
        rows=len(flows),  # fewer: another replica was delivered one of the events too, and was quicker
    )


def _update_flows(writes: Writes, working: WorkingSet, flows: Sequence[FlowRow]) -> None:
    """Ids go into their columns when the flow ends. Until then they are facts (`opening.flow_of` knows): an update
    that changes no indexed column costs a fifth.
    """
    if not flows:
        return
    writes.add(
        "flows",
        "update flow set state = n.state, round = n.round, attempts = n.attempts, facts = n.facts,"
        " error_code = n.error_code, error_text = n.error_text,"
        " trader_id = case when n.state = 'open' then flow.trader_id else n.trader_id end,"
        " user_id = case when n.state = 'open' then flow.user_id else n.user_id end,"
        " account_id = case when n.state = 'open' then flow.account_id else n.account_id end,"
        " ended_at = case when n.state = 'open' then null else $11::timestamptz end,"
        " body = case when n.state in ('open', 'in_doubt') then flow.body end"
        " from unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::jsonb[], $6::text[], $7::text[], $8::text[],"
        " $9::bigint[], $10::bigint[]) as n (id, state, round, attempts, facts, error_code, error_text, trader_id,"
        " user_id, account_id) where flow.id = n.id returning 1",
        *columns(flows, "id", "state", "round", "attempts", "facts", "error_code", "error_text"),
        *columns(flows, "trader_id", "user_id", "account_id"),
        working.now,
    )


def _move_steps(writes: Writes, working: WorkingSet, moves: Moves) -> None:
    if not moves.steps:
        return
    rows = [_moved(working, step, move) for step, move in moves.steps]
    writes.add(
        "moves",
        "update step set state = n.s, attempts = n.a, arrived = n.d, spent = n.p, context = n.c, company = n.g,"
        " result = n.r, history = case when n.h is null or jsonb_array_length(history) >= $13::int then history"
        " else history || n.h end,"
        " due = case when n.s = 'due' and waits_for && $2::text[] then least(n.d, $3::timestamptz) else n.d end,"
        " trader_key = coalesce(n.k, trader_key), lease = null, lease_until = null,"
        " ended_at = case when n.s in ('done', 'refused') then n.d end"
        " from unnest($4::bigint[], $5::text[], $6::int[], $7::timestamptz[], $8::float8[], $9::jsonb[], $10::bigint[],"
        " $11::jsonb[], $12::text[], $14::jsonb[]) as n (id, s, a, d, p, c, g, r, k, h)"
        " where step.id = n.id and step.lease is not distinct from $1::uuid returning 1",
        moves.lease,
        list(working.wakes),
        working.now,
        *(list(column) for column in zip(*rows, strict=True)),
        HISTORY_MOST,
        [_history(working, move) for _, move in moves.steps],
        rows=len(rows),
    )


def _moved(working: WorkingSet, step: Claimed, move: Move) -> tuple[Any, ...]:
    """A step's columns after its move: id, state, attempts, due, spent, context, company, result, trader key.

    The partner's words may carry personal values: they are kept masked, in the flow's outcome, and not here.
    """
    columns: tuple[Any, ...]
    match move:
        case Finish(end=Succeeded(value=value)):
            state, columns = StepState.DONE, (working.now, step.spent, step.context, step.company, dict(value))
        case Finish(parked=parked):
            state = StepState.PARKED if parked else StepState.REFUSED
            columns = (working.now, step.spent, {}, None, None)
        case Later(state=state):
            columns = (working.now + move.wait, move.spent, dict(move.context), move.company, None)
        case _:
            assert_never(move)
    if state not in MOVES[step.state]:
        raise ValueError(f"a step cannot move from {step.state} to {state}")
    return step.id, state.value, step.attempts, *columns, working.rekeyed_to(step.flow)


def _history(working: WorkingSet, move: Move) -> Mapping[str, Any] | None:
    """What the step's history says of a move: what a look-up found, and when the step goes again."""
    entry: dict[str, Any] = {"at": working.now.isoformat()}
    if move.found is not None:
        entry["found"] = move.found.value
    if isinstance(move, Later):
        return entry | {"state": move.state.value, "due": (working.now + move.wait).isoformat()}
    return entry if move.found is not None else None


def _turn_steps(writes: Writes, working: WorkingSet, steps: Sequence[NewStep]) -> None:
    """Waits that turn into what comes after them."""
    if steps:
        writes.add(
            "turns",
            "update step set operation = n.o, rank = n.r, state = n.s, trader_key = n.t, due = n.d, arrived = n.d,"
            " waits_for = string_to_array(n.w, e'\\x1f'), alike = n.a, weight = n.g, lease = null,"
            " lease_until = null, ended_at = case when n.s in ('done', 'refused') then n.d end,"
            " history = case when jsonb_array_length(history) >= $11::int"
            " or n.s = 'waiting' and step.waits_for is not distinct from string_to_array(n.w, e'\\x1f') then history"
            " else history || jsonb_build_object('at', $10::timestamptz, 'waited', coalesce(to_jsonb(step.waits_for),"
            " '[]')) end"
            " from unnest($1::bigint[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::timestamptz[],"
            " $7::text[], $8::text[], $9::smallint[]) as n (id, o, r, s, t, d, w, a, g)"
            " where step.id = n.id and step.state = 'waiting' returning 1",
            [step.replaces for step in steps],
            *_step_columns(working, steps),
            working.now,
            HISTORY_MOST,
        )


def _insert_steps(writes: Writes, working: WorkingSet, steps: Sequence[NewStep]) -> None:
    if steps:
        writes.add(
            "new_steps",
            "insert into step (flow_id, operation, rank, state, trader_key, due, arrived, waits_for, alike, weight)"
            " select f, o, r, s, t, d, d, string_to_array(w, e'\\x1f'), a, g from unnest($1::uuid[], $2::text[],"
            " $3::smallint[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::text[], $9::smallint[])"
            " as n (f, o, r, s, t, d, w, a, g) returning 1",
            [step.flow.id for step in steps],
            *_step_columns(working, steps),
        )


def _step_columns(working: WorkingSet, steps: Sequence[NewStep]) -> list[list[Any]]:
    operations, *others = columns(steps, "operation", "alike", "weight")
    return [
        operations,
        [working.ranks.get(operation, 0) for operation in operations],
        [step.state.value for step in steps],
        [working.rekeyed_to(step.flow) or step.flow.trader_key for step in steps],
        [working.due(step) for step in steps],
        ["\x1f".join(step.waits_for) if step.waits_for else None for step in steps],
        *others,
    ]


def _insert_outcomes(writes: Writes, working: WorkingSet) -> Sequence[tuple[Any, ...]]:
    """The rows: outcome id, flow, topic, event, status, key, headers, body."""
    rows = [
        (
            outcome.outcome_id,
            flow.id if flow else None,
            outcome.topic,
            outcome.event_id,
            outcome.status.value,
            _outcome_key(record_key, outcome),
            _headers(outcome, working.source, trace),
            outcome.to_json(),
        )
        for flow, outcome, record_key, trace in working.outcomes
    ]
    if rows:
        writes.add(
            "outcomes",
            "insert into outcome (outcome_id, flow_id, topic, event_id, status, record_key, headers, body, lease_until)"
            # While an earlier outcome of its flow is not noted as published, whoever publishes that one, an outcome is
            # nobody's: `pending` never comes after the final one.
            " select n.*, clock_timestamp() + make_interval(secs => case when (select true from outcome e"
            " where e.flow_id = n.f and e.published_at is null limit 1) then 0 else $9::float8 end)"
            " from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::jsonb[],"
            " $8::bytea[]) as n (o, f, t, e, s, k, h, b)"
            " on conflict (outcome_id) do nothing returning outcome_id, id, lease_until > clock_timestamp() as ours",
            *(list(column) for column in zip(*rows, strict=True)),
            OUTCOME_LEASE,
            told="jsonb_object_agg(outcome_id, jsonb_build_array(id, ours))",
        )
    return rows


async def _wake(connection: Connection, working: WorkingSet) -> None:
    """Makes the steps due that wait for what has happened."""
    if working.wakes:
        await connection.execute(_WAKE, list(working.wakes), working.now, _ASLEEP)


async def _rekey(connection: Connection, working: WorkingSet) -> None:
    """Steps that were tied together by their trader are tied by the trader's user from now on, all of them: a call that
    names the one must not be in flight beside a call that names the other.
    """
    if working.rekeyed:
        traders = [f"t:{trader_id}" for trader_id in working.rekeyed]
        await connection.execute(_REKEY, traders, [f"u:{user_id}" for user_id, _ in working.rekeyed.values()])


# Each key is looked for by itself, and `offset 0` keeps it so: planned in one piece, these may walk all open steps.
_WAKE = """
update step set due = $2::timestamptz from unnest($1::text[]) as k (key) cross join lateral (
    select id from step where waits_for @> array[k.key] offset 0) as found
where step.id = found.id and step.state = any($3::text[]) and step.due > $2::timestamptz
"""
_REKEY = """
update step set trader_key = k.new_key from unnest($1::text[], $2::text[]) as k (key, new_key) cross join lateral (
    select id from step where trader_key = k.key and ended_at is null offset 0) as found
where step.id = found.id
"""

_ASLEEP = [StepState.WAITING.value, StepState.DUE.value]


def _outcome_key(record_key: bytes | None, outcome: Outcome) -> bytes | None:
    """The outcome's Kafka key: the input record's, or the trader, or the user."""
    if record_key is not None:
        return record_key
    if outcome.trader_id is not None:
        return outcome.trader_id.encode()
    return str(outcome.user_id).encode() if outcome.user_id is not None else None


def _headers(outcome: Outcome, source: str, trace: Mapping[str, str]) -> dict[str, str]:
    """CloudEvents headers in binary mode, and the input's trace context."""
    return {
        "ce_specversion": "1.0",
        "ce_id": outcome.outcome_id,
        "ce_type": f"{outcome.topic}.outcome",
        "ce_source": source,
        "ce_time": utc_text(outcome.occurred_at),
        "content-type": "application/json",
        **trace,
    }
