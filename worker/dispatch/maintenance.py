"""Tradovate's maintenance windows, in which creations may hang or fail: the calendar. Pure.

Central Time (vendor, maintenance windows): Monday to Thursday 16:00-17:00, Friday 16:00-20:00, Saturday 22:00 to
Sunday 06:30. Fifteen minutes are kept clear on each side.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta

from schemas.chicago import CHICAGO

MARGIN = timedelta(minutes=15)

_SHORT = (time(16), time(17))
_WINDOWS: dict[int, tuple[time, time, int]] = {  # weekday the window starts on: from, to, days later
    **dict.fromkeys(range(4), (*_SHORT, 0)),
    4: (time(16), time(20), 0),
    5: (time(22), time(6, 30), 1),
}


def window_end(now: datetime) -> datetime | None:
    """When the window that `now` is in ends, margin included; None outside of every window.

    `now` must know its zone. Wall-clock times: on a night of a clock change the window follows Chicago's clocks.
    """
    here = now.astimezone(CHICAGO)
    for days_back in (0, 1):
        day = here.date() - timedelta(days=days_back)
        window = _WINDOWS.get(day.weekday())
        if window is None:
            continue
        start, end, later = window
        begins = datetime.combine(day, start, CHICAGO).astimezone(now.tzinfo) - MARGIN
        ends = datetime.combine(day + timedelta(days=later), end, CHICAGO).astimezone(now.tzinfo) + MARGIN
        if begins <= now < ends:
            return ends
    return None
