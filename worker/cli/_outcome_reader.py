"""Outcomes read off their topics without a consumer group: no offset is committed, and any number of readers may look
on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from worker.kafka.admin import existing_topics
from worker.kafka.errors import ANSWER_SECONDS, Access, kafka_errors
from worker.kafka.security import client_options
from worker.kafka.tolerant import install
from worker.kafka.topics import TopicNames
from worker.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class OutcomeArrival:
    """A record of one of the topics. `body` is None when its value is no JSON object."""

    topic: str
    partition: int
    offset: int
    value: bytes
    body: Mapping[str, Any] | None
    headers: Mapping[str, bytes | None]


class OutcomeReader:
    """Records of some topics, of each partition in its order."""

    def __init__(self, consumer: AIOKafkaConsumer, settings: KafkaSettings) -> None:
        self._consumer = consumer
        self._settings = settings
        self._names = TopicNames(settings.kafka_topic_prefix)

    async def next(self) -> OutcomeArrival:
        """The next record; waits for it, also while Kafka is away. Raises `KafkaUnavailable` when it is refused."""
        with kafka_errors(self._settings):
            record = await self._consumer.getone()
        value = record.value or b""
        headers = {str(name): text for name, text in record.headers}
        topic = self._names.bare(record.topic)
        return OutcomeArrival(topic, record.partition, record.offset, value, _object(value), headers)


@asynccontextmanager
async def reading(settings: KafkaSettings, topics: Sequence[str], *, from_start: bool) -> AsyncIterator[OutcomeReader]:
    """A reader of those of `topics` that exist, at its offsets when the block begins.

    Raises `KafkaUnavailable`, `TopicsMissing` or `TopicsForbidden`.
    """
    install()
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest" if from_start else "latest",
    )
    try:
        with kafka_errors(settings):
            states = await existing_topics(settings, topics, Access.READ)
            places = [TopicPartition(state.name, part) for state in states for part in range(state.partitions)]
            async with asyncio.timeout(ANSWER_SECONDS):
                await consumer.start()
                consumer.assign(places)
                # Asked now, not with the first fetch: what comes between the two is not to be missed.
                ask = consumer.beginning_offsets if from_start else consumer.end_offsets
                for place, offset in (await ask(places)).items():
                    consumer.seek(place, offset)
        yield OutcomeReader(consumer, settings)
    finally:
        await consumer.stop()


def _object(value: bytes) -> Mapping[str, Any] | None:
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
