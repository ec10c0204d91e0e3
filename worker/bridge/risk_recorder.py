"""Compares risk statuses with what the ledger has of their accounts, and writes what changed down to be published."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from worker.backoff import Schedule
from worker.bridge.risk_intake import RiskIntake
from worker.bridge.risk_status import KnownStatus, ReceivedStatus, compared
from worker.ledger import risk_statuses
from worker.ledger.database import Connection, Database, DatabaseError, DataRefused
from worker.telemetry.log_on_change import LastReported

log = structlog.get_logger()

AT_ONCE = 250
"""Statuses in one transaction, which takes some ten milliseconds."""

TURN = 1.0
"""Seconds until the next look when there is nothing to do."""


@dataclass(slots=True)
class RiskRecorder:
    """`lease`: of the bridge that leads. `start_over`: connects the socket again. `recorded` is called after changes
    were written.
    """

    database: Database
    intake: RiskIntake
    lease: Callable[[], uuid.UUID]
    start_over: Callable[[], None] = lambda: None
    recorded: Callable[[], None] = lambda: None
    progress: float = field(default_factory=time.monotonic)
    trouble: str | None = None
    """Why statuses wait for the ledger, or None."""
    _said: LastReported = field(default_factory=LastReported)

    async def run(self) -> None:
        """Until cancelled. The database away: statuses wait, and it tries again."""
        pause, failures, most = Schedule(base=0.2, cap=5.0, least=0.1), 0, AT_ONCE
        while True:
            self.progress = time.monotonic()
            try:
                if not await self.run_once(most):
                    await self._wait()
                failures, self.trouble, most = 0, None, AT_ONCE
            except DataRefused as error:
                if most == 1:  # nothing that was read should be refused; if it is, it must not hold up the others
                    self.intake.counted("unreadable", 1)
                    self.intake.done(1)
                log.warning("bridge.risk_status_refused", error=error.reason, alone=most == 1)
                most = 1
            except DatabaseError as error:
                failures, self.trouble = failures + 1, error.reason
                if self._said.changed("waits", error.reason):
                    log.warning("bridge.risk_statuses_wait", error=error.reason, waiting=len(self.intake))
                await asyncio.sleep(pause.delay(failures))
            else:
                if self._said.ended("waits"):
                    log.info("bridge.risk_statuses_recorded", waiting=len(self.intake))

    async def run_once(self, most: int = AT_ONCE) -> bool:
        """Records those that have waited longest; false when there are none, or when this bridge does not lead."""
        received = self.intake.first(most)
        if not received:
            if self.intake.start_over():
                self.start_over()
            return False
        changes = await self.database.atomically(lambda connection: self._record(connection, received))
        if changes is None:
            return False
        self.intake.done(len(received))
        if changes:
            self.recorded()
        return True

    async def _record(self, connection: Connection, received: list[ReceivedStatus]) -> int | None:
        # Another bridge that leads by now has later data; what this one received before must not come after that.
        if not await risk_statuses.leads(connection, self.lease()):
            return None
        known = await risk_statuses.known(connection, [each.account_id for each in received])
        kept, changes = compared({account_id: KnownStatus(*each) for account_id, each in known.items()}, received)
        if kept:
            await risk_statuses.keep(connection, kept)
        if changes:
            rows = [(each.account_id, each.version, each.before, each.now) for each in changes]
            await risk_statuses.add_changes(connection, rows)
        return len(changes)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(TURN):
                if self.intake.first(1):  # this bridge does not lead: its term ends
                    await asyncio.Event().wait()
                await self.intake.wait_for_some()
        except TimeoutError:
            pass
