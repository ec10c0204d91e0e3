"""Values as people read them. Pure; times are UTC, for people on call sit in more than one zone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from schemas.times import utc_text
from worker.operate.quantities import count, number, span

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


_UNIT = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|d)\b)")


def units(text: str) -> str:
    """The text with each time span on one line: a number never stands without its unit."""
    return _UNIT.sub("\u00a0", text)


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
