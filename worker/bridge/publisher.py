"""Out of the inbox onto Kafka, and a note of it in the ledger.

A bridge that dies between the two publishes the signal again, under the same event id, which intake drops.
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
from worker.bridge.inbox import Inbox
from worker.bridge.signals import Outgoing
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import TopicNames
from worker.ledger import signals
from worker.ledger.database import Database, DatabaseError
from worker.ledger.errors import reason_of

log = structlog.get_logger()

AT_ONCE = 500
"""Signals in one round: what is published twice when this bridge dies before noting it."""


@dataclass(slots=True)
class SignalPublisher:
    """`leading` says whether this bridge may publish at this very moment."""

    database: Database
    producer: RecordProducer
    names: TopicNames
    inbox: Inbox
    leading: Callable[[], bool]
    published: Callable[[Outgoing], None] = lambda _signal: None
    crash: Callable[[str], None] = lambda _point: None
    waits_for: str | None = None
    progress: float = field(default_factory=time.monotonic)
    _unnoted: set[int] = field(default_factory=set)

    async def run(self) -> None:
        """Until cancelled. Kafka or the database away: signals wait, and it tries again."""
        pause = Schedule(base=0.2, cap=5.0)
        failures = 0
        while True:
            self.progress = time.monotonic()
            try:
                if not await self.run_once():
                    await self._wait()
                failures, self.waits_for = 0, None
            except (OSError, KafkaError, DatabaseError) as error:
                failures += 1
                self.waits_for = "database" if isinstance(error, DatabaseError) else "kafka"
                why = reason_of(error)
                log.warning("bridge.waits", waits_for=self.waits_for, error=why, waiting=len(self.inbox))
                await asyncio.sleep(pause.delay(failures, random.random) + 0.1)

    async def run_once(self) -> bool:
        """Publishes and notes what has waited longest; false when nothing does. Raises when either is away."""
        some = self.inbox.first(AT_ONCE)
        if not some or not self.leading():
            return False
        async with self.database.connection() as connection:
            known = await signals.known(connection, [signal.signal_id for signal in some])
        fresh = [signal for signal in some if signal.signal_id not in known | self._unnoted]
        # A bridge that was frozen here, and is not the leader any more, has slept over what another has published.
        if fresh and not self.leading():
            return False
        failure = await self._send(fresh)
        self.crash("after_publish")
        async with self.database.connection() as connection:
            await signals.note(connection, list(self._unnoted))
        self.inbox.done(known | self._unnoted)
        self._unnoted.clear()
        if failure is not None:
            raise failure
        return True

    async def _send(self, fresh: Sequence[Outgoing]) -> BaseException | None:
        """Publishes; what is on Kafka is kept in mind until it is noted, also when the database is away just then."""
        self.crash("before_publish")
        results = await asyncio.gather(*(self._publish(signal) for signal in fresh), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        return failures[0] if failures else None

    async def _publish(self, signal: Outgoing) -> None:
        await self.producer.send(self.names.on_broker(signal.topic), value=signal.value, key=signal.key)
        self._unnoted.add(signal.signal_id)
        self.published(signal)

    async def _wait(self) -> None:
        """Until something waits, a second at most: whether this bridge leads is a matter of time."""
        try:
            async with asyncio.timeout(1.0):
                if self.leading():
                    await self.inbox.wait_for_signals()
                else:
                    await asyncio.Event().wait()
        except TimeoutError:
            pass
