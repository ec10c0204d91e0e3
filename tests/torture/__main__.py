"""`make torture`: the whole system under faults, and what an oracle says of it. See README.md here."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import ROOT
from tests.support.small_disk import why_no_small_disk
from tests.support.wrong_clocks import WrongClock
from tests.torture.breaks import BREAKS, CONTROL, FOUND_WITHIN, NOT_BROKEN
from tests.torture.report import Report, ReportFile
from tests.torture.run import Plan, say, torture
from tests.torture.system import MEMBERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--seconds", type=float, default=180.0, help="of trouble in each run (180)")
    parser.add_argument("--runs", type=int, default=1, help="runs, each with the next seed (1)")
    parser.add_argument("--kills", type=int, default=0, help="run until so many kills and freezes have happened")
    parser.add_argument("--blows", type=float, default=4.0, help="kills and freezes a second, on the average (4)")
    parser.add_argument(
        "--every", type=float, default=1.5, help="seconds between other misfortunes, on the average (1.5)"
    )
    parser.add_argument("--rate", type=float, default=8.0, help="events a second (8)")
    parser.add_argument("--keep-going", action="store_true", help="go on with the next seed after a breach")
    parser.add_argument(
        "--report", type=Path, default=ROOT / "build/torture.txt", help="file of the figures, up to now"
    )
    parser.add_argument("--break", dest="broken", choices=[NOT_BROKEN, *BREAKS], help="run a program that is broken")
    parser.add_argument("--breaks", action="store_true", help="run each broken program: its own rule must find it")
    parser.add_argument("--verbose", action="store_true", help="print every misfortune")
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the shop's own clients: the broker is away now and then
    if why := why_no_small_disk():
        say(f"No disk will be full: {why}.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # parts end in order, and the figures are kept
    with tempfile.TemporaryDirectory(prefix="tradovate-torture-") as folder:
        clocks = _clocks(Path(folder))
        try:
            return _breaks(given, clocks) if given.breaks else _runs(given, clocks)
        except KeyboardInterrupt:
            say(f"Interrupted. The figures up to now are in {given.report}.")
            return 130


def _runs(given: argparse.Namespace, clocks: Mapping[int, WrongClock]) -> int:
    """Run after run until there were enough of them, or a breach."""
    file = ReportFile(given.report)
    seed = given.seed
    while True:
        file.end_run(_run(given, seed, given.broken or "", clocks, file))
        total = file.ended
        seed += 1
        if given.kills or given.runs > 1:
            say(f"so far: {total.blows} kills and freezes, {len(total.seeds)} runs, {len(total.breaches)} breaches")
        enough = total.blows >= given.kills if given.kills else len(total.seeds) >= given.runs
        if enough or (total.breaches and not given.keep_going):
            break
    say("\n".join(total.lines()))
    return 1 if total.breaches else 0


def _run(
    given: argparse.Namespace, seed: int, broken: str, clocks: Mapping[int, WrongClock], file: ReportFile
) -> Report:
    plan = Plan(seed, given.seconds, given.every, given.blows, given.rate)
    if broken:
        shown = CONTROL if broken == NOT_BROKEN else BREAKS[broken]
        plan = Plan(seed, shown.seconds, shown.every, shown.blows, given.rate, broken)
    return asyncio.run(torture(plan, clocks, file, verbose=given.verbose))


def _breaks(given: argparse.Namespace, clocks: Mapping[int, WrongClock]) -> int:
    """Each broken program must be found in time by a rule of its own, and the one that is not broken by none."""
    missed = []
    for name in [NOT_BROKEN, *BREAKS]:
        report = _run(given, given.seed, name, clocks, ReportFile(given.report))
        took = report.found_after
        found = {breach.promise for breach in report.breaches}
        right = not found if name == NOT_BROKEN else BREAKS[name].is_found(found) and took <= FOUND_WITHIN
        if not right:
            missed.append(name)
        meant = [] if name == NOT_BROKEN else [each for each in BREAKS[name].finds if each in found]
        others = sorted(found.difference(meant))
        said = f"by its own rule: {', '.join(meant) or 'none'}" + (f"; others: {', '.join(others)}" if others else "")
        say(f"{'MISSED' if not right else 'ok':6} {name:22} {took:4.0f} s  {said}")
    say(f"missed: {', '.join(missed) or 'none'}, of {len(BREAKS)}")
    return 1 if missed else 0


CLOCKED = (1, 2, len(MEMBERS))
"""Members whose clocks may be wrong: each takes a base of its own to start quickly (`tests/support/warm.py`)."""


def _clocks(folder: Path) -> Mapping[int, WrongClock]:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        say("No libfaketime (Debian: apt-get install faketime): no clock will be wrong.")
        return {}
    clocks = {number: WrongClock(found[0], folder / f"clock{number}") for number in CLOCKED}
    for clock in clocks.values():
        clock.set(0)
    return clocks


if __name__ == "__main__":
    sys.exit(main())
