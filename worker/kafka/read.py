"""Records read without a group: one at its place, or a topic from its beginning to the end that it has now.

No offset is committed, and any number of readers may look on. Records come with their bytes as they are; see
`tolerant.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from worker.kafka.admin import DEAD_LETTER_BYTES
from worker.kafka.errors import ANSWER_SECONDS
from worker.kafka.security import client_options
from worker.kafka.tolerant import install
from worker.kafka.topics import TopicNames
from worker.settings import KafkaSettings

__all__ = ["Record", "RecordReader", "reading"]

_POLL_MS = 500


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it stands on its topic (`topic` without the prefix)."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: tuple[tuple[str, bytes | None], ...] = field(repr=False)


class RecordReader:
    """Raises aiokafka's `KafkaError`, or `TimeoutError` when no broker answers. One read at a time."""

    def __init__(self, consumer: AIOKafkaConsumer, names: TopicNames) -> None:
        self._consumer = consumer
        self._names = names

    async def one(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at that place; None when there is none: not yet, or dropped by retention or compaction."""
        place = TopicPartition(self._names.on_broker(topic), partition)
        first, end = (await self._bounds([place]))[place]
        if not first <= offset < end:
            return None
        self._consumer.seek(place, offset)
        async for record in self._records({place: offset + 1}):
            return record if record.offset == offset else None
        return None

    async def scan(self, topic: str, partitions: int) -> AsyncIterator[Record]:
        """All records of the topic up to its end as of now, of each partition in its order."""
        name = self._names.on_broker(topic)
        bounds = await self._bounds([TopicPartition(name, partition) for partition in range(partitions)])
        ends = {place: end for place, (first, end) in bounds.items() if first < end}
        for place in ends:
            self._consumer.seek(place, bounds[place][0])
        async for record in self._records(ends):
            yield record

    async def latest(
        self, topic: str, partitions: int, most: int, before: Mapping[int, int] = MappingProxyType({})
    ) -> AsyncIterator[Record]:
        """The last `most` records of each partition in their order; of those in `before`, of what is before that."""
        name = self._names.on_broker(topic)
        bounds = await self._bounds([TopicPartition(name, partition) for partition in range(partitions)])
        ends = {place: min(end, before.get(place.partition, end)) for place, (_, end) in bounds.items()}
        ends = {place: end for place, end in ends.items() if bounds[place][0] < end}
        for place, end in ends.items():
            self._consumer.seek(place, max(bounds[place][0], end - most))
        async for record in self._records(ends):
            yield record

    async def count(self, topic: str, partitions: int) -> int:
        """About how many records `scan` would find: offsets in use, of which compaction leaves fewer."""
        name = self._names.on_broker(topic)
        bounds = await self._bounds([TopicPartition(name, partition) for partition in range(partitions)])
        return sum(end - first for first, end in bounds.values())

    async def _bounds(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        async with asyncio.timeout(ANSWER_SECONDS):
            self._consumer.assign(list(places))
            first = await self._consumer.beginning_offsets(places)
            end = await self._consumer.end_offsets(places)
        return {place: (first[place], end[place]) for place in places}

    async def _records(self, ends: dict[TopicPartition, int]) -> AsyncIterator[Record]:
        """Records from where the consumer stands up to `ends`, which are not reached where markers end a partition."""
        self._consumer.pause(*(self._consumer.assignment() - ends.keys()))
        left, silent = set(ends), 0.0
        while left and silent < ANSWER_SECONDS:
            found = await self._consumer.getmany(*left, timeout_ms=_POLL_MS)
            silent = 0.0 if found else silent + _POLL_MS / 1000
            for place, records in found.items():
                for record in records:
                    if record.offset < ends[place]:
                        yield self._record(record)
            for place in list(left):
                if await self._consumer.position(place) >= ends[place]:
                    left.discard(place)
        if left:  # a transaction's marker has an offset and is no record; or the broker has gone, and this raises
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._consumer.end_offsets(list(left))

    def _record(self, record: ConsumerRecord) -> Record:
        return Record(
            self._names.bare(record.topic),
            record.partition,
            record.offset,
            -1 if record.timestamp is None else record.timestamp,
            record.key,
            record.value,
            tuple(record.headers),
        )


@asynccontextmanager
async def reading(settings: KafkaSettings) -> AsyncIterator[RecordReader]:
    """A reader for one piece of work. Raises as `RecordReader` does."""
    install()
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=DEAD_LETTER_BYTES,
    )
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.start()
        # Its tasks begin now: aiokafka's `stop` lets the cancellation of one that never began out to its caller.
        await asyncio.sleep(0)
        yield RecordReader(consumer, TopicNames(settings.kafka_topic_prefix))
    finally:
        await consumer.stop()
