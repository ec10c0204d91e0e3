"""The trading day in Chicago, the end of a month, and when a departure is executed. Pure.

A trading day is named by its date, Monday to Friday. It runs from 17:00 of the evening before (for Monday, Sunday
evening) to the setting DAY_END of its own date. Exchange holidays are not known here: nothing trades on them, and a
departure that waits for their end does no harm.

What a user has at 19:00 on the last day of a month is billed for the next month (vendor, market data renewals). So a
departure that came before is not left until the trading day ends, if that is later.

Wall-clock times of weekdays and of evenings are never ambiguous: clocks change on Sundays at 02:00.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from schemas.chicago import CHICAGO, day_in_chicago

OPEN = time(17)
"""CME Globex opens the next day's session."""

RENEWAL = time(19)
"""On a month's last day subscriptions begin to renew (vendor, market data renewals)."""

MONTH_END = time(18)
"""On that day departures are executed at this time at the latest. They must be done at 18:30 (deploy/README.md, "The
end of a month"): half an hour is enough for ten thousand of them (a thousand calls with their look-ups), and for a
retry or two."""

_FRIDAY = 4


def day_end(at: datetime, end: time) -> datetime | None:
    """When the trading day that is under way at `at` ends; None when none is (Friday evening to Sunday evening).

    `at` must know its zone. When DAY_END lies after 17:00 two days are under way for a while: the elder one counts.
    """
    here = day_in_chicago(at)
    for days in (-1, 0, 1):
        day = here + timedelta(days=days)
        if day.weekday() > _FRIDAY:
            continue
        begins, ends = _at(day - timedelta(days=1), OPEN), _at(day, end)
        if begins <= at < ends:
            return ends
    return None


def renewal_after(at: datetime) -> datetime:
    """The next renewal: 19:00 in Chicago on the last day of a month, later than `at`. In Chicago's time."""
    day = _last_of_month(day_in_chicago(at))
    if at >= _at(day, RENEWAL):
        day = _last_of_month(day + timedelta(days=1))
    return _at(day, RENEWAL).astimezone(CHICAGO)


def departure_due(came: datetime, end: time) -> datetime:
    """When a departure that came at `came` is executed: at the end of the trading day, or at once if none is in
    progress. On the last day of a month it is executed before subscriptions renew.
    """
    latest = _at(renewal_after(came).date(), MONTH_END)
    return max(came, min(day_end(came, end) or came, latest))


def _at(day: date, clock: time) -> datetime:
    return datetime.combine(day, clock, CHICAGO).astimezone(UTC)


def _last_of_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
