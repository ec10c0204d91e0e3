"""What came of calls and reads, into the ledger: however long the database is unavailable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from worker.backoff import Schedule
from worker.engine.rows import Claimed, Move
from worker.ledger.call_log import EndedCall, finish_read
from worker.ledger.database import Connection, DatabaseError, DataRefused
from worker.ledger.isolated_record import record
from worker.ledger.ledger import Ledger
from worker.ledger.next_call import NextCall
from worker.ledger.rows import Batch, OutcomeRow
from worker.partner.operation import Operation
from worker.replies import Reply

log = structlog.get_logger()

WRITING = 4
"""Results that are written at the same time. Of six ordinary connections of a replica two are left, so that events are
accepted and outcomes published however slow that is."""

T = TypeVar("T")


@dataclass(slots=True)
class Writer:
    """Writes the results of one replica's calls. Those of urgent operations wait for no others: the next step of their
    flow may be a revocation.
    """

    ledger: Ledger
    _waiting: dict[int, str] = field(default_factory=dict)  # by call: why its result is not written yet
    _ordinary: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WRITING))

    @property
    def trouble(self) -> str | None:
        """Why results cannot be written, or None."""
        return next(iter(self._waiting.values()), None)

    async def record(
        self,
        operation: Operation,
        batch: Batch,
        moves: Sequence[tuple[Claimed, Move]],
        call: EndedCall | None = None,
        next_call: NextCall | None = None,
    ) -> Sequence[OutcomeRow]:
        """The moves of a batch, and what came of its call. `next_call`: begins what follows in the same transaction."""
        ledger = self._of(operation)

        async def write() -> Sequence[OutcomeRow]:
            return await record(ledger, batch.lease, moves, call, next_call)

        return await self._until_written(operation, batch.call_id, write)

    async def finish_read(self, operation: Operation, call_id: int, reply: Reply, endpoint: str, asked: bytes) -> None:
        """The result of a read of a look-up."""
        answered, ledger = time.monotonic(), self._of(operation)

        async def work(connection: Connection) -> None:
            left = max(0.0, ledger.lockout - (time.monotonic() - answered))
            await finish_read(connection, ledger.vault, call_id, reply, endpoint, asked, lockout_seconds=left)

        async def write() -> None:
            try:
                await ledger.database.atomically(work)
            except DataRefused as error:
                log.error("dispatch.read_refused", call_id=call_id, error=error.reason)  # noqa: TRY400

        await self._until_written(operation, call_id, write)

    def _of(self, operation: Operation) -> Ledger:
        return replace(self.ledger, database=self.ledger.database.first) if operation.limits.reserve else self.ledger

    async def _until_written(self, operation: Operation, call_id: int, write: Callable[[], Awaitable[T]]) -> T:
        turn: AbstractAsyncContextManager[object] = nullcontext() if operation.limits.reserve else self._ordinary
        pause = Schedule(base=0.2, cap=5.0, least=0.05)
        waits: str | None = None
        for attempt in range(1, 1_000_000):
            try:
                async with turn:
                    written = await write()
            except DatabaseError as error:
                if error.reason != waits:
                    waits = self._waiting[call_id] = error.reason
                    log.warning("dispatch.record_waits", call_id=call_id, error=waits)
                await asyncio.sleep(pause.delay(attempt))
            else:
                if waits is not None:
                    self._waiting.pop(call_id, None)
                    log.info("dispatch.recorded", call_id=call_id, attempts=attempt)
                return written
        raise AssertionError("unreachable")
