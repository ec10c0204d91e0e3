"""How much of the rate budget is used, for metrics and console."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from worker.ledger.budget import COUNTED, HOUR, OF_THE_MINUTE, Budget
from worker.ledger.database import Connection


@dataclass(frozen=True, slots=True)
class BudgetView:
    """The rolling hour and minute as metrics and console see them. `ordinary`: what is left of them for operations that
    may not use the reserve. `free_again_at`: when the oldest counted call leaves the hour.
    """

    used: int
    left: int
    ordinary_left: int
    minute_used: int
    minute_left: int
    ordinary_minute_left: int
    free_again_at: datetime | None


async def budget_view(conn: Connection, budget: Budget) -> BudgetView:
    """The rolling hour and minute in one statement over at most an hour's calls: some milliseconds."""
    row = await conn.fetchrow(
        f"""
        select count(*) as used, min(coalesce(finished_at, at)) as oldest,
            count(*) filter (where {OF_THE_MINUTE.format(longest="$1::interval")}) as minute_used
        from call where {COUNTED}
        """,  # noqa: S608
        budget.longest,
    )
    assert row is not None
    used, minute_used = row["used"], row["minute_used"]
    return BudgetView(
        used=used,
        left=max(0, budget.limit(reserve=True) - used),
        ordinary_left=max(0, budget.limit(reserve=False) - used),
        minute_used=minute_used,
        minute_left=max(0, budget.minute_limit(reserve=True) - minute_used),
        ordinary_minute_left=max(0, budget.minute_limit(reserve=False) - minute_used),
        free_again_at=None if row["oldest"] is None else row["oldest"] + HOUR,
    )
