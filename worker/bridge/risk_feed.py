"""The risk statuses of the DEMO socket: whether they are asked for, whether they come, and where they go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from worker.bridge.risk_intake import RiskIntake
from worker.bridge.risk_sync import RiskSync
from worker.ledger import risk_statuses
from worker.ledger.database import Database, DatabaseError
from worker.partner.socket_actions import ConnectionEnd
from worker.telemetry.log_on_change import LastReported

__all__ = ["RiskFeed"]

log = structlog.get_logger()

COME_WITHIN = 60.0
"""Seconds from the sync request's answer: all its parts have come by then."""

LOOK_EVERY = 5.0
"""Seconds between two looks at whether they come."""


@dataclass(slots=True)
class RiskFeed:
    """Called by the DEMO line. `clock` is monotonic seconds."""

    intake: RiskIntake
    database: Database
    sync: RiskSync = field(default_factory=RiskSync)
    clock: Callable[[], float] = time.monotonic
    comes: bool = False
    """Tradovate sends risk statuses on this connection."""
    absent: str | None = None
    """Why they should come and do not, on a connection that asks for them and listens; or None."""
    _listens_since: float | None = None
    _said: LastReported = field(default_factory=LastReported)

    def asks(self) -> bool:
        """A connection begins: whether its sync request names them."""
        return self.sync.asks()

    def authorized(self) -> None:
        """The sync request comes next."""
        self.sync.authorized()
        self.intake.authorized()

    def listening(self) -> None:
        """The sync request was answered."""
        asked = self.sync.listening()
        self._listens_since = self.clock() if asked else None

    def received(self, rows: Sequence[Any], *, initial: bool) -> None:
        """Rows as they came."""
        self.comes, self.absent = True, None
        self.intake.received(rows, initial=initial)

    def ended(self, end: ConnectionEnd) -> None:
        """The connection has ended."""
        self.comes, self._listens_since = False, None
        self.sync.ended(end)
        if self.sync.refused is not None:
            if self._said.changed("refused", self.sync.refused):
                log.error("bridge.risk_statuses_refused", why=self.sync.refused)
        elif self._said.ended("refused"):
            log.info("bridge.risk_statuses_asked_for")

    @property
    def trouble(self) -> str | None:
        """Why no risk statuses come, or None."""
        return self.sync.refused or self.absent

    async def run(self) -> None:
        """Until cancelled: looks whether they come."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self.run_once()

    async def run_once(self) -> None:
        """An answer without the family is what an API key without the permission gets, and a firm without accounts."""
        since = self._listens_since
        if self.comes or since is None or self.clock() - since < COME_WITHIN or self.absent is not None:
            return
        try:
            async with self.database.connection() as connection:
                accounts = await risk_statuses.accounts_are_known(connection)
        except DatabaseError:
            return
        if accounts:
            self.absent = "Tradovate sends none: the API key needs the permission Risks:Read"
            log.error("bridge.risk_statuses_absent", why=self.absent)
