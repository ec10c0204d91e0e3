"""Puts dead letters on their topic, or keeps them in the ledger if that topic does not accept them: nothing waits.

Three answers of Kafka are distinguished. A refusal is about this record or this topic: the dead letter is kept in the
ledger at once. No broker answers at all: then nothing else can be read or published either, and the dead letter waits.
Anything else may be temporary: it is retried for `PATIENCE` seconds, and then the dead letter is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog
from aiokafka.errors import (
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from worker.intake.parse import BadRecord, HeaderName, RawRecord
from worker.kafka.look import KafkaLook
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import TopicNames, dead_letter_topic
from worker.ledger import kept_dead_letters
from worker.ledger.crypto import Vault
from worker.ledger.database import Database
from worker.ledger.kept_dead_letters import Content

log = structlog.get_logger()

PATIENCE = 15.0
"""Seconds for which a topic may be without a leader, or below its in-sync replicas, before letters go to the ledger."""

CLOSED_FOR = 30.0
"""Seconds for which a topic that accepts nothing is not tried again. Then one letter tries it, without patience."""

_TRY_SECONDS = 5.0
"""For one try: the producer looks for a missing topic for 40 s."""

_RETRY_SECONDS = 0.5

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
"""What is said of one record, and not of its topic."""

_CLOSED = (InvalidTopicError, PolicyViolationError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError)
"""What is said of the topic."""

RecordId = tuple[str, int, int]
"""Of a bad record: topic, partition, offset."""

Headers = Sequence[tuple[HeaderName, bytes | None]]


@dataclass(slots=True)
class DeadLetterWriter:
    """`counted` is called with the input topic and the reason of each dead letter."""

    producer: RecordProducer
    look: KafkaLook
    database: Database
    vault: Vault
    names: TopicNames
    counted: Callable[[str, str], None] = lambda *_: None
    patience: float = PATIENCE
    _closed: dict[str, tuple[float, str]] = field(default_factory=dict)  # by topic: until when, and why
    _under_way: dict[RecordId, asyncio.Task[object]] = field(default_factory=dict)

    async def write(self, record: RawRecord, rejected: BadRecord, headers: Headers) -> None:
        """Returns when the letter is on its topic or in the ledger.

        Raises `KafkaError` or `TimeoutError` when no broker answers, `DatabaseError` when the ledger cannot keep it:
        then it is on neither, or may be on its topic.
        """
        refusal = await self._sent(record, headers)
        if refusal is not None:
            await self._keep(record, rejected, headers, refusal)
        log.warning(
            "intake.dead_letter",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=rejected.code,
            error=rejected.sentence,
            **({} if refusal is None else {"kept_in_ledger": refusal}),
        )
        self.counted(record.topic, rejected.code)

    async def _sent(self, record: RawRecord, headers: Headers) -> str | None:
        """Publishes it; why its topic does not accept it, or None."""
        name = self.names.on_broker(dead_letter_topic(record.topic))
        closed = self._closed.get(name)
        began = time.monotonic()
        if closed is not None and began < closed[0]:
            return closed[1]
        patience = self.patience if closed is None else 0.0
        while True:
            try:
                async with asyncio.timeout(_TRY_SECONDS):
                    await self._publish(name, record, headers)
            except _TOO_LARGE as error:
                return type(error).__name__
            except (KafkaError, TimeoutError, OSError) as error:
                why = await self._why_closed(name, error)
                if why is not None or time.monotonic() - began >= patience:
                    why = why or type(error).__name__
                    self._closed[name] = time.monotonic() + CLOSED_FOR, why
                    return why
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as error:
                # The producer cannot write such a record: only errors of Kafka and of the network may pass.
                log.exception("intake.dead_letter_not_written", topic=name)
                return type(error).__name__
            else:
                self._closed.pop(name, None)
                return None

    async def _publish(self, name: str, record: RawRecord, headers: Headers) -> None:
        """Publishes it, or waits for what an earlier try has begun: the producer still holds that record, and would
        publish it beside a second one.
        """
        record_id = record.topic, record.partition, record.offset
        sending = self._under_way.get(record_id)
        if sending is None:
            send = self.producer.send(name, value=record.value, key=record.key, headers=headers)
            sending = self._under_way[record_id] = asyncio.create_task(send)
            sending.add_done_callback(partial(self._ended, record_id))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if own is None or own.cancelling():
                raise
            raise KafkaConnectionError("the producer was closed after another record's failure") from None

    def _ended(self, record_id: RecordId, sending: asyncio.Task[object]) -> None:
        del self._under_way[record_id]
        if not sending.cancelled():
            sending.exception()  # known, also where nobody waits any more

    async def _why_closed(self, name: str, error: Exception) -> str | None:
        """What Kafka says against the topic; None: nothing, so it may accept it soon. Raises `error` when no broker
        answers.
        """
        if isinstance(error, _CLOSED):
            return type(error).__name__
        try:
            topic = (await self.look.topics([name])).get(name)
        except (KafkaError, TimeoutError, OSError):
            raise error from None
        if topic is not None and topic.error is not None and issubclass(topic.error, _CLOSED):
            return topic.error.__name__
        return None

    async def _keep(self, record: RawRecord, rejected: BadRecord, headers: Headers, refusal: str) -> None:
        origin = record.topic, record.partition, record.offset, record.timestamp_ms
        content = Content(record.key, record.value, [(_text(name), value) for name, value in headers])
        async with self.database.connection() as connection:
            await kept_dead_letters.keep(
                connection,
                self.vault,
                origin,
                content,
                reason=rejected.code,
                error=rejected.sentence,
                refusal=refusal,
            )


def _text(name: HeaderName) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
