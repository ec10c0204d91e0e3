"""The table `step`: one Tradovate operation of a flow, or a wait. What is written when a transaction has been planned.

Claims are in `claims.py`, leases that have run out in `leases.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from worker.engine.changes import ClosedStep, MovedStep, NewStep
from worker.engine.states import PLAN, StepState
from worker.ledger.columns import column, columns
from worker.ledger.database import Again, Connection


async def add(connection: Connection, steps: Sequence[NewStep], ranks: Mapping[str, int]) -> None:
    """Adds steps. `ranks`: of each operation, 0 goes first."""
    if steps:
        await connection.execute(_ADD, [step.flow_id for step in steps], *_planned(steps, ranks))


async def replace_waits(
    connection: Connection, steps: Sequence[NewStep], ranks: Mapping[str, int], now: datetime
) -> None:
    """Waiting steps that turn into what comes after them; one that an operator has ended meanwhile stays as it is."""
    if steps:
        await connection.execute(
            _REPLACE, [step.replaces for step in steps], *_planned(steps, ranks), now, HISTORY_MOST
        )


async def move(connection: Connection, lease: uuid.UUID | None, steps: Sequence[MovedStep]) -> None:
    """Steps after their call or look-up. Raises `Again` when one of them is no longer under `lease`."""
    if not steps:
        return
    moved = await connection.fetch(
        _MOVE,
        lease,
        *columns(steps, "id", "state", "attempts", "due", "spent"),
        *columns(steps, "memory", "batch_id", "result", "trader_key", "ended_at", "history"),
        HISTORY_MOST,
    )
    if len(moved) != len(steps):
        raise Again


async def close(connection: Connection, steps: Sequence[ClosedStep]) -> None:
    """Ends steps that are locked. What the partner said of them may name persons, and is deleted."""
    if steps:
        await connection.execute(_CLOSE, *columns(steps, "id", "state"))


async def wake(connection: Connection, keys: Sequence[str], now: datetime) -> None:
    """Makes the steps due that wait for what has happened."""
    if keys:
        await connection.execute(_WAKE, list(keys), now)


async def change_trader_keys(connection: Connection, keys: Mapping[str, str]) -> None:
    """Steps that had their trader's key get the key of the trader's user, all of them: a call that names the one must
    not be in flight beside a call that names the other.
    """
    if keys:
        await connection.execute(_CHANGE_TRADER_KEYS, list(keys.keys()), list(keys.values()))


async def plan_again(connection: Connection, step_ids: Sequence[int]) -> None:
    """Ends steps that are locked and are not to be sent; their flows are planned again at once."""
    await connection.execute(_PLAN_AGAIN, list(step_ids), StepState.REFUSED.value, PLAN, StepState.WAITING.value)


async def still_under(connection: Connection, lease: uuid.UUID, ids: Sequence[int]) -> set[int]:
    """Those of the steps that are still under the lease; they are locked."""
    rows = await connection.fetch(
        "select step.id, step.lease from unnest($1::bigint[]) as named (id) join step using (id)"
        " order by step.id for update of step",
        list(ids),
    )
    return {row["id"] for row in rows if row["lease"] == lease}


async def claim_waits(connection: Connection, lease: uuid.UUID, limit: int, lease_seconds: float) -> Sequence[Any]:
    """Leases up to `limit` waiting steps whose time has come, the oldest first."""
    rows: Sequence[Any] = await connection.fetch(_CLAIM_WAITS, PLAN, limit, lease, lease_seconds)
    return rows


async def open_steps(connection: Connection, flow_id: uuid.UUID) -> Sequence[Any]:
    """The steps of a flow that have not ended, locked."""
    rows: Sequence[Any] = await connection.fetch(
        "select id, operation, state, attempts from step where flow_id = $1 and state not in ('done', 'refused')"
        " order by id for update",
        flow_id,
    )
    return rows


def _planned(steps: Sequence[NewStep], ranks: Mapping[str, int]) -> Sequence[list[Any]]:
    """The columns operation, rank, state, trader_key, due, waits_for, alike, weight, ended_at."""
    return [
        [step.operation for step in steps],
        [ranks.get(step.operation, 0) for step in steps],
        *columns(steps, "state", "trader_key", "due"),
        column(_SEPARATOR.join(step.waits_for) if step.waits_for else None for step in steps),
        *columns(steps, "alike", "weight"),
        column(step.due if step.state in (StepState.DONE, StepState.REFUSED) else None for step in steps),
    ]


HISTORY_MOST = 200
"""Entries of a step's history: a step that is tried for a day with the longest back-off has some 300 of them, and the
first ones tell as much."""

_SEPARATOR = "\x1f"
"""Between the keys of a wait: an array of arrays cannot be unnested by one."""

_ADD = r"""
insert into step (flow_id, operation, rank, state, trader_key, due, arrived, waits_for, alike, weight, ended_at)
select flow_id, operation, rank, state, trader_key, due, due, string_to_array(waits_for, e'\x1f'), alike, weight,
    ended_at
from unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::text[],
    $9::smallint[], $10::timestamptz[])
    as planned (flow_id, operation, rank, state, trader_key, due, waits_for, alike, weight, ended_at)
"""

_REPLACE = r"""
update step set operation = planned.operation, rank = planned.rank, state = planned.state,
    trader_key = planned.trader_key, due = planned.due, arrived = planned.due,
    waits_for = string_to_array(planned.waits_for, e'\x1f'), alike = planned.alike, weight = planned.weight,
    ended_at = planned.ended_at, lease = null, lease_until = null,
    history = case
        when jsonb_array_length(step.history) >= $12::int
            or planned.state = 'waiting'
            and step.waits_for is not distinct from string_to_array(planned.waits_for, e'\x1f')
        then step.history
        else step.history
            || jsonb_build_object('at', $11::timestamptz, 'waited', coalesce(to_jsonb(step.waits_for), '[]'))
        end
from unnest($1::bigint[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::text[],
    $9::smallint[], $10::timestamptz[])
    as planned (id, operation, rank, state, trader_key, due, waits_for, alike, weight, ended_at)
where step.id = planned.id and step.state = 'waiting'
"""

_MOVE = """
update step set state = moved.state, attempts = moved.attempts, due = moved.due, arrived = moved.due,
    spent = moved.spent, memory = moved.memory, batch_id = moved.batch_id, result = moved.result,
    trader_key = coalesce(moved.trader_key, step.trader_key), ended_at = moved.ended_at, lease = null,
    lease_until = null,
    history = case when moved.history is null or jsonb_array_length(step.history) >= $13::int then step.history
        else step.history || moved.history end
from unnest($2::bigint[], $3::text[], $4::int[], $5::timestamptz[], $6::float8[], $7::jsonb[], $8::bigint[],
    $9::jsonb[], $10::text[], $11::timestamptz[], $12::jsonb[])
    as moved (id, state, attempts, due, spent, memory, batch_id, result, trader_key, ended_at, history)
where step.id = moved.id and step.lease is not distinct from $1::uuid
returning 1
"""

_CLOSE = """
update step set state = closed.state, ended_at = clock_timestamp(), lease = null, lease_until = null, memory = '{}',
    waits_for = null
from unnest($1::bigint[], $2::text[]) as closed (id, state)
where step.id = closed.id
"""

# Each key is looked for by itself, and `offset 0` keeps it so: planned in one piece, these may read all open steps. Of
# an array whose length is not known the planner expects ten ids, and takes the index.
_WAKE = """
update step set due = $2::timestamptz
where id = any(array(
    select found.id from unnest($1::text[]) as happened (key) cross join lateral (
        select id from step where waits_for @> array[happened.key] offset 0) as found))
    and state = 'waiting' and due > $2::timestamptz
"""

_CHANGE_TRADER_KEYS = """
update step set trader_key = known.new_key
from unnest($1::text[], $2::text[]) as known (key, new_key) cross join lateral (
    select id from step where trader_key = known.key and ended_at is null offset 0) as found
where step.id = found.id
"""

_PLAN_AGAIN = """
with away as (
    update step set state = $2, ended_at = clock_timestamp(), memory = '{}' where id = any($1)
    returning flow_id, trader_key, attempts),
counted as (
    update flow set attempts = greatest(flow.attempts, away.attempts) from away where flow.id = away.flow_id)
insert into step (flow_id, operation, rank, state, trader_key, due)
select flow_id, $3, 0, $4, trader_key, clock_timestamp() from away
"""

_CLAIM_WAITS = """
with ready as (
    select id from step
    where operation = $1 and state = 'waiting' and lease is null and due <= statement_timestamp()
    order by due, id limit $2 for update skip locked)
update step set lease = $3, lease_until = clock_timestamp() + make_interval(secs => $4)
from ready where step.id = ready.id returning step.*
"""
