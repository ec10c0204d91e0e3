"""Measures the targets, each figure beside its target, on PostgreSQL with `fsync` on and, beside it, without.

Worker, partner, broker and PostgreSQL are processes of this machine. Figures of different runs do not compare on a
machine that does other things too; ratios within one run do. Nothing is asserted on a clock: the exit code is 1 only
when outcomes are missing.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from rich.console import Console

from tests.bench import day
from tests.bench.backlog import backlog
from tests.bench.figures import Figure, table
from tests.bench.full_ledger import ledger
from tests.bench.limits import limits
from tests.bench.scaling import replicas
from tests.bench.servers import Servers
from tests.bench.sizes import Sizes
from tests.bench.speed import burst, calls, lone
from tests.bench.statements import statements
from tests.bench.week import week
from tests.support.postgres import why_no_system_postgres

PARTS: dict[str, Callable[[Servers, Sizes], Awaitable[list[Figure]]]] = {
    each.__name__: each for each in (lone, burst, calls, statements, backlog, limits, replicas, ledger)
}

LONG: dict[str, Callable[[Servers, Sizes], Awaitable[list[Figure]]]] = {week.__name__: week}
"""Parts that run when they are asked for."""

DAY = "day"
"""A part without a target and without servers; it runs when it is asked for."""

SERVERS = ("system", "embedded")

_console = Console(width=140, highlight=False)


async def _measure(
    parts: Sequence[str], sizes: Sizes, postgres: str, keep: Path | None
) -> tuple[str, list[Figure], bool]:
    """What the server is called, the figures of the parts, and whether all outcomes arrived."""
    found: list[Figure] = []
    complete = True
    async with Servers.up(postgres, keep) as servers:
        _console.print(f"{servers.database}; {servers.broker}")
        for part in parts:
            work = {**PARTS, **LONG}[part]
            _console.print(f"  {part}: {(work.__doc__ or '').strip()}")
            try:
                figures = await work(servers, sizes)
            except (TimeoutError, AssertionError) as error:
                complete = False
                _console.print(f"    not measured: {type(error).__name__} {error}"[:300], markup=False)
                continue
            for each in figures:  # at once, so that a run that is interrupted has shown something
                target = f"; target {each.target}: {each.reached}" if each.target else ""
                _console.print(f"    {each.what}: {each.measured}{target}")
            found += figures
    return servers.database, found, complete


def main(arguments: Sequence[str]) -> int:
    """Parses, measures, prints; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", default=",".join(PARTS), help=f"parts, with commas: {', '.join([*PARTS, *LONG, DAY])}"
    )
    default = "embedded" if why_no_system_postgres() else ",".join(SERVERS)
    parser.add_argument("--postgres", default=default, help="system (fsync on), embedded (fsync off), or both")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="where the data of `system` stay, with the full ledger, for other runs"
    )
    Sizes.add_options(parser)
    options = parser.parse_args(arguments)
    parts, servers = ([each for each in text.split(",") if each] for text in (options.only, options.postgres))
    if unknown := [each for each in parts if each not in (*PARTS, *LONG, DAY)] + [
        each for each in servers if each not in SERVERS
    ]:
        parser.error(f"unknown: {', '.join(unknown)}")
    if why := why_no_system_postgres():
        _console.print(f"The targets are meant for a PostgreSQL with fsync on: {why}")
    sizes, measured, complete = Sizes.of(options), [each for each in parts if each in (*PARTS, *LONG)], True
    figures: dict[str, list[Figure]] = {}
    for postgres in servers if measured else ():
        name, found, all_there = asyncio.run(_measure(measured, sizes, postgres, options.keep))
        figures[name] = found
        complete = complete and all_there
    if figures:
        _console.print(table(figures, sizes.rounds))
    if DAY in parts:
        day.main([])
    return 0 if complete else 1
