"""The end of a process that was asked to stop, whatever hangs (README, "What happens when": exit within 25 s)."""

from __future__ import annotations

import os
import sys
import threading

import structlog

__all__ = ["LATEST", "exit_at_the_latest"]

log = structlog.get_logger()

LATEST = 22.0
"""Seconds from the signal. A stop in good order takes less; what is left of the 25 is for a machine that is busy."""


def exit_at_the_latest(code: int, seconds: float = LATEST) -> None:
    """Ends the process after `seconds`, if it still runs then.

    A name that is being looked up, an exporter that is being waited for: threads that nothing can cancel are joined
    when an event loop closes. What the ledger does not know by then, the next replica looks up, as after a `kill -9`.
    """

    def leave() -> None:
        log.error("run.stop_incomplete", error=f"something hangs; ended after {seconds:g} s")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
