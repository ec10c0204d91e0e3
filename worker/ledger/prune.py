"""What the ledger forgets. Keys of orders, traders and signals stay for ever."""

from __future__ import annotations

from datetime import timedelta

from worker.ledger import call_log, holds, kept_dead_letters
from worker.ledger.database import Database

BITE = 5000
"""Rows a transaction: tens of milliseconds, so that pruning is never noticed."""

DOUBT_KEEPS = timedelta(days=30)
"""How long a flow in doubt keeps its personal data for the operator who resolves it (contract 5.13)."""


async def prune(database: Database, keep: timedelta, keep_letters: timedelta) -> int:
    """Deletes ended flows (with their steps, outcomes and notes), calls and holds older than `keep`, and dead letters
    older than `keep_letters`; returns how many.

    Flows in doubt stay until an operator has resolved them.
    """
    pruned = 0
    while True:
        async with database.transaction() as connection:
            rows = await connection.fetch(
                "with old as materialized (select id from flow where state in ('succeeded', 'failed')"
                " and ended_at < now() - $1::interval order by ended_at limit $2)"
                " delete from flow using old where flow.id = old.id returning flow.id",
                keep,
                BITE,
            )
            for table in ("step", "outcome", "note", "departure"):
                await connection.execute(
                    f"delete from {table} using unnest($1::uuid[]) as n (id) where flow_id = n.id",  # noqa: S608
                    [row["id"] for row in rows],
                )
        pruned += len(rows)
        if len(rows) < BITE:
            break
    async with database.transaction() as connection:
        await connection.execute(
            "delete from outcome where id in (select id from outcome where flow_id is null and published_at is not null"
            " and created_at < now() - $1::interval limit $2)",
            keep,
            BITE,
        )
        pruned += await call_log.prune(connection, keep) + await holds.prune(connection, keep)
    while True:
        async with database.transaction() as connection:
            gone = await kept_dead_letters.prune(connection, keep_letters)
        pruned += gone
        if not gone:
            return pruned


async def forget_doubtful(database: Database) -> int:
    """Takes the personal data out of flows that have been in doubt for thirty days; returns how many."""
    async with database.transaction() as connection:
        rows = await connection.fetch(
            "update flow set body = null where state = 'in_doubt' and body is not null"
            " and ended_at < now() - $1::interval returning 1",
            DOUBT_KEEPS,
        )
    return len(rows)
