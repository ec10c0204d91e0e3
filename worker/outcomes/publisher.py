"""Publishes outcomes from the ledger, and notes that they are published.

A replica publishes what it wrote itself at once; what a dead replica left behind is taken over when its lease runs
out. A replica that dies between publishing and noting so makes a second record with the same `outcomeId`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka.errors import KafkaError

from worker.backoff import Schedule
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import TopicNames, outcome_topic
from worker.ledger.database import AWAY
from worker.ledger.ledger import Ledger
from worker.ledger.rows import OutcomeRow

log = structlog.get_logger()

SWEEP_EVERY = 2.0
"""Seconds between looks for outcomes that nobody has published in time."""

AT_ONCE = 500
"""Outcomes in one round: bounds memory, and what is published twice when this replica dies before noting it."""


@dataclass(slots=True)
class Publisher:
    """The way of outcomes to Kafka. `hand` takes what has just been written; `run` publishes."""

    ledger: Ledger
    producer: RecordProducer
    names: TopicNames
    published: Callable[[OutcomeRow], None] = lambda _row: None
    crash: Callable[[str], None] = lambda _point: None
    _handed: list[OutcomeRow] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _unnoted: list[int] = field(default_factory=list)
    _swept: float = 0.0
    _finishing: bool = False
    failing: bool = False
    progress: float = field(default_factory=time.monotonic)

    def hand(self, outcomes: Sequence[OutcomeRow]) -> None:
        """Takes outcomes that this replica has the lease of."""
        if outcomes:
            self._handed.extend(outcomes)
            self._wake.set()

    def finish(self) -> None:
        """Nothing more will be handed over: publish what is in hand, and end."""
        self._finishing = True
        self._wake.set()

    async def run(self) -> None:
        """Publishes until told to finish and nothing is in hand."""
        pause = Schedule(base=0.2, cap=5.0)
        failures = 0
        while not (self._finishing and not self._handed and not self._unnoted):
            self._wake.clear()
            try:
                await self.run_once()
                failures = 0
                self.failing = False
            except (KafkaError, *AWAY) as error:
                failures += 1
                self.failing = True
                log.warning("outcomes.waits", error=type(error).__name__, in_hand=len(self._handed))
                await asyncio.sleep(pause.delay(failures, random.random) + 0.1)
            self.progress = time.monotonic()
            if not self._handed and not self._finishing:
                try:
                    async with asyncio.timeout(SWEEP_EVERY):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def run_once(self) -> None:
        """Publishes what is in hand and what others left; raises when Kafka or the database is away."""
        if self._unnoted:
            await self._note()
        if time.monotonic() - self._swept >= SWEEP_EVERY:
            self._swept = time.monotonic()
            self._handed.extend(await self.ledger.unpublished(AT_ONCE))
        while self._handed:
            some = self._handed[:AT_ONCE]
            await self._send(some)
            del self._handed[: len(some)]
            self._unnoted += [row.id for row in some]
            self.crash("after_publish")
            await self._note()

    async def _send(self, rows: Sequence[OutcomeRow]) -> None:
        self.crash("before_publish")
        results = await asyncio.gather(
            *(
                self.producer.send(
                    self.names.on_broker(outcome_topic(row.topic)),
                    value=row.body,
                    key=row.record_key,
                    headers=[(name, text.encode()) for name, text in row.headers.items()],
                )
                for row in rows
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        for row in rows:
            self.published(row)

    async def _note(self) -> None:
        """Kept for the next round when the database is away: published is published."""
        await self.ledger.published(self._unnoted)
        self._unnoted.clear()
