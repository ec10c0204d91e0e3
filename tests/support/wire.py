"""The shop's side of Kafka: sends records, and hears every outcome and every dead letter from the first on.

`heard` has all records, `outcomes` the bodies of outcomes, both in the order in which they were read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError
from aiokafka.structs import RecordMetadata

from tests.support.waiting import eventually
from worker.engine.flows import FLOWS
from worker.kafka.producer import Headers, RecordProducer
from worker.kafka.tolerant import install
from worker.kafka.topics import TopicNames, dead_letter_topic, outcome_topic
from worker.settings import KafkaSettings

PURCHASED = "trader.purchased"

_FETCH_BYTES = 20 * 1024 * 1024
"""A dead letter may have 16 MiB."""


@dataclass(frozen=True)
class Heard:
    """A record as it was read; `topic` without the prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def header(self) -> Mapping[str, bytes | None]:
        """The headers by name."""
        return dict(self.headers)


class Wire:
    """Producer and listener on one broker."""

    def __init__(self, settings: KafkaSettings, partitions: int) -> None:
        install()
        self._names = TopicNames(settings.kafka_topic_prefix)
        self._servers = settings.kafka_bootstrap_servers
        self._partitions = partitions
        self._producer = RecordProducer(settings)
        self._consumer: Any = None
        self._listening: asyncio.Task[None] | None = None
        self.heard: list[Heard] = []
        self.outcomes: list[dict[str, Any]] = []

    async def start(self) -> Self:
        """Begins to listen."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=_FETCH_BYTES,
            retry_backoff_ms=50,
        )
        topics = [self._names.on_broker(of(topic)) for topic in FLOWS for of in (outcome_topic, dead_letter_topic)]
        self._consumer.assign([TopicPartition(topic, part) for topic in topics for part in range(self._partitions)])
        await self._consumer.start()
        self._listening = asyncio.create_task(self._listen())
        return self

    async def stop(self) -> None:
        """Closes all connections."""
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
        if self._consumer is not None:
            await self._consumer.stop()
        await self._producer.stop()

    async def delete(self, topics: list[str]) -> None:
        """Takes topics off the broker: hundreds of tests leave thousands of logs behind otherwise."""
        async with self._admin() as admin:
            await admin.delete_topics([self._names.on_broker(topic) for topic in topics])

    async def create_again(self, topic: str, partitions: int) -> None:
        """Deletes a topic and creates it again under the same name, with other records and another id."""
        name = self._names.on_broker(topic)
        async with self._admin() as admin:
            await admin.delete_topics([name])

            async def created() -> bool:
                answer = await admin.create_topics([NewTopic(name, partitions, 1)])
                return bool(answer.topic_errors[0][1] == NoError.errno)

            await eventually(created)  # the deletion takes a moment

    async def takes_at_most(self, topic: str, size: int) -> None:
        """Has a topic refuse larger batches, in bytes."""
        name = self._names.on_broker(topic)
        async with self._admin() as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": size})])

            async def in_force() -> bool:
                wanted = ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": None})
                answers = await admin.describe_configs([wanted])
                return str(size) in [entry[1] for each in answers for *_, found in each.resources for entry in found]

            await eventually(in_force)

    async def send(
        self,
        event: Mapping[str, Any] | bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        topic: str = PURCHASED,
    ) -> RecordMetadata:
        """Writes one record."""
        value = json.dumps(event).encode() if isinstance(event, Mapping) else event
        name = self._names.on_broker(topic)
        return await self._producer.send(name, value=value, key=key, headers=headers, partition=partition)

    @property
    def dead_letters(self) -> list[Heard]:
        """All dead letters up to now."""
        return [each for each in self.heard if each.topic.endswith(".dlq")]

    def outcomes_of(self, event_id: str) -> list[dict[str, Any]]:
        """The outcomes of one event."""
        return [outcome for outcome in self.outcomes if outcome["eventId"] == event_id]

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    async def _listen(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    topic = self._names.bare(record.topic)
                    self.heard.append(
                        Heard(topic, record.partition, record.offset, record.key, record.value, record.headers)
                    )
                    if topic.endswith(".outcome"):
                        self.outcomes.append(json.loads(record.value))
