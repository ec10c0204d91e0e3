"""Numbers and time spans as people read them, on a terminal and in a browser."""

from __future__ import annotations

from datetime import timedelta

__all__ = ["count", "number", "span"]


def span(passed: timedelta | float | None) -> str:
    """A time span, in seconds if it is a number, in its two largest units."""
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


def number(value: float | None) -> str:
    """With a thin space between thousands."""
    return "" if value is None else f"{value:,.0f}".replace(",", "\u202f")


def count(value: int, one: str, many: str | None = None) -> str:
    """`1 flow`, `2 flows`."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"
