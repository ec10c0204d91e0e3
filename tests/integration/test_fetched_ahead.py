"""What a consumer fetches ahead is bounded, on a real broker: the bound rests on private attributes of aiokafka."""

from __future__ import annotations

import os

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.support.kafka import Broker
from tests.support.waiting import eventually
from worker.kafka.admin import ensure_topics
from worker.kafka.fetched_ahead import MOST_AHEAD, FetchedAhead
from worker.kafka.producer import RecordProducer
from worker.settings import KafkaSettings, load

PARTITIONS = 12
TOPIC = "trader.purchased"
LARGE = 900_000
"""Bytes of a record."""

RESPONSE = 2 * 1024 * 1024
"""The most bytes of a response."""


async def test_a_consumer_stops_fetching_when_much_waits(kafka: Broker, topic_prefix: str) -> None:
    """Twelve partitions with large records, and nobody takes them: the consumer holds some, and asks for no more. When
    they are taken, it goes on until it has all of them.
    """
    settings = load(
        KafkaSettings,
        {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": topic_prefix,
            "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS),
        },
    )
    await ensure_topics(settings, [TOPIC])
    name = topic_prefix + TOPIC
    async with RecordProducer(settings) as producer:
        for partition in range(PARTITIONS):
            await producer.send(name, value=os.urandom(LARGE), partition=partition)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        fetch_max_bytes=RESPONSE,
        max_partition_fetch_bytes=1024 * 1024,
    )
    consumer.assign([TopicPartition(name, partition) for partition in range(PARTITIONS)])
    await consumer.start()
    try:
        ahead, fetcher = FetchedAhead(consumer._fetcher), consumer._fetcher
        await consumer.getmany(timeout_ms=0)
        await eventually(lambda: ahead.full, 30)
        assignment = consumer._subscription.subscription.assignment
        assert fetcher._get_actions_per_node(assignment)[0] == []
        assert len(fetcher._records) * LARGE < MOST_AHEAD + 2 * RESPONSE
        read: set[int] = set()

        async def all_read() -> bool:
            found = await consumer.getmany(timeout_ms=200)
            read.update(tp.partition for tp in found)
            return len(read) == PARTITIONS

        await eventually(all_read, 60)
    finally:
        await consumer.stop()
