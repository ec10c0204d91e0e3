"""What the ledger forgets. Keys of orders, traders and signals stay for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from worker.ledger import call_log, holds, kept_dead_letters, notes, reconcile_results, replays
from worker.ledger.database import Connection, Database
from worker.ledger.remembered import remember

BITE = 5000
"""Rows a transaction: tens of milliseconds, so that pruning is never noticed."""

DOUBT_KEEPS = timedelta(days=30)
"""How long a flow in doubt keeps its personal data for the operator who resolves it (contract 5.13)."""


async def prune(database: Database, keep: timedelta, keep_letters: timedelta) -> int:
    """Deletes ended flows (with their steps, outcomes and notes), calls, holds, notes of no flow, runs of `reconcile`,
    and outcomes of records that became no flow, when they are older than `keep`; dead letters older than
    `keep_letters`; which dead letters were put back or dismissed, when that is older than both. Returns how many.

    Flows in doubt stay until an operator has resolved them.
    """
    kept = (
        (_flows, keep),
        (_refusals, keep),
        (call_log.prune, keep),
        (holds.prune, keep),
        (notes.prune, keep),
        (reconcile_results.prune, keep),
        (kept_dead_letters.prune, keep_letters),
        (replays.prune, max(keep, keep_letters)),  # a letter that its topic still has must not be put back twice
    )
    return sum([await _all(database, some, each) for some, each in kept])


async def _all(database: Database, some: Callable[[Connection, timedelta], Awaitable[int]], keep: timedelta) -> int:
    """Repeats `some`, which deletes a few rows and says how many, until nothing is left that is older than `keep`."""
    pruned = 0
    while True:
        async with database.transaction() as connection:
            gone = await some(connection, keep)
        pruned += gone
        if not gone:
            return pruned


async def _flows(connection: Connection, keep: timedelta) -> int:
    rows = await connection.fetch(
        "select id from flow where state in ('succeeded', 'failed') and ended_at < now() - $1::interval"
        " order by ended_at limit $2",
        keep,
        BITE,
    )
    ids = [row["id"] for row in rows]
    if ids:
        await remember(connection, ids)
        await connection.execute("delete from flow using unnest($1::uuid[]) as n (id) where flow.id = n.id", ids)
        for table in ("step", "outcome", "note", "departure", "account_turn"):
            await connection.execute(
                f"delete from {table} using unnest($1::uuid[]) as n (id) where flow_id = n.id",  # noqa: S608
                ids,
            )
    return len(ids)


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
