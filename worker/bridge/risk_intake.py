"""Takes the risk statuses of the DEMO socket, thousands at once, and finds those that are not what last sent something.

The socket's reader hands over whole lists and returns at once. They are read here, a slice at a time, so that a
signature that comes meanwhile is published between two slices.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

import structlog

from worker.bridge.risk_status import ReceivedStatus, Watched, read, watched_in
from worker.telemetry.log_on_change import LastReported

__all__ = ["RISK_KINDS", "RiskIntake"]

log = structlog.get_logger()

RISK_KINDS = ("first_or_changed", "same", "unreadable", "dropped")
"""What a status that came may count as."""

SLICE = 100
"""Statuses that are read without a pause: about a millisecond."""

ROOM = 100_000
"""Statuses that may wait to be read, or to be compared with the ledger. The initial data have one for each account:
this is more than a firm has, and some hundred megabytes at most. What comes beyond that is dropped; when there is room
again the socket is connected again, and the initial data bring it."""

START_OVER_EVERY = 300.0
"""Seconds between two of these connections: each costs a fetch of signals, and may not help."""


@dataclass(slots=True)
class _Connection:
    """`since`: the ledger's time when it was authorized. `received`: accounts of which an event has come: what the
    initial data say of them afterwards may be older.
    """

    since: datetime | None
    received: set[int] = field(default_factory=set)


@dataclass(slots=True)
class RiskIntake:
    """Of one term of one bridge. `now`: the ledger's time. `counted` gets one of `RISK_KINDS` and a number. `clock`:
    monotonic seconds.
    """

    now: Callable[[], datetime | None] = lambda: None
    counted: Callable[[str, int], None] = lambda _kind, _number: None
    room: int = ROOM
    clock: Callable[[], float] = time.monotonic
    fallen_behind: bool = False
    """Some were dropped; nothing is taken before `start_over`."""
    _may_start_over: float = 0.0
    _raw: deque[tuple[Sequence[Any], bool, _Connection]] = field(default_factory=deque)
    _waiting: int = 0  # rows in `_raw`, and in `_fresh`
    _fresh: deque[ReceivedStatus] = field(default_factory=deque)
    _last: dict[int, Watched] = field(default_factory=dict)  # of each account, what was last put into `_fresh`
    _connection: _Connection = field(default_factory=lambda: _Connection(None))
    _some_raw: asyncio.Event = field(default_factory=asyncio.Event)
    _some_fresh: asyncio.Event = field(default_factory=asyncio.Event)
    _said: LastReported = field(default_factory=LastReported)

    def __len__(self) -> int:
        """Statuses that wait to be read, or for the ledger."""
        return self._waiting

    @property
    def fresh(self) -> int:
        """Those that wait for the ledger."""
        return len(self._fresh)

    def authorized(self) -> None:
        """A new connection begins: Tradovate has accepted its token. Not only when the sync request is answered: the
        answer may be older than an event that comes before it.
        """
        self._connection = _Connection(self.now())

    def received(self, rows: Sequence[Any], *, initial: bool) -> None:
        """Takes rows as they came. `initial`: of the initial data."""
        if self.fallen_behind or (self._waiting and self._waiting + len(rows) > self.room):
            self.fallen_behind = True
            self.counted("dropped", len(rows))
            if self._said.changed("dropped"):
                log.warning("bridge.risk_statuses_dropped", waiting=self._waiting)
            return
        self._raw.append((rows, initial, self._connection))
        self._waiting += len(rows)
        self._some_raw.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._some_raw.wait()
            await self.run_once()

    async def run_once(self) -> None:
        """Reads what waits."""
        while self._raw:
            rows, initial, connection = self._raw.popleft()
            left = iter(rows)
            while some := list(islice(left, SLICE)):
                kept = sum([self._take(row, initial, connection) for row in some])
                self._waiting -= len(some) - kept
                await asyncio.sleep(0)
        self._some_raw.clear()

    def _take(self, row: Any, initial: bool, connection: _Connection) -> bool:
        """Whether it goes to the ledger."""
        found = watched_in(row)
        if found is None:
            self.counted("unreadable", 1)
            if self._said.changed("unreadable"):
                log.error("bridge.risk_status_unreadable", fields=sorted(row)[:20] if isinstance(row, dict) else None)
            return False
        account_id, watched = found
        if not initial:
            connection.received.add(account_id)
        elif account_id in connection.received:
            return False
        if self._last.get(account_id) == watched:
            self.counted("same", 1)
            return False
        self.counted("first_or_changed", 1)
        self._last[account_id] = watched
        self._fresh.append(read(row, account_id, watched, None if initial else connection.since))
        self._some_fresh.set()
        return True

    def first(self, most: int) -> list[ReceivedStatus]:
        """Those that have waited longest. They stay until they are `done`."""
        return list(islice(self._fresh, most))

    def done(self, number: int) -> None:
        """So many of the first are in the ledger, or cannot be."""
        for _ in range(number):
            self._fresh.popleft()
        self._waiting -= number
        if not self._fresh:
            self._some_fresh.clear()

    async def wait_for_some(self) -> None:
        """Until one waits for the ledger."""
        await self._some_fresh.wait()

    def start_over(self) -> bool:
        """Whether the socket has to be connected again, for some were dropped and there is room now."""
        if not self.fallen_behind or self._waiting or self.clock() < self._may_start_over:
            return False
        self.fallen_behind, self._may_start_over = False, self.clock() + START_OVER_EVERY
        self._said.ended("dropped")
        return True
