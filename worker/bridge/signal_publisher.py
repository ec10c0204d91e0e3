"""Out of an inbox onto its topic, and a note of it in the ledger.

A bridge that dies between the two publishes the signal again, under the same event id, which intake drops. Each topic
has a publisher and a producer of its own: one that accepts nothing holds up no other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka.errors import MessageSizeTooLargeError

from worker.backoff import Schedule
from worker.bridge.signal_record import SIGNED, Outgoing, without_content
from worker.bridge.topic_inbox import Inbox
from worker.errors import Unavailable
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import ADMIN_ALERT, TopicNames
from worker.ledger import signals
from worker.ledger.database import Database, DatabaseError
from worker.telemetry.log_on_change import LastReported
from worker.telemetry.tracing import Tracing

log = structlog.get_logger()

TOPICS = (SIGNED, ADMIN_ALERT)
"""Where signals are published."""

AT_ONCE = 500
"""Signals in one round: what is published twice when this bridge dies before noting it."""

SLOW = 10.0
"""Seconds after which a topic that has not accepted a record is reported: a record takes milliseconds, and the producer
itself gives up after forty seconds, later than health must know of it."""


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


@dataclass(slots=True)
class SignalPublisher:
    """Of one topic. `leading` says whether this bridge may publish at this very moment."""

    topic: str
    database: Database
    producer: RecordProducer
    names: TopicNames
    inbox: Inbox
    leading: Callable[[], bool]
    published: Callable[[Outgoing], None] = lambda _signal: None
    tracing: Tracing = field(default_factory=Tracing)
    crash: Callable[[str], None] = lambda _point: None
    progress: float = field(default_factory=time.monotonic)
    _failed: str | None = None
    _sending_since: float | None = None
    _unnoted: set[int] = field(default_factory=set)
    _said: LastReported = field(default_factory=LastReported)

    @property
    def trouble(self) -> str | None:
        """Why signals wait for their topic, or None."""
        if self._failed is not None:
            return f"{self._failed}; {len(self.inbox)} signals wait"
        since = self._sending_since
        if since is not None and time.monotonic() - since > SLOW:
            waited = f"{self.topic} has accepted no record for {int(time.monotonic() - since)} s"
            return f"{waited}; {len(self.inbox)} signals wait"
        return None

    async def run(self) -> None:
        """Until cancelled. Kafka or the database away: signals wait, and it tries again."""
        pause = Schedule(base=0.2, cap=5.0, least=0.1)
        failures = 0
        while True:
            self.progress = time.monotonic()
            try:
                if not await self.run_once():
                    await self._wait()
                failures, self._failed = 0, None
                if self._said.over("waits"):
                    log.info("bridge.publishes", topic=self.topic)
            except (TopicRefuses, DatabaseError) as error:
                failures, self._failed = failures + 1, error.reason
                if self._said.changed("waits", self._failed):
                    log.warning("bridge.waits", topic=self.topic, error=self._failed, waiting=len(self.inbox))
                await asyncio.sleep(pause.delay(failures))

    async def run_once(self) -> bool:
        """Publishes and notes what has waited longest; false when nothing does. Raises when either is away."""
        some = self.inbox.first(AT_ONCE)
        if not some or not self.leading():
            return False
        async with self.database.connection() as connection:
            known = await signals.known(connection, self.topic, [signal.signal_id for signal in some])
        fresh = [signal for signal in some if signal.signal_id not in known | self._unnoted]
        # A bridge that was frozen here, and is not the leader any more, has slept over what another has published.
        if fresh and not self.leading():
            return False
        failure = await self._send(fresh)
        self.crash("after_publish")
        async with self.database.connection() as connection:
            await signals.note(connection, self.topic, list(self._unnoted))
        self.inbox.done(known | self._unnoted)
        self._unnoted.clear()
        if failure is not None:
            raise failure
        return True

    async def _send(self, fresh: Sequence[Outgoing]) -> TopicRefuses | None:
        """Publishes; what is on Kafka is kept in mind until it is noted, also when the database is away just then."""
        if not fresh:
            return None
        self.crash("before_publish")
        self._sending_since = time.monotonic()
        try:
            failures = [why for why in await asyncio.gather(*map(self._publish, fresh)) if why is not None]
        finally:
            self._sending_since = None
        return TopicRefuses(self.topic, failures[0]) if failures else None

    async def _publish(self, signal: Outgoing) -> str | None:
        """Why the topic has not accepted it, or None."""
        try:
            with self.tracing.publishing(signal.topic) as sending:
                headers = [(name, text.encode()) for name, text in sending.headers.items()]
                sent = await self.producer.send(
                    self.names.on_broker(signal.topic), value=signal.value, key=signal.key, headers=headers
                )
                sending.partition, sending.offset = sent.partition, sent.offset
        except Exception as error:  # noqa: BLE001 - whatever the client raises, the signal waits and health says why
            if isinstance(error, MessageSizeTooLargeError) and signal.topic != SIGNED:
                signal = without_content(signal)
            self.inbox.later(signal)
            return type(error).__name__
        self._unnoted.add(signal.signal_id)
        self.published(signal)
        return None

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
