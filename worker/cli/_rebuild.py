"""`import --from-outcomes`: what it needs, and what it prints."""

from __future__ import annotations

from worker.cli._output import printable, warn
from worker.cli._progress import progress
from worker.operate.from_outcomes import OutcomesRead, Rebuild
from worker.wiring.commands import RebuildSettings, rebuilds

__all__ = ["RebuildSettings", "rebuild"]


async def rebuild(settings: RebuildSettings, *, by: str, dry_run: bool) -> int:
    """Reads the outcome topics and writes what they say to the ledger. It asks Tradovate nothing."""
    async with rebuilds(settings, by, dry_run=dry_run) as writing:
        run = Rebuild(settings, writing)
        with progress("Outcomes", None) as advance:
            found = await run.run(advance)
    report(found, dry_run=dry_run)
    return 0


def report(found: OutcomesRead, *, dry_run: bool) -> None:
    """Prints what was read, and on standard error each event that goes on only if its topic is read again."""
    for topic, event_id in found.pending:
        warn(f"{topic} {printable(event_id)} has no final outcome: read its topic again to continue it.")
    done = "nothing was written" if dry_run else f"{found.events} events were new to the ledger"
    others = f", {found.others} other records" if found.others else ""
    print(f"Read {found.outcomes} outcomes{others}; {done}.")
