"""How many records, and how much of them, a consumer holds at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from worker.intake.accept import _published
from worker.intake.consumer_watch import _seen
from worker.intake.room import MOST_BYTES, Room
from worker.intake.subscriber import Subscriber
from worker.intake.unread_topics import LOOKS, ReadingState
from worker.kafka.fetched_ahead import FetchedAhead
from worker.kafka.metadata import TopicNow
from worker.kafka.topics import TopicNames

MIB = 1024 * 1024


def records(count: int, size: int) -> dict[str, list[ConsumerRecord[Any, bytes]]]:
    record = ConsumerRecord("topic", 0, 0, 0, 0, None, b"x" * size, None, 0, size, ())
    return {"partition": [record] * count}


def test_small_records_are_taken_by_the_hundred() -> None:
    """After the first polls, as many are asked for at once as go into one transaction."""
    room = Room(500)
    for _ in range(4):
        room.begin()
        room.add(records(100, 700))
    assert room.begin() == 500
    room.add(records(120, 700))
    assert room.left == 380


def test_large_records_are_taken_a_few_at_a_time() -> None:
    """What is known to be large is asked for one by one, up to two mebibytes together."""
    room = Room(500)
    room.begin()
    room.add(records(1, MIB))
    assert room.left == 1
    room.add(records(1, MIB))
    assert room.left == 0
    assert room.begin() <= 2 * MOST_BYTES // MIB


def test_one_record_is_taken_however_large_it_is() -> None:
    """A record that is larger than all that is taken together is not left where it is."""
    room = Room(500)
    room.begin()
    room.add(records(1, 16 * MIB))
    assert room.left == 0
    assert room.begin() == 1


def test_nothing_is_fetched_while_much_waits() -> None:
    """With four mebibytes or more in hand no fetch begins, whatever partitions are left; then it does again."""
    fetcher = SimpleNamespace(_records={}, _get_actions_per_node=lambda _assignment: (["request"], {}, 1, False, []))
    ahead = FetchedAhead(fetcher)
    error = SimpleNamespace()  # what a fetch that was refused leaves
    waiting = SimpleNamespace(_partition_records=SimpleNamespace(_records=SimpleNamespace(size_in_bytes=lambda: MIB)))
    fetcher._records = {"error": error, **dict.fromkeys(range(3), waiting)}
    assert fetcher._get_actions_per_node(None)[0] == ["request"]
    fetcher._records[3] = waiting
    assert ahead.full
    assert fetcher._get_actions_per_node(None) == ([], {}, 1, False, [])


def test_a_record_without_a_time_is_accepted() -> None:
    """Records of the oldest format have no timestamp: when the event was published is not known."""
    old = SimpleNamespace(topic="t", partition=0, offset=7, timestamp=None, key=None, value=b"{}", headers=())
    subscriber: Any = SimpleNamespace(_names=TopicNames(""))
    raw = Subscriber._raw(subscriber, old)
    assert (raw.offset, _published(raw)) == (7, None)


def test_a_partition_that_is_not_fetched_for_want_of_room_is_not_unread() -> None:
    """While the ledger is away and much waits, nothing is fetched: no topic counts as unread, and no probe fails."""
    tp = TopicPartition("topic", 0)
    assignment = SimpleNamespace(tps={tp}, state_value=lambda _tp: SimpleNamespace(timestamp=7))
    consumer = SimpleNamespace(
        ahead=SimpleNamespace(full=True),
        _fetcher=SimpleNamespace(_records={}),
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)),
    )
    subscriber: Any = SimpleNamespace(
        consumer=consumer, poll=SimpleNamespace(refused={}, why=None), assigned=True, names=["topic"]
    )
    topics = {"topic": TopicNow("an id", None, {0: 1})}
    state = ReadingState(["topic"])
    for _ in range(LOOKS + 1):
        state.look(_seen(subscriber, topics), 100.0)
    assert state.unread == {}
    consumer.ahead.full = False
    for _ in range(LOOKS + 1):
        state.look(_seen(subscriber, topics), 100.0)
    assert "topic" in state.unread
