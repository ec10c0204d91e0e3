"""`import --from-outcomes`: what it needs, and what it prints."""

from __future__ import annotations

import sys

from worker.cli._progress import progress
from worker.operate.from_outcomes import OutcomesRead, Rebuild
from worker.wiring.commands import RebuildSettings, rebuilds

__all__ = ["RebuildSettings", "rebuild"]

_MOST_NAMED = 20
"""Events without a final outcome that are named one by one."""


async def rebuild(settings: RebuildSettings, *, by: str, dry_run: bool) -> int:
    """Reads the outcome topics and writes what they say to the ledger. It asks Tradovate nothing."""
    async with rebuilds(settings, by, dry_run=dry_run) as writing:
        run = Rebuild(settings, writing)
        with progress("Outcomes", None) as advance:
            found = await run.run(advance)
    _report(found, dry_run=dry_run)
    return 0


def _report(found: OutcomesRead, *, dry_run: bool) -> None:
    for number, (topic, event_id) in enumerate(found.pending):
        if number == _MOST_NAMED:
            print(f"... and {len(found.pending) - _MOST_NAMED} more", file=sys.stderr)
            break
        print(f"{topic} {event_id} has no final outcome: read its topic again to continue it.", file=sys.stderr)
    done = "nothing was written" if dry_run else f"{found.events} events were new to the ledger"
    others = f", {found.others} other records" if found.others else ""
    print(f"Read {found.outcomes} outcomes{others}; {done}.")
