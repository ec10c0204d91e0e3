"""Outcomes a minute over the last hour, as the shapes of an SVG. Pure: numbers in, rectangles out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MINUTES = 60
WIDTH, HEIGHT = 600, 100
"""Of the drawing, which the page stretches to the room there is; what is to be read stands beside it as text."""

_STEP = WIDTH // MINUTES

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
class Chart:
    """The shapes, and the numbers for a reader who cannot see them."""

    bars: Sequence[Bar]
    marks: Sequence[int]  # from the top of the scale down to 0, evenly
    times: Sequence[datetime]  # from left to right, evenly
    totals: Mapping[str, int]
    busiest: int
    width: int = WIDTH
    height: int = HEIGHT

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
    bars: list[Bar] = []
    for index, at in enumerate(minutes):
        y = float(HEIGHT)
        for status in ORDER:
            height = counts.get((at, status), 0) / top * HEIGHT
            if height:
                y -= height
                bars.append(Bar(status, index * _STEP + 1, round(y, 2), _STEP - 2, round(height, 2)))
    return Chart(
        bars,
        (top, top // 2, 0) if top > 1 else (1, 0),
        [now - timedelta(minutes=ago) for ago in range(MINUTES, -1, -15)],
        {status: sum(counts.get((at, status), 0) for at in minutes) for status in ORDER},
        busiest,
    )


def nice(value: int) -> int:
    """The least of 1, 2, 4, 6, 8, 10, 20, 40, ... that is not below `value`: numbers that halve well."""
    scale = 1
    while True:
        for step in (1, 2, 4, 6, 8):
            if step * scale >= value:
                return step * scale
        scale *= 10
