"""Values as people read them. Pure; times are UTC, for people on call sit in more than one zone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.times import utc_text

STATES: Mapping[str, str] = {
    "waiting": "waiting",
    "working": "working",
    "in_doubt": "in doubt",
    "succeeded": "succeeded",
    "failed": "failed",
    "pending": "pending",
}
"""A flow's states and an outcome's, in the order in which pages show them."""


def when(at: datetime | None) -> str:
    """A time, in the one form that console, commands, outcomes and exports share."""
    return "" if at is None else utc_text(at)


def minute(at: datetime) -> str:
    """A mark of the chart's axis, which says that it is UTC."""
    return f"{at.astimezone(UTC):%H:%M}"


def span(passed: timedelta | float | None) -> str:
    """A time span in its two largest units."""
    if passed is None:
        return ""
    seconds = passed.total_seconds() if isinstance(passed, timedelta) else passed
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f} s"
    whole = max(0, int(seconds))
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count or first == 3)


_UNIT = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|d)\b)")


def units(text: str) -> str:
    """The text with each time span on one line: a number never stands without its unit."""
    return _UNIT.sub("\u00a0", text)


def number(value: float | None) -> str:
    """With a thin space between thousands."""
    return "" if value is None else f"{value:,.0f}".replace(",", "\u202f")


def count(value: int, one: str, many: str | None = None) -> str:
    """`1 flow`, `2 flows`."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def state(name: str) -> str:
    """A state's name as people say it."""
    return STATES.get(name, name.replace("_", " "))


def short(text: Any, most: int = 200) -> str:
    """A long text, cut."""
    whole = str(text)
    return whole if len(whole) <= most else f"{whole[: most - 1]}…"


FILTERS: Mapping[str, Callable[..., str]] = {
    "when": when,
    "minute": minute,
    "span": lambda passed: units(span(passed)),
    "units": units,
    "number": number,
    "count": count,
    "state": state,
    "short": short,
}
"""What templates may use."""
