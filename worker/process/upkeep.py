"""What has to be done now and then: show that this replica is there, and prune what has been kept long enough."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from worker.ledger.database import Database, DatabaseError
from worker.ledger.ended_counts import count_on
from worker.ledger.prune import forget_doubtful, prune
from worker.ledger.replicas import gone, seen
from worker.settings import BridgeSettings
from worker.telemetry.log_on_change import LastReported

log = structlog.get_logger()

SEEN_EVERY = 5.0
"""Seconds; the console counts a replica as gone after three of these."""

PRUNE_EVERY = 120
"""Turns, ten minutes: a day's flows are pruned in small bites all day long."""

PRUNE_SECONDS = 1.0
"""Of a turn. What is left (LEDGER_KEEP_DAYS was lowered, the workers were stopped for months) is deleted at the next
turns. So the database keeps most of its time for steps, and this replica reports itself in between."""


@dataclass(slots=True)
class Upkeep:
    """One loop a process."""

    settings: BridgeSettings
    database: Database
    name: str
    role: str
    address: str | None

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set. A database that is away is tried again at the next turn."""
        turn, rows, more, counting, said = 0, 0, False, False, LastReported()
        keep, keep_letters = self.settings.ledger_keep, self.settings.kafka_dlq_retention
        while not stopping.is_set():
            try:
                await seen(self.database, self.name, self.role, self.address)
                if more or turn % PRUNE_EVERY == 0:
                    pruned = await prune(self.database, keep, keep_letters, seconds=PRUNE_SECONDS)
                    rows, more = rows + pruned.rows, pruned.more
                if turn % PRUNE_EVERY == 0:
                    rows += await forget_doubtful(self.database)
                if counting or turn % PRUNE_EVERY == 0:
                    counting = await count_on(self.database)
                if rows and not more:
                    log.info("upkeep.pruned", rows=rows)
                    rows = 0
            except DatabaseError as error:
                if said.changed("database", error.reason):
                    log.info("upkeep.database_away", error=error.reason)
            else:
                said.ended("database")
            turn += 1
            try:
                async with asyncio.timeout(SEEN_EVERY):
                    await stopping.wait()
            except TimeoutError:
                continue
        try:
            await gone(self.database, self.name)
        except DatabaseError as error:
            log.info("upkeep.database_away", error=error.reason)
