"""Kafka in: a FastStream batch subscriber of raw records, committed after the ledger's transaction.

The parser handed to FastStream touches nothing of a record, so it cannot raise: FastStream's own decodes headers and
would lose the batch on bytes that are not UTF-8. The handler returns only when every record of the batch is in the
ledger or a dead letter; with manual acknowledgement a handler that raised would be passed over in silence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import KafkaAckableMessage

from worker.intake.arrivals import Arrivals
from worker.intake.parse import RawRecord
from worker.intake.take import Taker
from worker.kafka.security import faststream_security
from worker.kafka.tolerant import install
from worker.kafka.topics import TopicNames
from worker.settings import KafkaSettings

log = structlog.get_logger()

MOST_RECORDS = 500
"""Records in one transaction: a few milliseconds of PostgreSQL, a few hundred kilobytes of memory."""

POLL_MS = 500
"""Milliseconds for which a poll waits for a record."""

_NEVER = 2**31 - 1
"""Milliseconds. While PostgreSQL is away the handler waits, and the consumer must keep its place in the group for as
long as that takes; a handler that hangs for another reason is found by the liveness check."""


class Subscriber:
    """The consumer of all input topics: one member of the group for each replica."""

    def __init__(self, settings: KafkaSettings, topics: Sequence[str], taker: Taker, stopping: asyncio.Event) -> None:
        install()
        self._names = TopicNames(settings.kafka_topic_prefix)
        self._taker = taker
        self._stopping = stopping
        self.busy_since: float | None = None
        self._arrivals = Arrivals()
        self.progress = time.monotonic()
        self.broker = KafkaBroker(
            settings.kafka_bootstrap_servers.split(","),
            security=faststream_security(settings),
            client_id="tradovate-worker",
            allow_auto_create_topics=False,
            apply_types=False,
            logger=None,
            graceful_timeout=20.0,
        )
        self._subscriber = self.broker.subscriber(
            *(self._names.on_broker(topic) for topic in topics),
            batch=True,
            group_id=settings.kafka_group_id,
            auto_offset_reset="earliest",
            isolation_level="read_committed",  # what a shop has taken back, or not yet said, was not bought
            ack_policy=AckPolicy.MANUAL,
            max_records=MOST_RECORDS,
            batch_timeout_ms=1,
            max_poll_interval_ms=_NEVER,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            rebalance_timeout_ms=30_000,  # above the time a batch takes; the default is the session time-out
            fetch_max_bytes=8 * 1024 * 1024,  # with a backlog, what is fetched ahead is most of a replica's memory
            max_partition_fetch_bytes=1024 * 1024,
            parser=self._parse,
            decoder=self._decode,
        )
        self._subscriber(self._handle)

    async def start(self) -> None:
        """Joins the group. Raises `KafkaConnectionError` when no broker answers."""
        await self.broker.start()
        self._poll_patiently()

    def _poll_patiently(self) -> None:
        """FastStream sleeps after an empty poll for as long as it polled, and a record that comes in between waits.

        So it is told to poll for a millisecond, and each of its polls waits for a record: nothing is slept away, and
        an idle replica does not wake up a hundred times a second.
        """
        consumer = self.consumer
        getmany = consumer.getmany

        async def wait(timeout_ms: int, max_records: int) -> Any:
            return await getmany(timeout_ms=max(timeout_ms, POLL_MS), max_records=max_records)

        consumer.getmany = wait

    async def stop(self) -> None:
        """Leaves the group, so that its partitions go elsewhere at once."""
        await self.broker.stop()

    @property
    def consumer(self) -> Any:
        """The consumer of aiokafka, or None before the start."""
        return self._subscriber.consumer

    @property
    def assigned(self) -> bool:
        """Whether the group has given this replica its share (which may be no partition at all)."""
        consumer = self.consumer
        if consumer is None:
            return False
        coordinator = consumer._coordinator  # noqa: SLF001 - aiokafka tells it nowhere else
        return coordinator is not None and not coordinator.need_rejoin(consumer._subscription.subscription)  # noqa: SLF001

    def lag(self) -> dict[str, int]:
        """Records behind the end of what is committed, by topic without prefix, of this replica's partitions."""
        behind: dict[str, int] = {}
        consumer = self.consumer
        for partition in consumer.assignment() if consumer is not None else ():
            high = consumer.last_stable_offset(partition)
            state = consumer._subscription.subscription.assignment.state_value(partition)  # noqa: SLF001
            position = state._position if state is not None else None  # noqa: SLF001
            if high is not None and high >= 0 and position is not None:
                topic = self._names.bare(partition.topic)
                behind[topic] = behind.get(topic, 0) + max(high - position, 0)
        return behind

    def arriving(self, within: float) -> bool:
        """Whether events are surely on their way: records wait, or the last ones tell so (`Arrivals.coming`)."""
        return self._arrivals.coming(within) or any(self.lag().values())

    def arrived(self, within: float) -> bool:
        """Whether something came in no longer than `within` seconds ago."""
        return self._arrivals.came(within)

    async def _parse(self, records: Any) -> KafkaMessage:
        return KafkaAckableMessage(
            body=records, raw_message=records, headers={}, batch_headers=[], consumer=self.consumer
        )

    async def _decode(self, message: KafkaMessage) -> KafkaMessage:
        return message

    async def _handle(self, message: KafkaMessage) -> None:
        records: Sequence[ConsumerRecord[Any, Any]] = message.raw_message
        self._arrivals.begin(len(records))
        self.busy_since = time.monotonic()
        try:
            taken = await self._taker.take([self._raw(record) for record in records], self._stopping)
            if not taken:
                return  # stopped while the ledger was away: nothing is committed, another replica gets it again
            self._arrivals.taken()
            try:
                await message.ack()
            except (KafkaError, IllegalStateError) as error:
                # The partitions went elsewhere meanwhile: they are delivered again, and the ledger knows them.
                log.warning("intake.commit_failed", error=type(error).__name__, records=len(records))
        finally:
            self._arrivals.end()
            self.busy_since = None
            self.progress = time.monotonic()

    def _raw(self, record: ConsumerRecord[Any, Any]) -> RawRecord:
        return RawRecord(
            self._names.bare(record.topic),
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            tuple(record.headers),
        )
