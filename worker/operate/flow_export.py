"""Who did what and when, for auditors: all flows, calls and actions of a time, in its order, in constant memory.

Nothing is locked and no transaction stays open: see `ledger/audit.py` for why all of it is nevertheless one picture.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.ledger import audit
from worker.ledger.audit import Line, Page, Read, Selection
from worker.ledger.database import Database

__all__ = ["CONNECTIONS", "export"]

CONNECTIONS = len(audit.SOURCES)
"""Each kind of line is read beside the others."""

_SETTLE_EVERY = 0.05
_SETTLE_LOOKS = 600
"""For half a minute transactions that had begun before are waited for. Ours take milliseconds; what hangs is ended by
the server (`LIMITS` in `ledger/connection.py`)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def export(
    database: Database,
    write: Callable[[Sequence[Line]], None],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    trader_id: str | None = None,
) -> int:
    """Gives `write` all lines that began at `since` or later and before `until`, some at a time; returns how many.

    What begins after the call of this function is not among them. Raises `DatabaseError`, and what `write` raises.
    """
    wanted = await _selection(database, since, until, trader_id)
    sources = [_Source(database, wanted, read) for read in audit.SOURCES]
    count = 0
    try:
        while True:
            for source in sources:
                await source.fill()
            # A source that has more pages says nothing yet of what is later than its last line.
            ends = [_millisecond(source.lines[-1]) for source in sources if source.has_more]
            some: list[Line] = []
            for source in sources:
                some += source.take(min(ends) if ends else None)
            write(sorted(some, key=_millisecond))  # three sorted parts, which this merges
            count += len(some)
            if not ends:
                return count
    finally:
        for source in sources:
            await source.close()


async def _selection(
    database: Database, since: datetime | None, until: datetime | None, trader_id: str | None
) -> Selection:
    async with database.connection() as connection:
        at = await audit.moment(connection)
    for _ in range(_SETTLE_LOOKS):
        if not await _still_written(database, at):
            break
        await asyncio.sleep(_SETTLE_EVERY)
    async with database.connection() as connection:
        return await audit.selection(connection, at, since, until, trader_id)


async def _still_written(database: Database, at: datetime) -> bool:
    async with database.connection() as connection:
        return await audit.still_written(connection, at)


def _millisecond(line: Line) -> int:
    """The time as it is shown."""
    return (line.time - _EPOCH) // timedelta(milliseconds=1)


class _Source:
    """Lines of one kind. The next page is read while the last one is written."""

    def __init__(self, database: Database, wanted: Selection, read: Read) -> None:
        self._database, self._wanted, self._read = database, wanted, read
        self.lines: Sequence[Line] = ()
        self._next: asyncio.Task[Page] | None = asyncio.create_task(self._page(None))

    @property
    def has_more(self) -> bool:
        """Whether there are pages after `lines`."""
        return self._next is not None

    async def fill(self) -> None:
        """Waits for the next page when all lines have been taken."""
        if self.lines or self._next is None:
            return
        page = await self._next
        self.lines = page.lines
        self._next = None if page.after is None else asyncio.create_task(self._page(page.after))

    def take(self, end: int | None) -> Sequence[Line]:
        """Takes the lines up to the millisecond `end`; None: all."""
        count = len(self.lines) if end is None else bisect_right(self.lines, end, key=_millisecond)
        taken, self.lines = self.lines[:count], self.lines[count:]
        return taken

    async def close(self) -> None:
        """Reads no more."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])

    async def _page(self, after: tuple[Any, ...] | None) -> Page:
        async with self._database.connection() as connection:
            return await self._read(connection, self._wanted, after)
