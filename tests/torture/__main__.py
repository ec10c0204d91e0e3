"""`make torture`: the whole system under faults, and what an oracle says of it. See README.md here."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.broken import BREAKS, NOT_BROKEN
from tests.torture.run import Report, say, torture


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--seconds", type=float, default=180.0, help="of misfortunes in each run (180)")
    parser.add_argument("--runs", type=int, default=1, help="runs, each with the next seed (1)")
    parser.add_argument("--kills", type=int, default=0, help="run until so many kills and freezes have happened")
    parser.add_argument("--every", type=float, default=0.9, help="seconds between misfortunes, on the average (0.9)")
    parser.add_argument("--rate", type=float, default=5.0, help="events a second (5)")
    parser.add_argument("--break", dest="broken", choices=[NOT_BROKEN, *BREAKS], help="run a program that is broken")
    parser.add_argument("--breaks", action="store_true", help="run each broken program; all must be found")
    parser.add_argument("--verbose", action="store_true", help="print every misfortune")
    given = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the shop's own clients: the broker is away now and then
    if given.breaks:
        return _breaks(given)
    total = Report()
    seed = given.seed
    while True:
        report = _run(given, seed, given.broken or "")
        total.add(report)
        seed += 1
        if given.kills:
            say(f"so far: {total.kills} kills and {total.freezes} freezes in {total.runs} runs")
        enough = total.kills + total.freezes >= given.kills if given.kills else total.runs >= given.runs
        if enough or report.breaches:
            break
    say("\n".join(total.lines()))
    return 1 if total.breaches else 0


def _run(given: argparse.Namespace, seed: int, broken: str) -> Report:
    with tempfile.TemporaryDirectory(prefix="tradovate-torture-") as folder:
        return asyncio.run(
            torture(
                seed,
                given.seconds,
                every=given.every,
                rate=given.rate,
                broken=broken,
                folder=Path(folder),
                verbose=given.verbose,
            )
        )


def _breaks(given: argparse.Namespace) -> int:
    """Each broken program must be found, and the one that is not broken must not be."""
    missed = []
    for name in [NOT_BROKEN, *BREAKS]:
        began = time.monotonic()
        report = _run(given, given.seed, name)
        took = time.monotonic() - began
        found = sorted({breach.promise for breach in report.breaches})
        say(f"{name:22} {'found' if found else 'not found'} after {took:.0f} s: {', '.join(found)}")
        if bool(found) == (name == NOT_BROKEN):
            missed.append(name)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
