"""A loop that publishes what waits for one topic, as long as this bridge leads: for signals, and for risk statuses.

A topic that accepts nothing holds up no other: each has a publisher and a producer of its own.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import structlog

from worker.backoff import Schedule
from worker.errors import Unavailable
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import TopicNames
from worker.ledger.database import Database, DatabaseError
from worker.telemetry.log_on_change import LastReported
from worker.telemetry.tracing import Tracing

log = structlog.get_logger()

SLOW = 10.0
"""Seconds after which a topic that has not accepted a record is reported. A record takes milliseconds. The producer
itself gives up after forty seconds, which is too late for health."""

TURN = 1.0
"""Seconds between two looks at whether this bridge leads: that is a matter of time."""


class TopicRefuses(Unavailable):
    """The topic has not accepted a record. `error`: the first one of Kafka's."""

    def __init__(self, topic: str, error: str) -> None:
        super().__init__(topic, error)
        self.topic = topic
        self.error = error

    @property
    def reason(self) -> str:
        """For log and health."""
        return f"{self.topic} does not accept records ({self.error})"


@dataclass(slots=True, kw_only=True)
class TopicPublisher(ABC):
    """Of one topic. `leading` says whether this bridge may publish at this very moment."""

    kind: ClassVar[str]
    """What waits, in the plural."""

    topic: str
    database: Database
    producer: RecordProducer
    names: TopicNames
    leading: Callable[[], bool]
    tracing: Tracing = field(default_factory=Tracing)
    crash: Callable[[str], None] = lambda _point: None
    progress: float = field(default_factory=time.monotonic)
    _failed: str | None = None
    _sending_since: float | None = None
    _said: LastReported = field(default_factory=LastReported)

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many wait for Kafka, as far as is known."""

    @abstractmethod
    async def run_once(self) -> bool:
        """Publishes what has waited longest, and writes that to the ledger; false when there is nothing to do now.

        Raises `TopicRefuses` and `DatabaseError`.
        """

    @abstractmethod
    async def _until_something_waits(self) -> None:
        """Returns when `run_once` has something to do. Asked while this bridge leads."""

    @property
    def trouble(self) -> str | None:
        """Why records wait for their topic, or None."""
        why, since = self._failed, self._sending_since
        if why is None and since is not None and (waited := time.monotonic() - since) > SLOW:
            why = f"{self.topic} has accepted no record for {int(waited)} s"
        return None if why is None else f"{why}; {self.waiting} {self.kind} wait"

    async def run(self) -> None:
        """Until cancelled. Kafka or the database away: records wait, and it tries again."""
        pause, failures = Schedule(base=0.2, cap=5.0, least=0.1), 0
        while True:
            self.progress = time.monotonic()
            try:
                if not await self.run_once():
                    await self._wait()
                failures, self._failed = 0, None
                if self._said.ended("waits"):
                    log.info("bridge.publishes", topic=self.topic)
            except (TopicRefuses, DatabaseError) as error:
                failures, self._failed = failures + 1, error.reason
                if self._said.changed("waits", self._failed):
                    log.warning("bridge.waits", topic=self.topic, error=self._failed, waiting=self.waiting)
                await asyncio.sleep(pause.delay(failures))

    async def _all(self, sends: Iterable[Awaitable[str | None]]) -> list[str | None]:
        """Makes these sends at once: why each was not accepted, or None."""
        self._sending_since = time.monotonic()
        try:
            return await asyncio.gather(*sends)
        finally:
            self._sending_since = None

    async def _send(self, value: bytes, key: bytes | None) -> Exception | None:
        """Puts one record on the topic; why it was not accepted, or None."""
        try:
            with self.tracing.publishing(self.topic) as sending:
                headers = [(name, text.encode()) for name, text in sending.headers.items()]
                sent = await self.producer.send(self.names.on_broker(self.topic), value=value, key=key, headers=headers)
                sending.partition, sending.offset = sent.partition, sent.offset
        except Exception as error:  # noqa: BLE001 - whatever the client raises, the record waits and health says why
            return error
        return None

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(TURN):
                if self.leading():
                    await self._until_something_waits()
                else:
                    await asyncio.Event().wait()
        except TimeoutError:
            pass
