"""Writes any record that Kafka can hold, once, to all in-sync replicas.

aiokafka's producer cannot do that alone, and a dead letter has to be the record that came in, whatever that was:

- it asserts when a record has neither key nor value, though its own batches take one: such a record goes as a batch;
- it encodes header names as strict UTF-8, and its fast builder takes no other: names that are not UTF-8 (bytes, or
  the `surrogateescape` strings that `tolerant.py` makes of them) are written by aiokafka's builder in Python;
- a batch that the broker refuses (too large, say) leaves a hole in the idempotent producer's sequence, and everything
  after it on that partition is refused, for good: after an error the next record gets a new producer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import RecordMetadata

from worker.kafka.security import client_options
from worker.settings import KafkaSettings

__all__ = ["MAX_BATCH_BYTES", "MAX_REQUEST_BYTES", "Headers", "PlainRecord", "RecordProducer"]

Headers = Sequence[tuple[str | bytes, bytes | None]]
"""Names and values in their order; names may come again, and need not be text."""

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""No limit of ours: what arrived compressed may be far larger than any topic takes, and compressed it fits again."""

MAX_BATCH_BYTES = 512 * 1024
"""Bytes of records that go together; a topic takes 1 MiB at least."""

_COMPRESS_FROM = 512 * 1024
"""Smaller records go as they are, readable without any codec; larger ones may need it to fit the broker's limit."""


class PlainRecord(NamedTuple):
    """A record of ours: a value, and header names that are text."""

    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]

    @property
    def size(self) -> int:
        """Bytes in a batch, at most."""
        return 64 + len(self.key or b"") + len(self.value) + sum(len(n) + len(v) + 8 for n, v in self.headers)


class RecordProducer:
    """An idempotent producer (`acks=all`) of raw records.

    `clock` gives records their timestamps; without one, or where it knows nothing, this machine's does. A broker
    refuses records that are an hour ahead of its own clock.

    `send` returns when the record is on all in-sync replicas, and raises aiokafka's `KafkaError` when that is not
    known: then sending again may write it twice.
    """

    def __init__(self, settings: KafkaSettings, clock: Callable[[], datetime | None] = lambda: None) -> None:
        self._options = client_options(settings)
        self._clock = clock
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._partitioner = DefaultPartitioner()

    async def start(self) -> Self:
        """Connects. Raises `KafkaConnectionError` when no broker answers."""
        await self._started()
        return self

    async def stop(self) -> None:
        """Sends what is on its way and closes the connections."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def send(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> RecordMetadata:
        """Writes one record. `topic` is the broker's name of it; a record with a key goes where its key leads."""
        producer = await self._started()
        named = [(_Name.of(name), text) for name, text in headers]
        try:
            if _is_plain(key, value, named):
                plain = [(str(name), text) for name, text in named]
                sent = await producer.send(topic, value, key, partition, self._timestamp(), plain)
            else:
                if partition is None:
                    partition = self._lead(sorted(await producer.partitions_for(topic)), key)
                sent = await producer.send_batch(
                    _batch(key, value, named, self._timestamp()), topic, partition=partition
                )
            return await sent
        except KafkaError:
            await self._discard(producer)
            raise

    async def partitions(self, topic: str) -> Callable[[bytes | None], int]:
        """Where the topic's records go, by their keys."""
        producer = await self._started()
        return partial(self._lead, sorted(await producer.partitions_for(topic)))

    async def send_together(self, topic: str, partition: int, records: Sequence[PlainRecord]) -> None:
        """Writes records to one partition as one batch, all or none of them.

        Several must fit into `MAX_BATCH_BYTES`; one may have any size that `send` takes.
        """
        if len(records) == 1:
            await self.send(
                topic, value=records[0].value, key=records[0].key, headers=records[0].headers, partition=partition
            )
            return
        producer = await self._started()
        try:
            batch, at = producer.create_batch(), self._timestamp()
            for record in records:
                if batch.append(timestamp=at, key=record.key, value=record.value, headers=record.headers) is None:
                    raise ValueError("more than fits into a batch")
            await (await producer.send_batch(batch, topic, partition=partition))
        except KafkaError:
            await self._discard(producer)
            raise

    async def ping(self) -> None:
        """Asks a broker for the cluster's metadata. Raises `KafkaError` when none answers."""
        producer = await self._started()
        await producer.client.fetch_all_metadata()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._options,
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=MAX_REQUEST_BYTES,
                    max_batch_size=MAX_BATCH_BYTES,
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    def _timestamp(self) -> int | None:
        now = self._clock()
        return None if now is None else int(now.timestamp() * 1000)

    def _lead(self, partitions: list[int], key: bytes | None) -> int:
        partition: int = self._partitioner(key, partitions, partitions)
        return partition

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:  # of several that failed together the first one closes it
            self._producer = None
            await producer.stop()


def _is_plain(key: bytes | None, value: bytes | None, headers: list[tuple[_Name, bytes | None]]) -> bool:
    if key is None and value is None:
        return False
    if len(key or b"") + len(value or b"") >= _COMPRESS_FROM:
        return False
    return all(name.is_utf8 for name, _ in headers)


def _batch(
    key: bytes | None, value: bytes | None, headers: list[tuple[_Name, bytes | None]], timestamp: int | None
) -> BatchBuilder:
    batch = _AnyBatch()
    batch.append(timestamp=timestamp, key=key, value=value, headers=headers)
    return batch


class _AnyBatch(BatchBuilder):  # type: ignore[misc]  # aiokafka ships no types
    """A batch of one record, by the builder that asks a name for its bytes."""

    def __init__(self) -> None:
        codec = _DefaultRecordBatchBuilderPy.CODEC_ZSTD  # the best and the fastest; its builder drops a useless result
        super().__init__(batch_size=MAX_REQUEST_BYTES, compression_type=codec)
        self._builder = _DefaultRecordBatchBuilderPy(
            magic=2,
            compression_type=codec,
            is_transactional=0,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=0,
            batch_size=MAX_REQUEST_BYTES,
        )

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._builder.set_producer_state(producer_id, producer_epoch, base_sequence)


class _Name(str):
    """A header's name that becomes the bytes it was read from."""

    __slots__ = ()

    @classmethod
    def of(cls, name: str | bytes) -> _Name:
        return cls(name, "utf-8", "surrogateescape") if isinstance(name, bytes) else cls(name)

    @property
    def is_utf8(self) -> bool:
        return not any("\ud800" <= character <= "\udfff" for character in self)

    def encode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> bytes:
        return super().encode(encoding, errors)
