"""Figures: what was measured in each round, and the target beside it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Target:
    """A limit that the median of the rounds must keep."""

    limit: float
    at_most: bool

    def is_reached(self, value: float) -> bool:
        """Whether the value keeps it."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.limit:,g}"


def at_most(limit: float) -> Target:
    """The value may not be greater."""
    return Target(limit, at_most=True)


def at_least(limit: float) -> Target:
    """The value may not be smaller."""
    return Target(limit, at_most=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: a value for each round."""

    what: str
    values: Sequence[float]
    unit: str
    target: Target | None = None
    digits: int = 1

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.values)

    @property
    def measured(self) -> str:
        """The median, and the smallest and the greatest value."""
        low, middle, high = (f"{each:,.{self.digits}f}" for each in (min(self.values), self.median, max(self.values)))
        return f"{middle} {self.unit} ({low} to {high})"

    @property
    def reached(self) -> str:
        """Whether the median keeps the target; empty without a target."""
        if self.target is None:
            return ""
        return "reached" if self.target.is_reached(self.median) else "missed"


def table(by_server: Mapping[str, Sequence[Figure]], rounds: int) -> Table:
    """All figures, with a column for each server: median (smallest to greatest) of the rounds."""
    made = Table(title=f"median (smallest to greatest); rounds: {rounds}")
    for heading in ("", "target", *by_server):
        made.add_column(heading)
    lines: dict[str, Figure] = {each.what: each for figures in by_server.values() for each in figures}
    for what, figure in lines.items():
        cells = []
        for figures in by_server.values():
            found = next((each for each in figures if each.what == what), None)
            cells.append("not measured" if found is None else "\n".join(filter(None, (found.measured, found.reached))))
        made.add_row(what, str(figure.target or ""), *cells)
    return made
