"""What came of calls and reads, into the ledger: however long the database is unavailable."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from worker.backoff import Schedule
from worker.ledger.calls import finish_read
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, DatabaseError
from worker.ledger.ledger import Ledger
from worker.ledger.recording import record
from worker.ledger.rows import Batch, Claimed, Move, OutcomeRow
from worker.replies import Reply

log = structlog.get_logger()

WRITING = 4
"""Results that are written at the same time. Of six ordinary connections of a replica two are left, so that events are
accepted and outcomes published however slow that is."""

T = TypeVar("T")


@dataclass(slots=True)
class Writer:
    """Writes the results of one replica's calls."""

    ledger: Ledger
    vault: Vault
    _waiting: dict[int, str] = field(default_factory=dict)  # by call: why its result is not written yet
    _writing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WRITING))

    @property
    def trouble(self) -> str | None:
        """Why results cannot be written, or None."""
        return next(iter(self._waiting.values()), None)

    async def record(
        self,
        batch: Batch,
        moves: Sequence[tuple[Claimed, Move]],
        call: tuple[int, Reply] | None,
        held: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> Sequence[OutcomeRow]:
        """What came of a batch, and of its call if there was one. Returns the outcomes, leased to this replica."""
        answered = time.monotonic()
        return await self._until_written(
            batch.call_id,
            lambda: record(self.ledger, batch.lease, moves, call, held, time.monotonic() - answered),
        )

    async def finish_read(self, call_id: int, reply: Reply, endpoint: str, asked: bytes) -> None:
        """What came of one read of a look-up."""
        answered = time.monotonic()

        async def work(connection: Connection) -> None:
            left = max(0.0, self.ledger.lockout - (time.monotonic() - answered))
            await finish_read(connection, self.vault, call_id, reply, endpoint, asked, lockout_seconds=left)

        await self._until_written(call_id, lambda: self.ledger.database.atomically(work))

    async def _until_written(self, call_id: int, write: Callable[[], Awaitable[T]]) -> T:
        """Writes, however long the database is unavailable: what is known of a call must not be forgotten."""
        pause = Schedule(base=0.2, cap=5.0)
        waits: str | None = None
        for attempt in range(1, 1_000_000):
            try:
                async with self._writing:
                    written = await write()
                self._waiting.pop(call_id, None)
            except DatabaseError as error:
                if error.reason != waits:
                    waits = self._waiting[call_id] = error.reason
                    log.warning("dispatch.record_waits", call_id=call_id, error=waits)
                await asyncio.sleep(pause.delay(attempt, random.random) + 0.05)
            else:
                if waits is not None:
                    log.info("dispatch.recorded", call_id=call_id, attempts=attempt)
                return written
        raise AssertionError("unreachable")
