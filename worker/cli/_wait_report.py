"""What commands that read at Tradovate in bulk share: the reader, and what they report while it waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.wiring.partner_reads import ReadingSettings, partner_reader

__all__ = ["ReadingSettings", "WaitReport", "partner_reader"]

_EVERY = 30.0
"""Seconds between two lines about the same reason: a read that takes what is left of a minute's budget waits for each
call, thousands of times in a long run."""


@dataclass(slots=True)
class WaitReport:
    """Reports on standard error why a read waits, and that it goes on."""

    clock: Callable[[], float] = time.monotonic
    _reason: str = ""
    _at: float = 0.0
    _shown: bool = False

    def __call__(self, why: str | None) -> None:
        """It waits; None: it goes on."""
        if why is None:
            if self._shown:
                print("Goes on.", file=sys.stderr, flush=True)
            self._shown = False
            return
        reason = why.partition(", until ")[0]
        if reason != self._reason or self.clock() - self._at >= _EVERY:
            self._reason, self._at, self._shown = reason, self.clock(), True
            print(f"Waits: {why}.", file=sys.stderr, flush=True)
