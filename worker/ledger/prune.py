"""What the ledger forgets. Keys of orders, traders and signals stay for ever.

Rows are deleted in small transactions, by one replica at a time. Partitions that are dropped as a whole would not be
cheaper. To delete a day takes a few seconds, and autovacuum gives the room to the next day's rows. With partitions,
each claim would have to plan for every partition of the call log, and the worker's database user would need the right
to create tables.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from worker.ledger import call_log, ended_counts, holds, kept_dead_letters, notes, reconcile_results, replays
from worker.ledger.database import Connection, Database
from worker.ledger.outbox import EARLIER
from worker.ledger.remembered import remember, what_is_left

BITE = 500
"""Flows a transaction, each with some five rows of other tables. It takes a tenth of a second where their pages are
read from the disk, so it delays nothing else noticeably."""

PRUNE_LOCK = 5_471_903_311_867_204_030
"""Advisory transaction lock of the replica that prunes: two would delete the same rows, one waiting for the other."""

DOUBT_KEEPS = timedelta(days=30)
"""How long a flow in doubt keeps its personal data for the operator who resolves it (worker/ledger/README.md, "What
stays, what goes")."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many flows and other rows were deleted, and whether some are left for the next time."""

    rows: int
    more: bool = False


async def prune(database: Database, keep: timedelta, keep_letters: timedelta, *, seconds: float = math.inf) -> Pruned:
    """Deletes what is older than `keep`: ended flows (with their steps, outcomes and notes), calls, holds, notes of no
    flow, runs of `reconcile`, outcomes of records that became no flow. Deletes dead letters older than `keep_letters`,
    and the notes of replays and dismissals that are older than both.

    Flows in doubt stay until an operator has resolved them, and what is still to be published stays. After `seconds`
    no other transaction begins; nothing is done while another replica prunes.
    """
    kept = (
        (prune_flows, keep),
        (_refusals, keep),
        (call_log.prune, keep),
        (holds.prune, keep),
        (notes.prune, keep),
        (reconcile_results.prune, keep),
        (kept_dead_letters.prune, keep_letters),
        (replays.prune, max(keep, keep_letters)),  # a letter that its topic still has must not be replayed twice
    )
    rows, ends = 0, time.monotonic() + seconds
    for some, each in kept:
        while gone := await _bite(database, some, each):
            rows += gone
            if time.monotonic() >= ends:
                return Pruned(rows, more=True)
    return Pruned(rows)


async def _bite(database: Database, some: Callable[[Connection, timedelta], Awaitable[int]], keep: timedelta) -> int:
    async with database.transaction() as connection:
        if not await connection.fetchval("select pg_try_advisory_xact_lock($1)", PRUNE_LOCK):
            return 0
        return await some(connection, keep)


async def prune_flows(connection: Connection, keep: timedelta) -> int:
    """Deletes some of the flows that ended longer than `keep` ago, with what belongs to them; how many flows. One whose
    outcome could not be published yet stays.
    """
    # A flow that an operator retries at this moment is locked, and stays.
    rows = await connection.fetch(
        "select id, topic, state, ended_at from flow where state in ('succeeded', 'failed')"  # noqa: S608
        " and ended_at < now() - $1::interval"
        f" and {EARLIER.format(flow='flow.id', but='')} is null"
        " order by ended_at limit $2 for update skip locked",
        keep,
        BITE,
    )
    ids = [row["id"] for row in rows]
    if ids:
        left = await what_is_left(connection, ids)
        for table in ("step", "outcome", "note", "account_turn", "departure"):
            await _delete(connection, table, "flow_id", ids)
        await _delete(connection, "flow", "id", ids)
        await ended_counts.leave(connection, rows)
        await remember(connection, left)  # last: steps in work wait for the traders and orders that it locks
    return len(ids)


async def _delete(connection: Connection, table: str, column: str, ids: Sequence[UUID]) -> None:
    await connection.execute(
        f"delete from {table} using unnest($1::uuid[]) as n (id) where {table}.{column} = n.id",  # noqa: S608
        ids,
    )


async def _refusals(connection: Connection, keep: timedelta) -> int:
    """Outcomes of records that became no flow."""
    rows = await connection.fetch(
        "delete from outcome where id in (select id from outcome where flow_id is null and published_at is not null"
        " and created_at < now() - $1::interval limit $2) returning 1",
        keep,
        BITE,
    )
    return len(rows)


async def forget_doubtful(database: Database) -> int:
    """Takes the personal data out of flows that have been in doubt for thirty days; returns how many."""
    async with database.transaction() as connection:
        rows = await connection.fetch(
            "update flow set body = null where state = 'in_doubt' and body is not null"
            " and ended_at < now() - $1::interval returning 1",
            DOUBT_KEEPS,
        )
    return len(rows)
