"""Which of the partner's alert signals are on Kafka already: keys only, kept for ever."""

from __future__ import annotations

from collections.abc import Sequence

from worker.ledger.database import Connection


async def known(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Those of `ids` that have been published."""
    if not ids:
        return set()
    rows = await connection.fetch("select id from signal where id = any($1::bigint[])", list(ids))
    return {row["id"] for row in rows}


async def note(connection: Connection, ids: Sequence[int]) -> None:
    """Notes that these have been published; those that are noted already stay as they are."""
    # Two bridges that lead for a moment may have published the same one. Sorted, so that they cannot deadlock.
    await connection.execute(
        "insert into signal (id) select unnest($1::bigint[]) on conflict do nothing", sorted(set(ids))
    )
