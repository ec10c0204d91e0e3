"""Which of the bridges works: a lease in the ledger, extended every two seconds by its holder."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from worker.ledger import leader
from worker.ledger.database import Database, DatabaseError
from worker.ledger.errors import Cause, DatabaseUnavailable
from worker.telemetry.log_on_change import LastReported

log = structlog.get_logger()

LEASE = 8.0
"""Seconds. A leader that is dead or frozen is succeeded within these, a look, and the second that connecting and
catching up take: well within the fifteen that are promised. A database that is slow for some seconds costs nobody
the lead."""

LOOK_EVERY = 1.0
"""Seconds between two looks of the standby."""

EXTEND_EVERY = 2.0
"""Seconds between two extensions: three may fail."""


@dataclass(slots=True)
class Leadership:
    """Its own clock, monotonic seconds, decides whether this bridge still leads: one that was frozen wakes up to find
    that it does not, before it has asked the ledger.
    """

    database: Database
    name: str
    lease_seconds: float = LEASE
    look_every: float = LOOK_EVERY
    extend_every: float = EXTEND_EVERY
    clock: Callable[[], float] = time.monotonic
    progress: float = field(default_factory=time.monotonic)
    away: str | None = "not asked yet"
    """Why the ledger could not be asked, None when it could."""
    _said: LastReported = field(default_factory=LastReported)
    _lease: uuid.UUID = field(default_factory=uuid.uuid4)
    _until: float = 0.0
    _won: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def leads(self) -> bool:
        """Whether this bridge works, at this very moment."""
        return self.clock() < self._until

    @property
    def lease(self) -> uuid.UUID:
        """What the ledger knows this bridge's lead by, as long as it leads."""
        return self._lease

    async def run(self) -> None:
        """Takes and extends the lease until cancelled."""
        while True:
            self.progress = time.monotonic()
            await self.run_once()
            await asyncio.sleep(self.extend_every if self.leads else self.look_every)

    async def run_once(self) -> bool:
        """One try to take or to extend; whether this bridge leads."""
        led = self.leads
        if not led:
            self._lease = uuid.uuid4()  # what was written under the former one has no effect any more
            self._won.clear()
        # Counted from before the question: the lease that the ledger gives begins no sooner.
        asked = self.clock()
        try:
            async with asyncio.timeout(self.extend_every), self.database.connection() as connection:
                taken = await leader.take(connection, self.name, self._lease, timedelta(seconds=self.lease_seconds))
            self.away = None
            if self._said.ended("away"):
                log.info("bridge.ledger_back", leads=taken)
        except TimeoutError:
            return self._not_asked(DatabaseUnavailable(Cause.TOO_SLOW))
        except DatabaseError as error:
            return self._not_asked(error)
        self._until = asked + self.lease_seconds if taken else 0.0
        if self.leads:
            if not led:
                log.info("bridge.leads", name=self.name)
            self._won.set()
        else:
            self._won.clear()
        return self.leads

    def _not_asked(self, error: DatabaseError) -> bool:
        self.away = error.reason
        if self._said.changed("away", (self.away, self.leads)):
            log.warning("bridge.ledger_away", error=self.away, fix=error.fix, leads=self.leads)
        return self.leads

    async def won(self) -> None:
        """Until this bridge leads."""
        await self._won.wait()

    async def lost(self) -> None:
        """Until it does not lead any more."""
        lease = self._lease  # the lead may be lost and taken again between two looks
        while self.leads and self._lease == lease:
            wait = min(max(self._until - self.clock(), 0.01), self.look_every)
            await asyncio.sleep(wait)

    async def give_back(self) -> None:
        """Lets another bridge lead at once. Raises `DatabaseError`."""
        self._until = 0.0
        self._won.clear()
        async with self.database.connection() as connection:
            await leader.give_back(connection, self._lease)
