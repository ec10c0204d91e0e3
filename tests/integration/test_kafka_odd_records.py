"""Records that aiokafka alone can neither read nor write, on a real broker."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord

from tests.support.kafka import Broker, KafkaServer
from tests.support.waiting import eventually
from worker.kafka import tolerant
from worker.kafka.admin import ensure_topics
from worker.kafka.producer import Headers, RecordProducer
from worker.settings import KafkaSettings, load

TOPIC = "trader.purchased.dlq"
BAD_NAME = b"h\xff\xfe"
MIB = 1024 * 1024


@pytest.fixture
def settings(kafka: Broker, topic_prefix: str) -> KafkaSettings:
    return load(
        KafkaSettings,
        {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": topic_prefix,
            "KAFKA_TOPIC_PARTITIONS": "1",
        },
    )


@pytest.fixture
async def topic(settings: KafkaSettings) -> str:
    """A dead-letter topic of one partition, by the broker's name."""
    await ensure_topics(settings, [TOPIC])
    return settings.kafka_topic_prefix + TOPIC


@pytest.fixture
async def producer(settings: KafkaSettings) -> AsyncIterator[RecordProducer]:
    async with RecordProducer(settings) as started:
        yield started


@pytest.fixture
def tolerating() -> Iterator[None]:
    """Consumers that are tolerant, as `run` makes them, and strict again afterwards."""
    before = fetcher.MemoryRecords
    tolerant.install()
    tolerant.install()
    yield
    fetcher.MemoryRecords = before


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consumers as aiokafka makes them, whatever other tests have read with in this process."""
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)


async def read(settings: KafkaSettings, topic: str, count: int) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start()
    found: list[ConsumerRecord] = []

    async def enough() -> bool:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            found.extend(records)
        return len(found) >= count

    try:
        await eventually(enough, 20)
    finally:
        await consumer.stop()
    return found


@pytest.mark.usefixtures("tolerating")
async def test_a_record_with_an_odd_header_name_is_read(
    settings: KafkaSettings, topic: str, producer: RecordProducer
) -> None:
    """A header name that is not UTF-8 comes through, gives its bytes back, and holds up nothing behind it."""
    await producer.send(topic, value=b"before")
    await producer.send(topic, value=b"odd", key=b"k", headers=[("plain", b"1"), (BAD_NAME, b"\xff"), ("last", None)])
    await producer.send(topic, value=b"after", headers=[("ünïcode", b"2")])
    before, odd, after = await read(settings, topic, 3)
    assert (before.value, odd.value, odd.key, after.value) == (b"before", b"odd", b"k", b"after")
    assert [value for _, value in odd.headers] == [b"1", b"\xff", None]
    assert [name.encode("utf-8", "surrogateescape") for name, _ in odd.headers] == [b"plain", BAD_NAME, b"last"]
    assert after.headers == (("ünïcode", b"2"),)
    assert [before.offset, odd.offset, after.offset] == [0, 1, 2]


@pytest.mark.usefixtures("strict")
async def test_a_strict_consumer_trips_for_ever(settings: KafkaSettings, topic: str, producer: RecordProducer) -> None:
    """Without the tolerant parser the record fails every poll: when this ends, the parser can go."""
    await producer.send(topic, value=b"odd", headers=[(BAD_NAME, b"1")])
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start()
    try:
        for _ in range(2):
            with pytest.raises((UnicodeDecodeError, KafkaError)):
                await eventually(lambda: consumer.getmany(timeout_ms=100))
    finally:
        await consumer.stop()


@pytest.mark.usefixtures("tolerating")
async def test_what_was_read_can_be_written_again(
    settings: KafkaSettings, topic: str, producer: RecordProducer
) -> None:
    """A record that is read and sent on arrives byte for byte: key, value, every header in its order."""
    odd: Headers = [("a", b"1"), (BAD_NAME, None), ("a", b""), ("\U0001f600", b"\x00\xff")]
    await producer.send(topic, value=b"\x00\xff", key=b"\xfe", headers=odd)
    (first,) = await read(settings, topic, 1)
    await producer.send(topic, value=first.value, key=first.key, headers=first.headers)
    _, second = await read(settings, topic, 2)
    assert (second.key, second.value, second.headers) == (first.key, first.value, first.headers)


async def test_a_record_of_nothing_is_written(settings: KafkaSettings, topic: str, producer: RecordProducer) -> None:
    """A record with neither key nor value arrives as one, with and without headers."""
    await producer.send(topic, value=None)
    await producer.send(topic, value=None, headers=[("dlq-reason", b"not_json")])
    await producer.send(topic, value=b"", key=b"")
    empty, tombstone, blank = await read(settings, topic, 3)
    assert (empty.key, empty.value, empty.headers) == (None, None, ())
    assert (tombstone.key, tombstone.value, tombstone.headers) == (None, None, (("dlq-reason", b"not_json"),))
    assert (blank.key, blank.value) == (b"", b"")


async def test_sixteen_mebibytes_are_written(settings: KafkaSettings, topic: str, producer: RecordProducer) -> None:
    """A dead letter may have 16 MiB that no codec makes smaller, and more when one does."""
    noise = random.Random(7).randbytes(16 * MIB)
    await producer.send(topic, value=noise, key=b"k", headers=[("dlq-error", b"too large")])
    await producer.send(topic, value=bytes(40 * MIB))
    full, zeros = await read(settings, topic, 2)
    assert full.value == noise
    assert len(zeros.value) == 40 * MIB


async def test_a_refused_record_spoils_none_after_it(
    settings: KafkaSettings, topic: str, producer: RecordProducer
) -> None:
    """After a record that the broker refuses, the next ones are written, though the producer is idempotent."""
    await producer.send(topic, value=b"first")
    with pytest.raises(MessageSizeTooLargeError):
        await producer.send(topic, value=random.Random(7).randbytes(18 * MIB))
    await producer.send(topic, value=b"second")
    await producer.send(topic, value=None)
    assert [record.value for record in await read(settings, topic, 3)] == [b"first", b"second", None]


async def test_records_of_one_key_share_a_partition(settings: KafkaSettings) -> None:
    """A record's partition follows from its key, whether it went the plain way or the other."""
    wide = settings.model_copy(update={"kafka_topic_partitions": 8})
    await ensure_topics(wide, [TOPIC])
    topic = wide.kafka_topic_prefix + TOPIC
    async with RecordProducer(wide) as producer:
        for key in (b"cust-1", b"cust-2", b"cust-3"):
            plain = await producer.send(topic, value=b"x", key=key)
            odd = await producer.send(topic, value=b"x", key=key, headers=[(BAD_NAME, None)])
            assert plain.partition == odd.partition
        assert (await producer.send(topic, value=b"x", key=b"cust-1", partition=5)).partition == 5


async def test_the_producer_outlives_its_broker(own_kafka: KafkaServer, topic_prefix: str) -> None:
    """A broker that is restarted finds the producer ready, and what it held before."""
    settings = load(
        KafkaSettings,
        {
            "KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": topic_prefix,
            "KAFKA_TOPIC_PARTITIONS": "1",
        },
    )
    await ensure_topics(settings, [TOPIC])
    topic = topic_prefix + TOPIC
    async with RecordProducer(settings) as producer:
        await producer.send(topic, value=b"before")
        own_kafka.stop()
        own_kafka.start()
        await producer.send(topic, value=b"after")
    assert [record.value for record in await read(settings, topic, 2)] == [b"before", b"after"]


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4], ids=["plain", "gzip", "snappy", "lz4", "zstd"])
def test_any_codec_is_read_again(codec: int) -> None:
    """A batch that trips the fast parser is read again whatever compresses it, each record once and in its order."""
    batch = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, 0, MIB)
    for offset in range(20):
        name = BAD_NAME.decode("utf-8", "surrogateescape") if offset == 7 else "fine"
        batch.append(offset, 1000 + offset, b"k", b"v" * 100, [(_Bytes(name), b"1")])
    data = bytes(batch.build())
    records = tolerant.TolerantRecords(data + data + data[:30])
    for _ in range(2):
        found = records.next_batch()
        assert found.validate_crc()
        assert [record.offset for record in found] == list(range(20))
        assert found.next_offset == 20
    assert not records.has_next()
    assert records.next_batch() is None
    assert records.size_in_bytes() == len(data) * 2 + 30


def test_ordinary_batches_are_read_as_before() -> None:
    """What aiokafka reads by itself is read the same, record by record."""
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, MIB)
    for offset in range(5):
        batch.append(offset, 1000, None, b"v%d" % offset, [("h", b"1")])
    data = bytes(batch.build())
    ours, theirs = tolerant.TolerantRecords(data).next_batch(), MemoryRecords(data).next_batch()
    assert [_fields(record) for record in ours] == [_fields(record) for record in theirs]


def _fields(record: object) -> tuple[object, ...]:
    return tuple(getattr(record, name) for name in ("offset", "timestamp", "timestamp_type", "key", "value", "headers"))


class _Bytes(str):
    """A header name that is written with the bytes it stands for."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> bytes:
        return super().encode(encoding, errors)
