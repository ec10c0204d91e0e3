"""The trading day in Chicago: which one is under way, and when it ends. Pure.

A trading day is named by its date, Monday to Friday. It runs from 17:00 of the evening before (for Monday, Sunday
evening) to the setting DAY_END of its own date. Exchange holidays are not known here: nothing trades on them, and a
departure that waits for their end does no harm.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

CHICAGO = ZoneInfo("America/Chicago")

OPEN = time(17)
"""CME Globex opens the next day's session."""

_FRIDAY = 4


def day_end(at: datetime, end: time) -> datetime | None:
    """When the trading day that is under way at `at` ends; None when none is (Friday evening to Sunday evening).

    `at` must know its zone. When DAY_END lies after 17:00 two days are under way for a while: the elder one counts.
    Clocks change on Sundays at 02:00, outside of every trading day, so that its ends are never ambiguous.
    """
    here = at.astimezone(CHICAGO).date()
    for days in (-1, 0, 1):
        day = here + timedelta(days=days)
        if day.weekday() > _FRIDAY:
            continue
        begins = datetime.combine(day - timedelta(days=1), OPEN, CHICAGO).astimezone(UTC)
        ends = datetime.combine(day, end, CHICAGO).astimezone(UTC)
        if begins <= at < ends:
            return ends
    return None
