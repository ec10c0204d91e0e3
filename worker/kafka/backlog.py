"""How far the group is behind on its topics, and which dead letters there are: offsets alone, no record is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from worker.kafka.look import KafkaLook
from worker.kafka.metadata import TopicNow
from worker.kafka.security import client_options
from worker.kafka.topics import TopicNames, dead_letter_topic
from worker.settings import KafkaSettings

_REQUEST_MS = 5_000
"""Offsets are answered in milliseconds; a reader of the page waits for this."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """`lag`: records behind the end by input topic. `dead`: by input topic and partition, the offsets from the first
    dead letter that is still there to behind the last.
    """

    lag: Mapping[str, int]
    dead: Mapping[tuple[str, int], range]


async def backlog(settings: KafkaSettings, topics: Sequence[str]) -> Backlog:
    """Topics that are not there are left out; the others of the cluster, perhaps thousands, are not asked for.

    Raises aiokafka's `KafkaError`, or `TimeoutError`, when no broker answers.
    """
    names = TopicNames(settings.kafka_topic_prefix)
    options = client_options(settings)
    look = KafkaLook(settings, _REQUEST_MS / 1000)
    admin = AIOKafkaAdminClient(**options, request_timeout_ms=_REQUEST_MS)
    # Never a member of the group: it only asks.
    consumer = AIOKafkaConsumer(**options, group_id=None, enable_auto_commit=False, request_timeout_ms=_REQUEST_MS)
    try:
        await admin.start()
        await consumer.start()
        ours = [names.on_broker(topic) for topic in topics]
        letters = [names.on_broker(dead_letter_topic(topic)) for topic in topics]
        there = await look.topics([*ours, *letters])
        inputs, dead = _partitions(there, ours), _partitions(there, letters)
        if not inputs:
            return Backlog({}, {})
        committed = await admin.list_consumer_group_offsets(settings.kafka_group_id, partitions=inputs)
        ends = await consumer.end_offsets([*inputs, *dead])
        begins = await consumer.beginning_offsets([*inputs, *dead])
    finally:
        await consumer.stop()
        await admin.close()
        await look.close()
    lag: dict[str, int] = {}
    for part in inputs:
        at = committed.get(part)
        read = at.offset if at is not None and at.offset >= 0 else begins[part]  # nothing committed: from the start
        topic = names.bare(part.topic)
        lag[topic] = lag.get(topic, 0) + max(0, ends[part] - max(read, begins[part]))
    suffix = dead_letter_topic("")
    return Backlog(
        lag,
        {
            (names.bare(part.topic).removesuffix(suffix), part.partition): range(begins[part], ends[part])
            for part in dead
        },
    )


def _partitions(there: Mapping[str, TopicNow], names: Sequence[str]) -> list[Any]:
    return [TopicPartition(name, part) for name in names if name in there for part in sorted(there[name].leaders)]
