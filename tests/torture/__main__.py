"""`make torture`: the whole system under faults, and what an oracle says of it. See README.md here."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import ROOT
from tests.support.wrong_clocks import WrongClock
from tests.torture.broken import BREAKS, NOT_BROKEN
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
    parser.add_argument("--breaks", action="store_true", help="run each broken program; all must be found")
    parser.add_argument("--verbose", action="store_true", help="print every misfortune")
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the shop's own clients: the broker is away now and then
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
    given: argparse.Namespace,
    seed: int,
    broken: str,
    clocks: Mapping[int, WrongClock],
    file: ReportFile,
    most: float = math.inf,
) -> Report:
    plan = Plan(seed, min(given.seconds, most), given.every, given.blows, given.rate, broken)
    return asyncio.run(torture(plan, clocks, file, verbose=given.verbose))


BROKEN_SECONDS = 35.0
"""Of trouble, for a program that is broken on purpose: it has to be found within two minutes, calm included."""


def _breaks(given: argparse.Namespace, clocks: Mapping[int, WrongClock]) -> int:
    """Each broken program must be found, and the one that is not broken must not be."""
    missed = []
    for name in [NOT_BROKEN, *BREAKS]:
        began = time.monotonic()
        report = _run(given, given.seed, name, clocks, ReportFile(given.report), most=BROKEN_SECONDS)
        took = time.monotonic() - began
        found = sorted({breach.promise for breach in report.breaches})
        say(f"{name:22} {'found' if found else 'not found'} after {took:.0f} s: {', '.join(found)}")
        if bool(found) == (name == NOT_BROKEN):
            missed.append(name)
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
