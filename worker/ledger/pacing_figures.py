"""What the pacing looks at: calls of the rolling hour and minute, and how the lanes that linger have been doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.ledger.budget import COUNTED, OF_THE_MINUTE, Budget
from worker.ledger.database import Database


@dataclass(frozen=True, slots=True)
class SendFigures:
    """An operation's sends of ten minutes: items, calls, and the most items a second of part-filled calls in a row;
    `part_filled`: such calls of the last minute.
    """

    items: int
    calls: int
    quickest: float
    part_filled: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """`used`, `minute_used`: calls in the last hour and minute. `sent`: what each operation has sent."""

    used: int
    minute_used: int
    sent: Mapping[str, SendFigures]


async def traffic(database: Database, operations: Sequence[str], budget: Budget, *, full: int, sample: int) -> Traffic:
    """One query over the hour's calls (5,000 rows at most), from the index. `full`: items of a full call. `sample`:
    calls in a row whose pace is shown.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"""
            with recent as materialized (
                select id, operation, at, items, kind, result from call
                where at > statement_timestamp() - interval '10 minutes'
            ), sent as materialized (
                select id, operation, at, items from recent
                where operation = any($1) and kind = 'send' and result is distinct from 'not_sent'
            ), part_filled as (
                select operation, at, lag(at, $3) over (partition by operation order by id) as since,
                    sum(items) over (partition by operation order by id rows between $3 - 1 preceding and current row)
                    as carried
                from sent where items < $2
            )
            select null as operation, count(*) as calls, 0 as items, 0 as quickest,
                count(*) filter (where {OF_THE_MINUTE.format(longest="$4::interval")}) as of_minute
            from call where {COUNTED}
            union all
            select operation, count(*), sum(items), (
                select max(carried / greatest(extract(epoch from at - since), 0.001)) from part_filled p
                where p.operation = sent.operation and since is not null
            ), count(*) filter (where items < $2 and at > statement_timestamp() - interval '1 minute')
            from sent group by operation
            """,  # noqa: S608
            list(operations),
            full,
            sample,
            budget.longest,
        )
    whole = next(row for row in rows if row["operation"] is None)
    sent = {
        row["operation"]: SendFigures(int(row["items"]), row["calls"], float(row["quickest"] or 0), row["of_minute"])
        for row in rows
        if row["operation"] is not None
    }
    return Traffic(whole["calls"], whole["of_minute"], sent)
