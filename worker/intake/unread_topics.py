"""Which topics cannot be read, since when, and why: judged from one look after another. Pure.

Reading needs proof: a partition is read if a fetch of it has succeeded since the look before, or if records of it wait
in the consumer. So a cause that is not listed here is found too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from worker.kafka.metadata import TopicNow

LOOK_EVERY = 4.0
"""Seconds between two looks."""

LOOKS = 3
"""Checks in a row that must find a topic unread before that is reported. A rebalance or a restart of a broker is
shorter. With the time that a check may take, 3 s, it is below the 30 s within which readiness must fail."""


@dataclass(frozen=True, slots=True)
class ReadingLook:
    """One look at the consumer and at the broker; topics by the broker's names.

    `topics`: what the broker says of them, or the name of the error if no broker answers. `fetched`: of each assigned
    partition something that changes with each fetch that succeeds. `waiting`: partitions of which the consumer holds
    records. `refused`: what the last poll of a partition raised; `failing`: what all polls raise.
    """

    topics: Mapping[str, TopicNow] | str
    assigned: bool
    fetched: Mapping[TopicPartition, object] = field(default_factory=dict)
    waiting: Collection[TopicPartition] = ()
    refused: Mapping[TopicPartition, str] = field(default_factory=dict)
    failing: str | None = None


@dataclass(slots=True)
class _Streak:
    looks: int
    since: float  # seconds


@dataclass(slots=True)
class ReadingState:
    """What keeps each of `topics` from being read; `unread`: the reasons, by topic."""

    topics: Sequence[str]
    unread: dict[str, str] = field(default_factory=dict)
    _streaks: dict[str, _Streak] = field(default_factory=dict)
    _fetched: Mapping[TopicPartition, object] = field(default_factory=dict)

    def look(self, seen: ReadingLook, now: float) -> tuple[Mapping[str, str], Collection[str]]:
        """Judges one look at the time `now`, in seconds. Returns the topics that are unread for a new reason, with the
        reason, and those that are read again.
        """
        idle = {
            tp
            for tp, mark in seen.fetched.items()
            if tp not in seen.waiting and tp in self._fetched and self._fetched[tp] == mark
        }
        self._fetched = dict(seen.fetched)
        before, self.unread = self.unread, {}
        for topic in self.topics:
            reason = _reason(topic, seen, idle)
            if reason is None:
                self._streaks.pop(topic, None)
                continue
            streak = self._streaks.setdefault(topic, _Streak(0, now))
            streak.looks += 1
            if streak.looks >= LOOKS:
                self.unread[topic] = reason
        news = {topic: reason for topic, reason in self.unread.items() if before.get(topic) != reason}
        return news, before.keys() - self.unread.keys()

    def longest(self, now: float) -> tuple[str, float] | None:
        """The topic that has not been read for the longest time, and that time in seconds."""
        waits = {topic: now - self._streaks[topic].since for topic in self.unread}
        return max(waits.items(), key=lambda each: each[1]) if waits else None


def _reason(topic: str, seen: ReadingLook, idle: Collection[TopicPartition]) -> str | None:
    if isinstance(seen.topics, str):
        return f"no broker answers ({seen.topics})"
    return _of_topic(seen.topics.get(topic)) or _of_group(seen) or _of_partitions(topic, seen, idle)


def _of_topic(topic: TopicNow | None) -> str | None:
    if topic is None or topic.error is UnknownTopicOrPartitionError:
        return "the topic does not exist"
    if topic.error is TopicAuthorizationFailedError:
        return "the worker is not allowed to see the topic (ACL Describe)"
    return f"the broker refuses to describe the topic ({topic.error.__name__})" if topic.error is not None else None


def _of_group(seen: ReadingLook) -> str | None:
    if seen.failing == GroupAuthorizationFailedError.__name__:
        return "the worker is not allowed to use the consumer group (ACL Read on the group)"
    if seen.failing is not None:
        return f"the consumer fails ({seen.failing})"
    return None if seen.assigned else "the consumer group gives out no partitions (a rebalance goes on)"


def _of_partitions(topic: str, seen: ReadingLook, idle: Collection[TopicPartition]) -> str | None:
    refused = {error for tp, error in seen.refused.items() if tp.topic == topic}
    if TopicAuthorizationFailedError.__name__ in refused:
        return "the worker is not allowed to read the topic (ACL Read)"
    if refused:
        return f"its records cannot be read ({', '.join(sorted(refused))})"
    lost = sorted(tp.partition for tp in idle if tp.topic == topic)
    if not lost:
        return None
    where = "its partition" if len(lost) == 1 else "its partitions"
    return f"no fetch of {where} {', '.join(map(str, lost))} succeeds"
