"""Outcomes a minute over the last hour, as the shapes of an SVG. Pure: numbers in, rectangles out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MINUTES = 60
WIDTH, HEIGHT = 600, 140
_LEFT, _BOTTOM, _TOP = 36, 20, 8
_STEP = (WIDTH - _LEFT) / MINUTES

ORDER = ("succeeded", "pending", "in_doubt", "failed")
"""From the foot of a bar to its top; colours and the legend follow it."""

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """One status of one minute."""

    status: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line across, with its number."""

    y: float
    value: int


@dataclass(frozen=True, slots=True)
class Chart:
    """The shapes, and the numbers for whoever cannot see them."""

    bars: Sequence[Bar]
    lines: Sequence[Line]
    labels: Sequence[tuple[float, str]]
    totals: Mapping[str, int]
    busiest: int

    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    foot: int = HEIGHT - _BOTTOM

    @property
    def total(self) -> int:
        """All outcomes of the hour."""
        return sum(self.totals.values())


def minute(at: datetime) -> datetime:
    """The minute that a time is in."""
    return at.replace(second=0, microsecond=0)


def chart(counts: Mapping[tuple[datetime, str], int], now: datetime) -> Chart:
    """`counts`: outcomes by minute (in UTC) and status. The last bar is the minute under way."""
    first = minute(now) - (MINUTES - 1) * _MINUTE
    minutes = [first + index * _MINUTE for index in range(MINUTES)]
    busiest = max((sum(counts.get((at, status), 0) for status in ORDER) for at in minutes), default=0)
    top = nice(busiest)
    foot = HEIGHT - _BOTTOM
    room = foot - _TOP
    bars: list[Bar] = []
    for index, at in enumerate(minutes):
        y = float(foot)
        for status in ORDER:
            height = counts.get((at, status), 0) / top * room
            if height:
                y -= height
                x = _LEFT + index * _STEP + 1
                bars.append(Bar(status, round(x, 2), round(y, 2), round(_STEP - 2, 2), round(height, 2)))
    marks = (0, top // 2, top) if top > 1 else (0, 1)
    return Chart(
        bars,
        [Line(round(foot - value / top * room, 2), value) for value in marks],
        [
            (round(_LEFT + index * _STEP + _STEP / 2, 2), f"{at:%H:%M}")
            for index, at in enumerate(minutes)
            if at.minute % 15 == 0
        ],
        {status: sum(counts.get((at, status), 0) for at in minutes) for status in ORDER},
        busiest,
    )


def nice(value: int) -> int:
    """The least of 1, 2, 4, 10, 20, 40, 100, ... that is not below `value`: numbers that halve well."""
    scale = 1
    while True:
        for step in (1, 2, 4):
            if step * scale >= value:
                return step * scale
        scale *= 10
