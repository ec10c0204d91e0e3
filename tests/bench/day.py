"""A day on a virtual clock: calls and latency at every rate, from one purchase an hour to sixty a second."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from tests.bench.lanes import Lanes
from worker.dispatch.pacing import HOUR

DAY = 24 * HOUR

RATES = (1 / HOUR, 10 / HOUR, 1 / 60, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0)
"""Purchases a second. At sixty, full calls cost 4,320 of the 4,380 an hour that 4,500 with the reserve leave."""


def steady(rate: float, start: float = 0.0, end: float = DAY) -> Iterator[float]:
    """One purchase after the other, evenly."""
    for number in itertools.count():
        time = start + number / rate
        if time >= end:
            return
        yield time


def poisson(rate: float, start: float = 0.0, end: float = DAY, seed: int = 1) -> Iterator[float]:
    """Purchases that know nothing of each other."""
    dice = random.Random(seed)
    time = start
    while (time := time + dice.expovariate(rate)) < end:
        yield time


def changing(*parts: tuple[float, float, float]) -> Iterator[float]:
    """Steady streams one after the other: rate, start, end."""
    for rate, start, end in parts:
        yield from steady(rate, start, end)


def burst(size: int, at: float) -> Iterator[float]:
    """So many at once."""
    return itertools.repeat(at, size)


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 0, always."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.day", description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="how long the day is")
    parser.add_argument("--budget", type=int, default=4500)
    options = parser.parse_args(arguments)
    end = options.hours * HOUR
    middle = end / 2
    streams: list[tuple[str, Iterator[float]]] = [
        *((f"{_rate(rate)} steady", steady(rate, end=end)) for rate in RATES),
        *((f"{_rate(rate)} at random", poisson(rate, end=end)) for rate in RATES if rate < 60),
        ("60 a second from midday on", steady(60.0, middle, end)),
        ("1 a second, 60 from midday on", changing((1.0, 0, middle), (60.0, middle, end))),
        ("60 a second, 5 from midday on", changing((60.0, 0, middle), (5.0, middle, end))),
        ("5, 40, 0.2, 60, 10 in turn", changing(*_turns(end, (5.0, 40.0, 0.2, 60.0, 10.0)))),
        ("5,000 at once, then 5 a second", itertools.chain(burst(5000, 0.0), steady(5.0, 1.0, end))),
        ("50,000 at once, then 40 a second", itertools.chain(burst(50_000, 0.0), steady(40.0, 60.0, end))),
    ]
    table = Table(title=f"{options.hours:g} hours on a budget of {options.budget} calls an hour")
    for name in ("purchases", "done", "calls", "busiest hour", "median s", "95 % s", "longest s", "dry"):
        table.add_column(name, justify="left" if name == "purchases" else "right")
    console = Console(width=120)
    for name, purchases in streams:
        report = Lanes(options.budget).run(purchases, until=end + 2 * HOUR)
        dry = "never" if report.dry_since is None else f"after {report.dry_since:.0f} s"
        table.add_row(
            name,
            f"{len(report.latencies):,}",
            f"{report.calls:,}",
            f"{report.busiest:,}",
            *(f"{report.quantile(part):.2f}" for part in (0.5, 0.95, 1.0)),
            dry,
        )
    console.print(table)
    return 0


def _rate(rate: float) -> str:
    if rate >= 0.1:
        return f"{rate:g} a second"
    return f"{rate * 60:g} a minute" if rate * 60 >= 1 else f"{rate * HOUR:g} an hour"


def _turns(end: float, rates: Sequence[float]) -> list[tuple[float, float, float]]:
    part = end / len(rates)
    return [(rate, index * part, (index + 1) * part) for index, rate in enumerate(rates)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
