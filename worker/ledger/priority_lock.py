"""A lock between the tasks of one process, which is given to the most urgent waiter."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count


@dataclass(slots=True)
class PriorityLock:
    """A lock whose waiters are served by rank (0 first), those of one rank in their order."""

    _busy: bool = False
    _waiting: list[tuple[int, int, asyncio.Future[None]]] = field(default_factory=list)
    _number: count[int] = field(default_factory=count)

    @property
    def busy(self) -> bool:
        """Whether a task holds the lock."""
        return self._busy

    @asynccontextmanager
    async def held(self, rank: int) -> AsyncIterator[None]:
        """Holds the lock, as soon as it is free and nobody more urgent waits for it."""
        if self._busy:
            mine = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (rank, next(self._number), mine))
            try:
                await mine
            except asyncio.CancelledError:
                # The race: the lock was given to a task that was cancelled in the same moment.
                if mine.done() and not mine.cancelled():
                    self._pass_on()
                raise
        self._busy = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            _, _, next_one = heapq.heappop(self._waiting)
            if not next_one.done():
                next_one.set_result(None)
                return  # still busy: the next one holds it
        self._busy = False
