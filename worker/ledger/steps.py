"""The table `step`: one Tradovate operation of a flow, or a wait. What is written when a transaction has been planned.

Claims are in `claims.py`, leases that have run out in `leases.py`.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from worker.engine.changes import ClosedStep, MovedStep, NewStep
from worker.engine.states import PLAN, StepState
from worker.ledger.columns import columns
from worker.ledger.database import Connection
from worker.ledger.statement import Part, Rows


def _hash(key: str) -> int:
    """12 bits of a key that a step waits for: ten thousand waits are then two or three a number."""
    return zlib.crc32(key.encode()) & 0xFFF


def planned_rows(steps: Sequence[NewStep], ranks: Mapping[str, int], now: datetime) -> Rows:
    """The rows of `NEW_STEPS` and `REPLACED_WAITS`. `ranks`: of each operation, 0 goes first."""
    return [
        {
            "replaces": step.replaces,
            "flow_id": step.flow_id,
            "operation": step.operation,
            "rank": ranks.get(step.operation, 0),
            "state": step.state,
            "trader_key": step.trader_key,
            "due": step.due,
            "waits_for": step.waits_for or None,
            "wait_hashes": [_hash(key) for key in step.waits_for] if step.waits_for else None,
            "alike": step.alike,
            "weight": step.weight,
            "ended_at": step.due if step.state in (StepState.DONE, StepState.REFUSED) else None,
            "now": now,
        }
        for step in steps
    ]


def moved_rows(steps: Sequence[MovedStep], lease: uuid.UUID | None) -> Rows:
    """The rows of `MOVED_STEPS`, after a call or look-up. One that is no longer under `lease` is not written."""
    return [
        {
            "lease": lease,
            "id": step.id,
            "state": step.state,
            "attempts": step.attempts,
            "due": step.due,
            "spent": step.spent,
            "memory": step.memory,
            "batch_id": step.batch_id,
            "result": step.result,
            "trader_key": step.trader_key,
            "ended_at": step.ended_at,
            "history": step.history,
        }
        for step in steps
    ]


async def close(connection: Connection, steps: Sequence[ClosedStep]) -> None:
    """Ends steps that are locked. What the partner said of them may name persons, and is deleted."""
    if steps:
        await connection.execute(_CLOSE, *columns(steps, "id", "state"))


def woken_rows(keys: Sequence[str], now: datetime) -> Rows:
    """The rows of `WOKEN_STEPS`: steps that wait for what has happened are due now."""
    return [{"key": key, "hash": _hash(key), "now": now} for key in keys]


def other_rows(keys: Mapping[str, str], lease: uuid.UUID | None) -> Rows:
    """The rows of `OTHER_STEPS`: keys of traders that get another one."""
    return [{"key": key, "lease": lease} for key in keys]


async def change_trader_keys(connection: Connection, keys: Mapping[str, str]) -> None:
    """All steps with the key of a trader get the key of the trader's user instead. A call that names the trader must
    not be in flight beside one that names the user.
    """
    if keys:
        await connection.execute(_CHANGE_TRADER_KEYS, list(keys.keys()), list(keys.values()))


async def make_due(connection: Connection, event_id: str, operation: str) -> bool:
    """Makes the event's next step of that operation due now, if it waits for its time; whether there is one. For the
    demo, which does not wait.
    """
    return bool(await connection.fetch(_MAKE_DUE, event_id, operation))


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


async def claim_waits(
    connection: Connection, lease: uuid.UUID, limit: int, most_bytes: int, lease_seconds: float
) -> Sequence[Any]:
    """Leases up to `limit` waiting steps whose time has come, the oldest first; fewer if their events have more than
    `most_bytes` together.
    """
    rows: Sequence[Any] = await connection.fetch(_CLAIM_WAITS, PLAN, limit, lease, lease_seconds, most_bytes)
    return rows


async def open_steps(connection: Connection, flow_id: uuid.UUID) -> Sequence[Any]:
    """The steps of a flow that have not ended, locked."""
    rows: Sequence[Any] = await connection.fetch(
        "select id, operation, state, attempts from step where flow_id = $1 and state not in ('done', 'refused')"
        " order by id for update",
        flow_id,
    )
    return rows


HISTORY_MOST = 200
"""Entries of a step's history: a step that is tried for a day with the longest back-off has some 300 of them, and the
first ones tell as much."""

_PLANNED = """flow_id uuid, operation text, rank smallint, state text, trader_key text, due timestamptz,
    waits_for text[], wait_hashes integer[], alike text, weight smallint, ended_at timestamptz"""

NEW_STEPS = Part(
    "new_steps",
    f"""
insert into step (flow_id, operation, rank, state, trader_key, due, arrived, waits_for, wait_hashes, alike, weight,
    ended_at)
select flow_id, operation, rank, state, trader_key, due, due, waits_for, wait_hashes, alike, weight, ended_at
from json_to_recordset(:rows) as planned ({_PLANNED})
returning 1
""",  # noqa: S608 - a constant of ours
)

REPLACED_WAITS = Part(
    "replaced_waits",
    f"""
with planned as materialized (
    select * from json_to_recordset(:rows) as planned (replaces bigint, now timestamptz, {_PLANNED}))
update step set operation = planned.operation, rank = planned.rank, state = planned.state,
    trader_key = planned.trader_key, due = planned.due, arrived = planned.due, waits_for = planned.waits_for,
    wait_hashes = planned.wait_hashes,
    alike = planned.alike, weight = planned.weight, ended_at = planned.ended_at, lease = null, lease_until = null,
    history = case
        when jsonb_array_length(step.history) >= {HISTORY_MOST}
            or planned.state = 'waiting' and step.waits_for is not distinct from planned.waits_for
        then step.history
        else step.history || jsonb_build_object('at', planned.now, 'waited', coalesce(to_jsonb(step.waits_for), '[]'))
        end
from planned
where step.id = any(array(select replaces from planned)) and step.id = planned.replaces and step.state = 'waiting'
returning 1
""",  # noqa: S608 - constants of ours
)
"""Waiting steps that turn into what comes after them; one that an operator has ended meanwhile stays as it is."""

MOVED_STEPS = Part(
    "moved_steps",
    f"""
with moved as materialized (
    select * from json_to_recordset(:rows) as moved (lease uuid, id bigint, state text, attempts int, due timestamptz,
        spent float8, memory jsonb, batch_id bigint, result jsonb, trader_key text, ended_at timestamptz,
        history jsonb))
update step set state = moved.state, attempts = moved.attempts, due = moved.due, arrived = moved.due,
    spent = moved.spent, memory = moved.memory, batch_id = moved.batch_id, result = moved.result,
    trader_key = coalesce(moved.trader_key, step.trader_key), ended_at = moved.ended_at, lease = null,
    lease_until = null,
    history = case when moved.history is null or jsonb_array_length(step.history) >= {HISTORY_MOST} then step.history
        else step.history || moved.history end
from moved
where step.id = any(array(select id from moved)) and step.id = moved.id and step.lease is not distinct from moved.lease
returning 1
""",  # noqa: S608 - constants of ours
)

_CLOSE = """
update step set state = closed.state, ended_at = clock_timestamp(), lease = null, lease_until = null, memory = '{}',
    waits_for = null, wait_hashes = null
from unnest($1::bigint[], $2::text[]) as closed (id, state)
where step.id = closed.id
"""

# Each key is looked for by itself, and `offset 0` keeps it so: planned in one piece, these may read all open steps. Of
# an array whose length is not known the planner expects ten ids, and takes the index.
WOKEN_STEPS = Part(
    "woken_steps",
    """
with happened as materialized (
    select * from json_to_recordset(:rows) as happened (key text, hash integer, now timestamptz))
update step set due = happened.now from (select now from happened limit 1) as happened
where id = any(array(
    select found.id from happened cross join lateral (
        select id from step where wait_hashes @> array[happened.hash] and waits_for @> array[happened.key]
        offset 0) as found))
    and state = 'waiting' and due > happened.now
returning 1
""",
)

OTHER_STEPS = Part(
    "other_steps",
    """
select true from json_to_recordset(:rows) as known (key text, lease uuid) cross join lateral (
    select from step where trader_key = known.key and ended_at is null and lease is distinct from known.lease
    offset 0) as found
limit 1
""",
)
"""Whether there are steps under these keys of traders, besides those under the lease. Mostly there are none."""

_MAKE_DUE = """
update step set due = clock_timestamp() from flow
where flow.id = step.flow_id and flow.event_id = $1 and step.state = 'due' and step.operation = $2
returning step.id
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
    select id, flow_id, due from step
    where operation = $1 and state = 'waiting' and lease is null and due <= statement_timestamp()
    order by due, id limit $2 for update skip locked),
sized as (
    select ready.id, sum(event.size) over (order by ready.due, ready.id) - event.size as before
    from ready, lateral (
        select coalesce(octet_length(body), 0) as size from flow where flow.id = ready.flow_id offset 0) as event)
update step set lease = $3, lease_until = clock_timestamp() + make_interval(secs => $4)
from sized where step.id = sized.id and sized.before < $5 returning step.*
"""
