"""What counts as reading a topic: proof that its partitions are fetched, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    InvalidTopicError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from worker.intake.unread_topics import LOOKS, ReadingLook, ReadingState
from worker.kafka.metadata import TopicNow

A, B = TopicPartition("a", 0), TopicPartition("b", 0)
THERE = {"a": TopicNow("1", None, {0: 1}), "b": TopicNow("2", None, {0: 1})}


def seen(number: int, **changes: Any) -> ReadingLook:
    """The look number so-and-so at a consumer that reads both topics, but for what is changed."""
    return ReadingLook(**{"topics": THERE, "assigned": True, "fetched": {A: number, B: number}, **changes})


def looks(reading: ReadingState, *found: ReadingLook) -> list[tuple[dict[str, str], set[str]]]:
    """What each check reports as new."""
    return [(dict(news), set(read)) for news, read in (reading.look(each, 10.0 * i) for i, each in enumerate(found))]


def test_a_consumer_that_fetches_reads() -> None:
    """While each partition is fetched, or its records wait in the consumer, nothing is reported."""
    reading = ReadingState(["a", "b"])
    for number in range(6):
        assert reading.look(seen(number), number) == ({}, set())
    for number in range(6):
        assert reading.look(seen(0, waiting={A, B}), number) == ({}, set())
    assert (reading.unread, reading.longest(100)) == ({}, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"topics": "KafkaConnectionError"}, "no broker answers"),
        ({"topics": {**THERE, "a": TopicNow(None, UnknownTopicOrPartitionError, {})}}, "does not exist"),
        ({"topics": {"b": THERE["b"]}}, "does not exist"),
        ({"topics": {**THERE, "a": TopicNow(None, TopicAuthorizationFailedError, {})}}, "ACL Describe"),
        ({"topics": {**THERE, "a": TopicNow(None, InvalidTopicError, {})}}, "InvalidTopicError"),
        ({"assigned": False}, "rebalance"),
        ({"failing": "GroupAuthorizationFailedError"}, "ACL Read on the group"),
        ({"failing": "AnythingElse"}, "AnythingElse"),
        ({"refused": {A: "TopicAuthorizationFailedError"}}, "ACL Read"),
        ({"refused": {A: "CorruptRecordException"}}, "CorruptRecordException"),
    ],
)
def test_whatever_keeps_a_topic_from_being_read_is_reported_once(changes: dict[str, Any], words: str) -> None:
    """A reason that lasts for three looks is reported once, and so is that the topic is read again."""
    reading = ReadingState(["a", "b"])
    broken = looks(reading, *(seen(number, **changes) for number in range(6)))
    reported = [news["a"] for news, _ in broken if "a" in news]
    assert len(reported) == 1
    assert words in reported[0]
    assert "a" in broken[LOOKS - 1][0]
    assert looks(reading, seen(7))[0][1] >= {"a"}
    assert reading.unread == {}


def test_a_partition_that_is_not_fetched_is_reported_whatever_the_reason() -> None:
    """Where nothing says why, the lack of a fetch itself is the reason; the other topic is not blamed."""
    reading = ReadingState(["a", "b"])
    found = looks(reading, *(seen(number, fetched={A: 0, B: number}) for number in range(6)))
    (news,) = [news for news, _ in found if news]
    assert list(news) == ["a"]
    assert "partition 0" in news["a"]


def test_a_moment_is_not_reported() -> None:
    """A rebalance, a restart of a broker, a look that was late: what ends within three looks is not reported."""
    reading = ReadingState(["a", "b"])
    for number in range(0, 12, 3):
        assert (
            looks(reading, seen(number, assigned=False), seen(number, topics="X"), seen(number + 2))
            == [({}, set())] * 3
        )


def test_another_reason_is_reported_too() -> None:
    """A reason that changes is reported again, and the time without reading goes on."""
    reading = ReadingState(["a"])
    for number in range(LOOKS):
        reading.look(seen(number, assigned=False), 100.0 + number)
    assert reading.look(seen(9, refused={A: "X"}), 110.0)[0] == {"a": "its records cannot be read (X)"}
    assert reading.longest(400.0) == ("a", 300.0)
