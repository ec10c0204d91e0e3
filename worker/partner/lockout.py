"""The lock-out that this process has received and the ledger may not know yet.

A 423 or 429 stops the calls of every replica, which learn of it from the ledger. While the ledger cannot be written,
only the process that received the answer knows. So it remembers the lock-out in memory before anything else happens,
and makes no call until the ledger has it. Whatever receives a reply (the HTTP client, a socket) calls `received`;
whatever is about to send one asks `why_silent`; `worker.session.lockouts` writes it to the ledger.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

__all__ = ["LockOut", "Unwritten"]

BEGUN_BEFORE = 5.0
"""Seconds after the lock-out was written in which this process makes no call. A call that was begun in the ledger just
before, and so was allowed, is sent within that time or not at all."""

OTHERS_WRITE = 1.0
"""Seconds without calls when the ledger is back: a replica that was locked out meanwhile writes that first. It tries
every half second (`worker.session.lockouts`)."""


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A lock-out that the ledger does not have yet. `left` is zero when it has ended: it is written all the same, for
    the session may have been closed meanwhile.
    """

    number: int
    status: int
    left: timedelta


class LockOut:
    """One for each process. `lasts`: TRADOVATE_LOCKOUT_SECONDS; `clock` is monotonic seconds."""

    def __init__(self, lasts: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._lasts = lasts.total_seconds()
        self._clock = clock
        self._number = 0
        self._status: int | None = None  # of a lock-out that the ledger does not have yet
        self._until = 0.0
        self._others_until = 0.0
        self._arrived = asyncio.Event()

    def received(self, status: int) -> None:
        """Tradovate answered 423 or 429: from here on this process makes no call. Call it before any I/O."""
        self._number += 1
        self._status = status
        self._until = self._clock() + self._lasts
        self._arrived.set()

    @property
    def why_silent(self) -> str | None:
        """Why no call may be sent now; None when one may. Costs nothing: ask it right before the first byte."""
        if self._status is not None:
            return f"locked out: Tradovate answered {self._status}, and the ledger does not know it yet"
        if self._clock() < self._until:
            return "locked out"
        if self._clock() < self._others_until:
            return "the ledger was unavailable, and another replica may have been locked out meanwhile"
        return None

    def ledger_is_back(self) -> None:
        """The ledger serves again, and may not know yet what the others have received."""
        self._others_until = self._clock() + OTHERS_WRITE

    @property
    def unwritten(self) -> Unwritten | None:
        """What has to be written to the ledger; None when it knows all."""
        if self._status is None:
            return None
        return Unwritten(self._number, self._status, timedelta(seconds=max(0.0, self._until - self._clock())))

    async def arrives(self) -> None:
        """Returns when there is a lock-out to be written."""
        await self._arrived.wait()

    def written(self, number: int) -> None:
        """The ledger has that one, and holds back every replica from now on; nothing if another came meanwhile."""
        if number != self._number or self._status is None:
            return
        self._status = None
        self._until = min(self._until, self._clock() + BEGUN_BEFORE)
        self._arrived.clear()
