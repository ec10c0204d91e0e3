"""Kafka into the ledger, through FastStream: raw record batches, acknowledged when they are in the ledger.

The offset of a record batch is committed only when all of it is in the ledger or on a dead-letter topic, and by its own
number (`poll.py`). FastStream's own ways of acknowledging would lose records (they commit the consumer's position) or
loop (they seek back at once). So the handler commits by itself, and never raises: a record that cannot be read or
accepted becomes a dead letter, or is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import KafkaAckableMessage

from worker.intake.accept import EventIntake
from worker.intake.arrivals import Arrivals
from worker.intake.parse import RawRecord
from worker.intake.poll import POLL_MS, Poll
from worker.kafka.fetched_ahead import FetchedAhead
from worker.kafka.look import KafkaLook
from worker.kafka.security import faststream_security
from worker.kafka.tolerant import install
from worker.kafka.topics import TopicNames
from worker.settings import KafkaSettings

log = structlog.get_logger()

MOST_RECORDS = 500
"""Records in one transaction: a few milliseconds of PostgreSQL, a few hundred kilobytes of memory. Of large records
fewer, see `room.py`."""

_library = logging.getLogger("worker.intake.faststream")
_library.setLevel(logging.ERROR)
"""FastStream's own lines: only what it cannot handle. Without a logger it would keep even that to itself."""

_NEVER = 2**31 - 1
"""Milliseconds. While PostgreSQL is away the handler waits, and the consumer must stay in the group as long as that
takes. A handler that hangs for another reason is found by the liveness check."""

_CLOSE_SECONDS = 4.0
"""For a consumer to leave its group. One that waits for a broker takes up to 40 s, and is not waited for."""


class _Consumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka ships no types
    """Starts whatever topics are missing: the others are read, and health names those that are not."""

    ahead: FetchedAhead | None = None

    async def start(self) -> None:
        await super().start()
        self.ahead = FetchedAhead(self._fetcher)

    async def _wait_topics(self) -> None:
        return


class Subscriber:
    """The consumer of all input topics: one member of the group for each replica. `look`: at the broker's topics."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        intake: EventIntake,
        look: KafkaLook,
        stopping: asyncio.Event,
    ) -> None:
        install()
        self._names = TopicNames(settings.kafka_topic_prefix)
        self._intake = intake
        self._look = look
        self._stopping = stopping
        self._arrivals = Arrivals()
        self._closing: set[asyncio.Task[None]] = set()
        self.busy_since: float | None = None
        self.poll: Poll | None = None
        self.ends: dict[TopicPartition, int] = {}  # of the log, as last seen
        self.names = [self._names.on_broker(topic) for topic in topics]
        self.broker = KafkaBroker(
            settings.kafka_bootstrap_servers.split(","),
            security=faststream_security(settings),
            client_id="tradovate-worker",
            consumer_only=True,  # nothing is published through it
            allow_auto_create_topics=False,
            apply_types=False,
            logger=_library,
            graceful_timeout=20.0,
            metadata_max_age_ms=10_000,  # partitions and topics that are new are read within the 30 s of readiness
        )
        self._subscriber = self.broker.subscriber(
            *self.names,
            batch=True,
            group_id=settings.kafka_group_id,
            auto_offset_reset="earliest",
            isolation_level="read_committed",  # records of an aborted or still open transaction are not read
            ack_policy=AckPolicy.MANUAL,
            max_records=MOST_RECORDS,
            max_poll_interval_ms=_NEVER,
            session_timeout_ms=int(settings.kafka_session_timeout_seconds * 1_000),
            heartbeat_interval_ms=int(settings.kafka_session_timeout_seconds * 300),
            rebalance_timeout_ms=30_000,  # above the time a batch takes; the default is the session time-out
            fetch_max_bytes=4 * 1024 * 1024,  # a response is in memory twice while it is read
            max_partition_fetch_bytes=1024 * 1024,
            parser=self._parse,
            decoder=self._decode,
        )
        self._subscriber(self._handle)
        # FastStream's own way would sleep after an empty poll for as long as it polled, and a record would wait.
        self._subscriber.get_msg = self._next_batch  # type: ignore[method-assign]

    async def start(self) -> None:
        """Joins the group. Raises `KafkaError` when no broker answers, or the group may not be used."""
        await self.broker.connect()
        config: Any = self.broker.config.broker_config
        config.builder = partial(_Consumer, **config.builder.keywords)
        try:
            await self.broker.start()
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """Closes the consumer, if there is one, so that another one can be started."""
        consumer, self._subscriber.consumer, self.poll = self._subscriber.consumer, None, None
        await self._subscriber.stop()
        if consumer is not None:
            closing = asyncio.create_task(consumer.stop())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            # Never cancelled: half closed it would stay a member of the group that reads nothing.
            await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)

    async def stop(self) -> None:
        """Leaves the group, so that its partitions go elsewhere at once."""
        await self.leave()
        await self.broker.stop()

    @property
    def consumer(self) -> Any:
        """The consumer of aiokafka, or None before the start."""
        return self._subscriber.consumer

    @property
    def assigned(self) -> bool:
        """Whether the group has given this replica its share (which may be no partition at all)."""
        consumer = self.consumer
        if consumer is None or consumer._coordinator is None:  # noqa: SLF001 - aiokafka tells it nowhere else
            return False
        state = consumer._subscription  # noqa: SLF001
        if state.subscription is None or state.reassignment_in_progress:
            return False
        return not consumer._coordinator.need_rejoin(state.subscription)  # noqa: SLF001

    def lag(self) -> dict[str, int]:
        """Records up to the end of the log that are not accepted yet, by topic without prefix, of this replica's
        partitions. Those behind a transaction that is still open count.
        """
        behind = {self._names.bare(name): 0 for name in self.names} if self.poll is not None else {}
        for tp, read_to in self._read_to().items():
            end = max(self.ends.get(tp, 0), self.consumer.highwater(tp) or 0)
            behind[self._names.bare(tp.topic)] += max(end - read_to, 0)
        return behind

    def arriving(self, within: float) -> bool:
        """Whether more events are seen to be coming: records wait, or those of the last `within` seconds say so."""
        if self._arrivals.coming(within) or self._arrivals.following(within):
            return True
        return self.poll is not None and self.poll.more_waits()

    def alone(self, within: float) -> bool:
        """Whether nothing follows the event that is being taken, as far as can be seen."""
        return self._arrivals.alone(within) and not (self.poll is not None and self.poll.more_waits())

    def _read_to(self) -> Mapping[TopicPartition, int]:
        consumer, poll = self.consumer, self.poll
        if consumer is None or poll is None:
            return {}
        offsets = ((tp, poll.read_to(tp)) for tp in consumer.assignment())
        return {tp: offset for tp, offset in offsets if offset is not None}

    async def _next_batch(self, consumer: Any) -> tuple[ConsumerRecord, ...]:
        poll = self.poll
        if poll is None or poll.consumer is not consumer:
            poll = self.poll = Poll(consumer, self._look.topics, self._stopping, MOST_RECORDS)
        found = await poll(POLL_MS)
        return tuple(chain.from_iterable(found.values()))

    async def _parse(self, records: Any) -> KafkaMessage:
        return KafkaAckableMessage(
            body=records, raw_message=records, headers={}, batch_headers=[], consumer=self.consumer
        )

    async def _decode(self, message: KafkaMessage) -> KafkaMessage:
        return message

    async def _handle(self, message: KafkaMessage) -> None:
        records: Sequence[ConsumerRecord] = message.raw_message
        # The library ties a message into a circle, which the collector of garbage may find a hundred batches later.
        message.raw_message = message.body = ()
        poll = self.poll
        assert poll is not None
        self._arrivals.begin(len(records))
        self.busy_since = time.monotonic()
        accepted = False
        try:
            accepted = await self._intake.accept_records([self._raw(record) for record in records], self._stopping)
            if accepted:
                self._arrivals.accepted()
                await self._commit(poll, len(records))
        except Exception:
            log.exception("intake.failed", records=len(records))
        finally:
            if not accepted:  # another replica gets all of it again, or the next consumer of this one
                poll.give_up()
            self._arrivals.end()
            self.busy_since = None

    async def _commit(self, poll: Poll, records: int) -> None:
        try:
            await poll.commit()
        except (KafkaError, TimeoutError) as error:
            # The partitions went elsewhere, or no broker answers: they are delivered again, and the ledger knows them.
            log.warning("intake.commit_failed", error=type(error).__name__, records=records)

    def _raw(self, record: ConsumerRecord) -> RawRecord:
        return RawRecord(
            self._names.bare(record.topic),
            record.partition,
            record.offset,
            -1 if record.timestamp is None else record.timestamp,  # records of the oldest format have none
            record.key,
            record.value,
            tuple(record.headers),
        )
