"""The database's time, which decides for all replicas when something is due (README, "What happens when").

A statement that writes a time uses `clock_timestamp()`. What decides in the program reads the time in its transaction
(`database_time`, `DatabaseClock.read`), or asks the clock where milliseconds do not matter (`DatabaseClock.now`). This
machine's own clock may be wrong, and may jump.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.ledger.connection import Connection


async def database_time(connection: Connection) -> datetime:
    """The time at this moment, not at the beginning of the transaction."""
    now: datetime = await connection.fetchval("select clock_timestamp()")
    return now


@dataclass(slots=True)
class DatabaseClock:
    """The database's time as it was last read, carried on by this process's monotonic clock.

    It is never ahead of the database; it is behind by the time that the answer was on its way.
    """

    monotonic: Callable[[], float] = time.monotonic  # seconds
    _last: datetime | None = None
    _at: float = 0.0

    def set(self, now: datetime) -> None:
        """A statement has just returned this time."""
        self._last, self._at = now, self.monotonic()

    def now(self) -> datetime:
        """To be asked after the first `set`."""
        now = self.now_if_known()
        assert now is not None, "the time of the database has not been read yet"
        return now

    def now_if_known(self) -> datetime | None:
        """None before the first `set`."""
        return None if self._last is None else self._last + timedelta(seconds=self.monotonic() - self._at)

    async def read(self, connection: Connection) -> datetime:
        """The time at this moment."""
        now = await database_time(connection)
        self.set(now)
        return now
