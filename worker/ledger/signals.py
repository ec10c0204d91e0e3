"""Which of the partner's alert signals are on Kafka already: keys only, kept for ever. When they were last fetched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from worker.ledger.database import Connection


async def known(connection: Connection, topic: str, ids: Sequence[int]) -> set[int]:
    """Those of `ids` that have been published on `topic` (named without the prefix)."""
    if not ids:
        return set()
    # Each id is looked for by itself, and `offset 0` keeps it so: planned in one piece, this may read the whole topic.
    rows = await connection.fetch(
        "select named.id from unnest($2::bigint[]) as named (id) cross join lateral"
        " (select from signal where topic = $1 and id = named.id offset 0) as there",
        topic,
        list(set(ids)),
    )
    return {row["id"] for row in rows}


async def note(connection: Connection, topic: str, ids: Sequence[int]) -> None:
    """Notes that these have been published; those that are noted already stay as they are."""
    # Two bridges that lead for a moment may have published the same one. Sorted, so that they cannot deadlock.
    await connection.execute(
        "insert into signal (topic, id) select $1, unnest($2::bigint[]) on conflict do nothing", topic, sorted(set(ids))
    )


async def fetch_allowed_in(connection: Connection, operation: str, every: timedelta) -> float:
    """Seconds until `operation`, which all bridges together may call once in `every`, may be called; 0 for now."""
    wait: float | None = await connection.fetchval(
        "select extract(epoch from max(at) + $2::interval - clock_timestamp())::float8 from call"
        " where at > statement_timestamp() - $2::interval and operation = $1 and result is distinct from 'not_sent'",
        operation,
        every,
    )
    return max(0.0, wait or 0.0)
