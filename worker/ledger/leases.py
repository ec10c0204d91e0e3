"""Leases without a replica that works under them: those that ran out, and those that their own replica gives up.

A replica gives a lease up if the database was unavailable in the middle of the work under it. Nothing of the step is
being sent then, and the others need not wait until the lease runs out.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import timedelta

from worker.ledger.database import Connection


async def reap(connection: Connection, settle: timedelta) -> int:
    """Takes back steps whose lease has run out: what was in flight is unknown now, and looked up after `settle`.

    Returns how many. Bounded, so that a mass death of replicas is worked off in steps.
    """
    rows = await connection.fetch(
        "with late as (select id from step where lease_until < statement_timestamp()"
        " order by lease_until limit 1000 for update skip locked)"
        " update step set lease = null, lease_until = null,"
        " due = case when state = 'in_flight' then clock_timestamp() + $1 else step.due end,"
        " arrived = case when state = 'in_flight' then clock_timestamp() + $1 else step.arrived end,"
        " history = case when state = 'in_flight' then history || jsonb_build_object('at', clock_timestamp(),"
        " 'state', 'unknown', 'due', clock_timestamp() + $1, 'lost', true) else history end,"
        " state = case when state = 'in_flight' then 'unknown' else state end"
        " from late where step.id = late.id returning 1",
        settle,
    )
    return len(rows)


async def release(connection: Connection, leases: Collection[uuid.UUID]) -> int:
    """Gives up leases under which nothing was sent. Returns how many steps were still held by them.

    A step is in flight under such a lease only if the answer to its claim was lost: its call was written down and
    never made.
    """
    rows = await connection.fetch(
        "with held as (select id, state, call_ids[cardinality(call_ids)] as call_id from step"
        " where lease = any($1::uuid[]) for update),"
        " unmade as (update call set finished_at = clock_timestamp(), result = 'not_sent' from held"
        " where held.state = 'in_flight' and call.id = held.call_id and call.finished_at is null returning 1)"
        " update step set lease = null, lease_until = null,"
        " attempts = step.attempts - (held.state = 'in_flight')::int,"
        " state = case when held.state = 'in_flight' then 'due' else step.state end"
        " from held where step.id = held.id returning 1",
        list(leases),
    )
    return len(rows)
