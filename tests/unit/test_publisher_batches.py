"""How outcomes are put together on their way to Kafka."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, cast

from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting import eventually
from worker.kafka.producer import MAX_BATCH_BYTES, PlainRecord
from worker.kafka.topics import TopicNames
from worker.ledger.rows import OutcomeRow
from worker.outbox.publisher import Publisher
from worker.outbox.record_batches import send_in_order
from worker.outbox.topic_outbox import AT_ONCE, TopicOutbox

PARTITIONS = 3


@dataclass
class Broker:
    """The producer's part of a publisher: keys that lead by their length, limits of topics, failures."""

    limit: float = math.inf
    failures: int = 0
    silent: frozenset[str] = frozenset()  # topics of which nothing is ever heard
    batches: list[tuple[str, int, list[PlainRecord]]] = field(default_factory=list)

    async def start(self) -> None:
        pass

    async def partitions(self, _topic: str) -> Callable[[bytes], int]:
        return lambda key: len(key) % PARTITIONS

    async def send_together(self, topic: str, partition: int, records: Sequence[PlainRecord]) -> None:
        if topic in self.silent:
            await asyncio.Event().wait()
        if self.failures:
            self.failures -= 1
            raise KafkaConnectionError
        if sum(record.size for record in records) > self.limit:
            raise MessageSizeTooLargeError
        self.batches.append((topic, partition, list(records)))


class Notes:
    """The ledger's part of a publisher."""

    def __init__(self, left: Sequence[OutcomeRow] = ()) -> None:
        self.published_ids: list[int] = []
        self.left = list(left)

    async def unpublished(self, limit: int, without: Sequence[str]) -> list[OutcomeRow]:
        found = [row for row in self.left if row.topic not in without][:limit]
        self.left = [row for row in self.left if row not in found]
        return found

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


def test_a_topic_that_is_silent_holds_up_no_other() -> None:
    """While a topic does not answer, what other topics have is published and noted, also what comes later and what a
    dead replica left behind a thousand outcomes of the silent one; of that one only a round's worth or two is leased.
    """

    async def scenario() -> None:
        left = [outcome(number, "md.signed", 0) for number in range(3 * AT_ONCE)]
        notes = Notes([*left, outcome(5_000, "trader.left", 0)])
        publisher = Publisher(
            cast("Any", notes), cast("Any", Broker(silent=frozenset({"md.signed.outcome"}))), TopicNames()
        )
        running = asyncio.create_task(publisher.run())
        publisher.hand([outcome(6_000, "trader.purchased", 0)])
        await eventually(lambda: sorted(notes.published_ids) == [5_000, 6_000])
        publisher.hand([outcome(7_000, "trader.purchased", 0)])
        await eventually(lambda: sorted(notes.published_ids) == [5_000, 6_000, 7_000])
        assert len([row for row in notes.left if row.topic == "md.signed"]) >= AT_ONCE
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def test_a_round_without_an_answer_is_reported() -> None:
    """A topic that has not answered for ten seconds is named, before the producer gives up."""

    async def scenario() -> None:
        broker = cast("Any", Broker(silent=frozenset({"md.signed.outcome"})))
        publisher = Publisher(cast("Any", Notes()), broker, TopicNames())
        publisher.hand([outcome(1, "md.signed", 0)])
        running = asyncio.create_task(publisher.run())
        topic = publisher._topics["md.signed"]
        await eventually(lambda: topic.sending is not None)
        assert topic.trouble(topic.sending_since + 5) is None
        assert topic.trouble(topic.sending_since + 12) == "md.signed.outcome: no answer for 12 s"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def test_a_topic_is_not_forgotten_when_its_leases_are_lost() -> None:
    """A topic that refused a round and has nothing in hand any more is looked for again: the ledger may have more."""
    topic = TopicOutbox("md.signed", refused="TimeoutError", failures=3, retry_at=1e9)
    topic.hold(replace(outcome(1, "md.signed", 0), until=100.0))
    assert (topic.has_enough, topic.next_rows(99.0)) == (True, [])
    assert topic.next_rows(101.0) == []
    assert (topic.has_enough, topic.trouble(101.0)) == (False, None)


def test_what_a_refusing_topic_has_in_hand_is_bounded() -> None:
    """However many outcomes are written for a topic that accepts none, a round's worth is held in memory."""
    topic = TopicOutbox("md.signed", refused="TopicAuthorizationFailedError")
    for number in range(3 * AT_ONCE):
        topic.hold(outcome(number, "md.signed", 0))
    assert list(topic.in_hand) == list(range(AT_ONCE))


def test_an_outcome_whose_lease_ends_during_a_round_is_not_sent() -> None:
    """What another replica may have leased by now is left out of a batch that has not been sent yet."""

    async def scenario() -> list[str]:
        rows = [outcome(number, "md.signed", 0) for number in range(3)]
        sent: list[int] = []
        await send_in_order(
            cast("Any", broker),
            "md.signed.outcome",
            rows,
            lambda row: row.id != 1,
            lambda row, _partition, _seconds: sent.append(row.id),
        )
        assert sent == [0, 2]
        return [record.value.decode() for _, _, records in broker.batches for record in records]

    broker = Broker()
    assert asyncio.run(scenario()) == ["0", "2"]


def test_a_send_that_the_library_cancels_is_a_failure_of_its_topic() -> None:
    """A producer that is closed under a send ends that round, and never the publisher."""

    class Closing(Broker):
        async def send_together(self, topic: str, partition: int, records: Sequence[PlainRecord]) -> None:
            raise asyncio.CancelledError

    publisher = Publisher(cast("Any", Notes()), cast("Any", Closing()), TopicNames())
    publisher.hand([outcome(1, "md.signed", 0)])
    asyncio.run(publisher.run_once())
    assert publisher.trouble == "md.signed.outcome: CancelledError"
