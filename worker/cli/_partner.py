"""What commands that read at Tradovate in bulk share: the reader, and what they report while it waits."""

from __future__ import annotations

import sys

from worker.wiring.partner_reads import ReadingSettings, partner_reader

__all__ = ["ReadingSettings", "partner_reader", "report_waits"]


def report_waits(why: str | None) -> None:
    """Reports on standard error why a read waits, and that it goes on."""
    print("Goes on." if why is None else f"Waits: {why}.", file=sys.stderr, flush=True)
