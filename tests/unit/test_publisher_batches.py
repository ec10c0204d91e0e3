"""How outcomes are put together on their way to Kafka."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from hypothesis import given
from hypothesis import strategies as st

from worker.kafka.producer import MAX_BATCH_BYTES, PlainRecord
from worker.kafka.topics import TopicNames
from worker.ledger.rows import OutcomeRow
from worker.outcomes.publisher import Publisher

PARTITIONS = 3


@dataclass
class Broker:
    """The producer's part of a publisher: keys that lead by their length, limits of topics, failures."""

    limit: float = math.inf
    failures: int = 0
    batches: list[tuple[str, int, list[PlainRecord]]] = field(default_factory=list)

    async def partition(self, _topic: str, key: bytes) -> int:
        return len(key) % PARTITIONS

    async def send_together(self, topic: str, partition: int, records: Sequence[PlainRecord]) -> None:
        if self.failures:
            self.failures -= 1
            raise KafkaConnectionError
        if sum(record.size for record in records) > self.limit:
            raise MessageSizeTooLargeError
        self.batches.append((topic, partition, list(records)))


class Notes:
    """The ledger's part of a publisher."""

    def __init__(self) -> None:
        self.published_ids: list[int] = []

    async def unpublished(self, _limit: int, without: Sequence[str]) -> list[OutcomeRow]:
        return []

    async def published(self, ids: Sequence[int]) -> None:
        self.published_ids += ids


def publish(rows: Sequence[OutcomeRow], broker: Broker) -> Notes:
    notes = Notes()
    publisher = Publisher(cast("Any", notes), cast("Any", broker), TopicNames())
    publisher.hand(rows)
    asyncio.run(publisher.run_once())
    return notes


def outcome(number: int, topic: str, size: int) -> OutcomeRow:
    return OutcomeRow(number, topic, "succeeded", b"k" * size, {"ce_id": f"o-{number}"}, b"%d" % number, math.inf)


TOPICS = st.sampled_from(["trader.purchased", "md.signed"])
SIZES = st.one_of(st.integers(0, 5), st.integers(100_000, 2 * MAX_BATCH_BYTES))


@given(st.lists(st.tuples(TOPICS, SIZES), min_size=1, max_size=40))
def test_batches_hold_what_fits_in_its_order(given_rows: list[tuple[str, int]]) -> None:
    """Each outcome goes once, in the order of its partition, with as many others as fit; one that is larger, alone."""
    rows = [outcome(number, topic, size) for number, (topic, size) in enumerate(given_rows)]
    broker = Broker()
    assert sorted(publish(rows, broker).published_ids) == [row.id for row in rows]
    sent: dict[tuple[str, int], list[list[PlainRecord]]] = {}
    for topic, partition, records in broker.batches:
        sent.setdefault((topic, partition), []).append(records)
    for (topic, partition), batches in sent.items():
        expected = [
            row for row in rows if (f"{row.topic}.outcome", len(row.record_key or b"") % 3) == (topic, partition)
        ]
        assert [record.value for records in batches for record in records] == [row.body for row in expected]
        sizes = [[record.size for record in records] for records in batches]
        assert all(len(each) == 1 or sum(each) <= MAX_BATCH_BYTES for each in sizes)
        assert all(sum(before) + after[0] > MAX_BATCH_BYTES for before, after in pairwise(sizes))


def test_what_follows_a_failure_waits() -> None:
    """After a batch that failed nothing goes to its partition: a final outcome never comes before its `pending`."""
    notes, broker = Notes(), Broker(failures=1)
    publisher = Publisher(cast("Any", notes), cast("Any", broker), TopicNames())
    publisher.hand([outcome(number, "md.signed", MAX_BATCH_BYTES // PARTITIONS * PARTITIONS) for number in range(3)])
    asyncio.run(publisher.run_once())
    assert (broker.batches, publisher.trouble) == ([], "md.signed.outcome: KafkaConnectionError")
    publisher._topics["md.signed"].retry_at = 0.0
    asyncio.run(publisher.run_once())
    assert (notes.published_ids, publisher.trouble) == ([0, 1, 2], None)


def test_a_batch_that_the_topic_refuses_is_parted() -> None:
    """Where a topic takes less than a batch of ours, its records go in smaller ones, each once and in order."""
    broker = Broker(limit=250)
    notes = publish([outcome(number, "md.signed", 0) for number in range(9)], broker)
    assert notes.published_ids == list(range(9))
    assert [record.value for _, _, records in broker.batches for record in records] == [b"%d" % n for n in range(9)]
    assert max(len(records) for _, _, records in broker.batches) > 1


def test_a_record_that_the_topic_refuses_alone_stays_in_hand() -> None:
    """What no topic takes is not given up: it is tried again, and the others have gone."""
    notes, broker = Notes(), Broker(limit=5_000)
    publisher = Publisher(cast("Any", notes), cast("Any", broker), TopicNames())
    publisher.hand([outcome(1, "md.signed", 6_000), outcome(2, "md.signed", 0)])
    asyncio.run(publisher.run_once())
    assert publisher.trouble == "md.signed.outcome: MessageSizeTooLargeError"
    assert [len(records) for _, _, records in broker.batches] == [1]
    broker.limit = math.inf
    publisher._topics["md.signed"].retry_at = 0.0
    asyncio.run(publisher.run_once())
    assert sorted(notes.published_ids) == [1, 2]
