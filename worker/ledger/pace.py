"""What the pacing looks at: calls of the rolling hour, and how the lanes that wait for company have been doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.ledger.calls import COUNTED
from worker.ledger.database import Database


@dataclass(frozen=True, slots=True)
class Traffic:
    """`used`: calls in the last hour. `streams`: operation -> items in ten minutes, most part-filled calls a second."""

    used: int
    streams: Mapping[str, tuple[int, int]]


async def traffic(database: Database, operations: Sequence[str], full: int = 100) -> Traffic:
    """One query over the hour's calls (5,000 rows at most), from the index."""
    async with database.connection() as connection:
        used = await connection.fetchval(f"select count(*) from call where {COUNTED}")  # noqa: S608
        rows = await connection.fetch(
            "select operation, sum(items)::bigint as items, max(partial)::bigint as busiest from ("
            " select operation, date_bin('1 second', at, 'epoch'::timestamptz) as second, sum(items) as items,"
            " count(*) filter (where items < $2) as partial from call"
            " where at > clock_timestamp() - interval '10 minutes' and operation = any($1) and kind = 'send'"
            " group by 1, 2) as seconds group by operation",
            list(operations),
            full,
        )
    return Traffic(used, {row["operation"]: (row["items"], row["busiest"]) for row in rows})
