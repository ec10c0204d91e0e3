"""Values over time as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_BARS = " ▁▂▃▄▅▆▇█"


def plot(series: Mapping[str, Sequence[float]], title: str) -> str:
    """A line for each series, from 0 to its largest value, with its first, largest and last value."""
    width = max(map(len, series), default=0)
    lines = [f"{what:<{width}} {_line(values)} {_said(values)}" for what, values in series.items() if values]
    return "\n".join([title, *lines])


def _line(values: Sequence[float]) -> str:
    most = max(values) or 1.0
    return "".join(_BARS[round(max(0.0, value) / most * (len(_BARS) - 1))] for value in values)


def _said(values: Sequence[float]) -> str:
    return f"{values[0]:,.0f} at first, {max(values):,.0f} at most, {values[-1]:,.0f} at the end"
