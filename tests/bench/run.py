"""The worker's numbers, each beside its mark, in one run: worker, partner and broker are processes of this machine.

Nothing is asserted on a clock: figures are printed, and the exit code is 1 only when an outcome is missing. Figures of
different runs do not compare on a machine that does other things too; ratios within one run do.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.bench.house import PARTNER_MS, House, Servers
from tests.support.events import purchase
from tests.support.postgres import why_no_system_postgres
from tests.support.processes import Process
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    what: str
    measured: str
    mark: str = ""
    reached: bool | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is sent."""

    burst: int
    naive: int
    lone: int
    backlog: int


def _ids(numbers: range) -> list[str]:
    return [f"e-{number}" for number in numbers]


async def _rate(house: House, numbers: range, timeout: float) -> float:
    """Purchases a second from the first event's sending to the last outcome's arrival."""
    began = await house.send([purchase(number) for number in numbers])
    ended = await house.outcomes(_ids(numbers), timeout)
    return len(numbers) / (ended - began)


async def burst(servers: Servers, sizes: Sizes) -> list[Figure]:
    """A burst without contact data, and the naive worker on a smaller number: purchases a second of both."""
    async with House.open(servers) as house:
        with Process([sys.executable, "-m", "tests.bench.naive"], house.env):
            naive = await _rate(house, range(sizes.naive), 120)
    async with House.open(servers) as house:
        await house.start()
        ours = await _rate(house, range(sizes.burst), 300)
        calls = (await house.control("state"))["calls"]["total"]
    ratio = ours / naive
    return [
        Figure(f"naive worker, {sizes.naive} purchases", f"{naive:.1f} a second"),
        Figure(f"burst of {sizes.burst:,} purchases", f"{ours:,.0f} a second, {calls} calls"),
        Figure("of the naive worker's rate", f"{ratio:.0f} times", "200 times at least", ratio >= 200),
    ]


async def calls(servers: Servers, _: Sizes) -> list[Figure]:
    """Calls per 100 purchases in a burst of 1,000, the login included."""
    async with House.open(servers) as house:
        await house.start()
        rate = await _rate(house, range(1000), 120)
        made = (await house.control("state"))["calls"]["total"]
    per = made / 10
    return [
        Figure(f"calls per 100 in a burst of 1,000 ({rate:,.0f} a second)", f"{per:.2f}", "2.1 at most", per <= 2.1)
    ]


WARMING = 3
"""Lone events that are not counted: connections are opened, statements prepared."""


async def _alone(house: House, count: int) -> tuple[list[float], float]:
    """What each of `count` lone events took beyond the partner, rising, and the partner's own median: milliseconds."""
    whole: list[float] = []
    for number in range(count + WARMING):
        began = await house.send([purchase(number)])
        ended = await house.outcomes(_ids(range(number, number + 1)), 60)
        whole.append(ended - began)
    records = await house.control("calls?last=1000")
    theirs = [each["ended_at"] - each["at"] for each in records if "createevaluation" in each["path"]]
    pairs = [users + accounts for users, accounts in zip(theirs[::2], theirs[1::2], strict=True)]
    beyond = [1000 * (both - partner) for both, partner in list(zip(whole, pairs, strict=True))[WARMING:]]
    return sorted(beyond), 1000 * statistics.median(pairs)


async def lone(servers: Servers, sizes: Sizes) -> list[Figure]:
    """A lone event's outcome, beyond what the partner itself took for its two calls; the naive worker's beside it."""
    async with House.open(servers) as house:
        with Process([sys.executable, "-m", "tests.bench.naive"], house.env):
            naive, _ = await _alone(house, sizes.lone)
    async with House.open(servers) as house:
        await house.start()
        ours, partner = await _alone(house, sizes.lone)
    median = statistics.median(ours)
    return [
        Figure(f"lone event, {len(ours)} times, median beyond the partner", f"{median:.1f} ms", "15 ms", median <= 15),
        Figure("lone event, 95 % below", f"{ours[int(0.95 * len(ours))]:.1f} ms"),
        Figure("lone event through the naive worker, median", f"{statistics.median(naive):.1f} ms"),
        Figure("the partner's own time for its two calls", f"{partner:.1f} ms"),
    ]


async def backlog(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Peak memory while a backlog comes in; the budget allows next to no calls, so that all of it waits."""
    async with House.open(servers, TRADOVATE_HOURLY_BUDGET="40") as house:
        for start in range(0, sizes.backlog, 5000):
            await house.send([purchase(number) for number in range(start, min(start + 5000, sizes.backlog))])
        began = time.monotonic()
        worker = await house.start()

        async def taken() -> bool:
            if worker.returncode is not None:
                raise RuntimeError(f"the worker ended: {worker.stderr[-1000:]}")
            steps = await house.count("select max(id) from step")  # cheap, where counting them all is not
            return steps >= sizes.backlog and await house.count("select count(*) from flow") >= sizes.backlog

        await eventually(taken, 900)
        seconds = time.monotonic() - began
        peak = house.peak_megabytes()
    return [
        Figure(f"backlog of {sizes.backlog:,}: into the ledger", f"{sizes.backlog / seconds:,.0f} records a second"),
        Figure("peak memory of the worker", f"{peak:.0f} MB", "200 MB at most", peak <= 200),
    ]


async def stream(servers: Servers, _: Sizes) -> list[Figure]:
    """150 purchases at two a second on a budget of 100 calls."""
    async with House.open(servers, TRADOVATE_HOURLY_BUDGET="100") as house:
        await house.start()
        began = time.monotonic()
        ended = began
        for number in range(150):
            await house.send([purchase(number)])
            await _until(began + (number + 1) / 2)
        ended = await house.outcomes(_ids(range(150)), 3600)
        made = (await house.control("state"))["calls"]["total"]
    text = f"{ended - began:.0f} s, {made} calls"
    return [Figure("150 purchases at two a second, budget 100", text, "minutes", ended - began < 600)]


async def _until(when: float) -> None:
    await eventually(lambda: time.monotonic() >= when, 5)


PARTS: dict[str, Callable[[Servers, Sizes], Awaitable[list[Figure]]]] = {
    "a": burst,
    "b": calls,
    "c": lone,
    "d": backlog,
    "e": stream,
}


async def measure(parts: Sequence[str], sizes: Sizes, postgres: str) -> int:
    """Runs the parts one after the other and prints a table; 1 when an outcome was missing."""
    console = Console(width=120)
    missing = 0
    async with Servers.up(postgres) as servers:
        table = Table(title=f"{servers.kind}; partner at {PARTNER_MS:g} ms a call")
        for name in ("what", "measured", "mark", ""):
            table.add_column(name)
        for part in parts:
            work = PARTS[part]
            console.print(f"({part}) {(work.__doc__ or '').splitlines()[0]} …", highlight=False)
            try:
                figures = await work(servers, sizes)
            except (TimeoutError, AssertionError) as error:
                missing += 1
                figures = [Figure(f"({part})", f"outcomes are missing: {type(error).__name__} {error}"[:100])]
            for figure in figures:
                reached = "" if figure.reached is None else "reached" if figure.reached else "missed"
                table.add_row(figure.what, figure.measured, figure.mark, reached)
        console.print(table)
    return 1 if missing else 0


def main(arguments: Sequence[str]) -> int:
    """Parses, measures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.run", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas: " + ", ".join(PARTS))
    parser.add_argument("--burst", type=int, default=5000)
    parser.add_argument("--naive", type=int, default=80)
    parser.add_argument("--lone", type=int, default=60)
    parser.add_argument("--backlog", type=int, default=200_000)
    default = "embedded" if why_no_system_postgres() else "system,embedded"
    parser.add_argument("--postgres", default=default, help="on which servers: system (fsync on), embedded (fsync off)")
    options = parser.parse_args(arguments)
    parts = [part for part in options.only.split(",") if part]
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}")
    sizes = Sizes(options.burst, options.naive, options.lone, options.backlog)
    codes = [asyncio.run(measure(parts, sizes, postgres)) for postgres in options.postgres.split(",")]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
