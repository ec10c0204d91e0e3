"""One poll after another of one consumer: the records it hands on, and the offsets that may be committed for them.

Positions are kept here, because the consumer's own ones may be wrong in three ways:

- A poll that raises may have taken records out of its buffer and moved positions past them. So after an error every
  partition is set back to the first record that was not handed on, and the partitions are polled one by one for a
  while: one that cannot be read does not hold up the others.
- A topic that was deleted and created again has the same name, and positions of the old one that may lie anywhere in
  the new one. So each committed offset carries the id of its topic, and a partition whose id has changed is read from
  its start. Nothing is handed on before that is known.
- A record batch that was given up must not be passed by the offset of a later one: after it nothing is handed on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError, TopicAuthorizationFailedError
from aiokafka.structs import OffsetAndMetadata

from worker.intake.room import Room
from worker.kafka.metadata import TopicNow

log = structlog.get_logger()

Records = Mapping[TopicPartition, Sequence[ConsumerRecord]]

POLL_MS = 500
"""Milliseconds for which a poll waits for a record."""

GATHER_SECONDS = 0.02
"""The longest wait for records that are known to follow those that have come: a fetch takes a few milliseconds."""

REST = 5.0
"""Seconds for which a partition that cannot be read is left alone, and the others are polled one by one."""

_RETRY = 0.5
"""Seconds after a poll that hands on nothing because of an error."""

_COMMITTED_SECONDS = 5.0
"""For the group's coordinator to tell the committed offsets, which takes milliseconds, or to store them."""


class Poll:
    """The polls of one consumer. `topics`: what the broker says of topics now, by their names there. `max_records`: of
    one poll; fewer if they are large.
    """

    def __init__(
        self,
        consumer: Any,
        topics: Callable[[Sequence[str]], Awaitable[Mapping[str, TopicNow]]],
        stopping: asyncio.Event,
        max_records: int,
    ) -> None:
        self.consumer = consumer
        self._topics = topics
        self._stopping = stopping
        self._room = Room(max_records)
        self._checked: Any = None  # the assignment whose partitions have been checked
        self._recheck = False
        self._given_up = False
        self._next: dict[TopicPartition, int] = {}  # the offset behind the last record that was handed on
        self._ids: dict[TopicPartition, str | None] = {}  # of the topic that the partition's positions belong to
        self._resting: dict[TopicPartition, float] = {}
        self._faults: set[str] = set()  # types of errors that are faults of the program, and have been logged
        self._apart_until = 0.0
        self._turn = 0
        self._in_hand: dict[TopicPartition, int] = {}  # the first offset of the record batch that is being accepted
        self._may_commit: dict[TopicPartition, OffsetAndMetadata] = {}  # once that is accepted
        self.polled = time.monotonic()
        self.why: str | None = None  # what keeps the polls from handing on records
        self._refused: dict[TopicPartition, tuple[str, float]] = {}  # the same, of one partition, and when

    async def __call__(self, timeout_ms: int) -> Records:
        """The next records. Raises `ConsumerStoppedError` when nothing more may be handed on."""
        if self._given_up or self._stopping.is_set():
            raise ConsumerStoppedError
        self.polled = time.monotonic()
        found: Records = {}
        try:
            await self._prepare()
            self.why = None
        except Exception as error:  # noqa: BLE001 - whatever it is, intake goes on, and health reports it
            self._note_fault(error)
            self.why = type(error).__name__
            await self._rest(_RETRY)
            return found
        try:
            found = await self._poll(timeout_ms)
        except ConsumerStoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._set_back(error)
            await self._rest(_RETRY)
        self._next.update({tp: records[-1].offset + 1 for tp, records in found.items()})
        self._in_hand = {tp: records[0].offset for tp, records in found.items()}
        self._may_commit = {tp: OffsetAndMetadata(self._next[tp], self._ids.get(tp) or "") for tp in found}
        return found

    async def commit(self) -> None:
        """Commits the offsets of the record batch in hand, of partitions that are still this consumer's.

        Raises `KafkaError` or `TimeoutError` when that is not possible: then its records are delivered again.
        """
        assigned = self._assigned()
        offsets = {tp: each for tp, each in self._may_commit.items() if tp in assigned}
        self._in_hand, self._may_commit = {}, {}
        if offsets:
            # The consumer tries for as long as no broker answers, and meanwhile nothing would be polled.
            async with asyncio.timeout(_COMMITTED_SECONDS):
                await self.consumer.commit(offsets)

    def give_up(self) -> None:
        """The record batch in hand was not accepted: nothing that comes after it may be."""
        self._given_up = True

    def compare(self, topics: Mapping[str, TopicNow]) -> set[str]:
        """Takes note of the topics as they are now. Returns those that were created again since they were read."""
        again = {tp.topic for tp in self._assigned() if _is_another(self._ids.get(tp), topics.get(tp.topic))}
        self._recheck = self._recheck or bool(again)
        return again

    @property
    def given_up(self) -> bool:
        """Whether nothing more is handed on."""
        return self._given_up

    @property
    def refused(self) -> dict[TopicPartition, str]:
        """What keeps partitions from being read; one that was left alone for a while has been tried again since."""
        recent = time.monotonic() - 2 * REST
        return {tp: name for tp, (name, at) in self._refused.items() if at > recent}

    def read_to(self, tp: TopicPartition) -> int | None:
        """The offset up to which all records are accepted; None while that is not known."""
        if tp in self._in_hand:
            return self._in_hand[tp]
        position = self._position(tp)
        return self._next.get(tp) if position is None else position

    def _position(self, tp: TopicPartition) -> int | None:
        position: int | None = getattr(self._state(tp), "_position", None)  # `consumer.position` waits for one
        return position

    async def _prepare(self) -> None:
        """Raises what keeps the group from being used, or the partitions from being checked."""
        self.consumer._coordinator.check_errors()  # noqa: SLF001 - `getmany` would raise them as if of a partition
        if self._recheck or self._current() is not self._checked:
            await self._check()
        now = time.monotonic()
        for tp in [tp for tp, until in self._resting.items() if until <= now]:
            del self._resting[tp]
            with suppress(IllegalStateError):
                self.consumer.resume(tp)

    async def _poll(self, timeout_ms: int) -> Records:
        if time.monotonic() < self._apart_until:
            found = await self._one_by_one()
        else:
            found = await self.consumer.getmany(timeout_ms=timeout_ms, max_records=self._room.begin())
            found = await self._gather(found)
        if self._current() is not self._checked or self._recheck:
            # A rebalance during the poll, or a topic that was created again: these records have not been checked.
            for tp, records in found.items():
                self._seek(tp, records[0].offset)
            return {}
        return found

    async def _gather(self, found: Records) -> Records:
        """With what is known to follow at once: the first fetch of a burst brings a few records, and what is accepted
        together shares calls.
        """
        gathered, until = {tp: [*records] for tp, records in found.items()}, time.monotonic() + GATHER_SECONDS
        self._room.add(found)
        while gathered and (room := self._room.left):
            left = until - time.monotonic()
            if left <= 0 or not self.more_waits():
                break
            more: Records = await self.consumer.getmany(timeout_ms=int(left * 1000) + 1, max_records=room)
            self._room.add(more)
            for tp, records in more.items():
                gathered.setdefault(tp, []).extend(records)
        return gathered

    def more_waits(self) -> bool:
        """Whether records are known to lie behind those that have been fetched. Asked several times for each event,
        of all partitions: the consumer's own methods would take half a millisecond for them.
        """
        assignment = self._current()
        return assignment is not None and any(_waits(assignment.state_value(tp)) for tp in assignment.tps)

    async def _one_by_one(self) -> Records:
        """Records of one partition, each in its turn: a joint poll that raises costs all of them what it had taken. Of
        one that raises itself single records, so that those before the one at fault are read.
        """
        waiting = sorted(self._assigned() - self._resting.keys())
        self._turn += 1
        turn = self._turn % (len(waiting) or 1)
        suspects, room = self.refused, self._room.begin()
        for tp in (*waiting[turn:], *waiting[:turn]):
            try:
                most = 1 if tp in suspects else room
                found: Records = await self.consumer.getmany(tp, timeout_ms=0, max_records=most)
            except ConsumerStoppedError:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                self._set_back(error, tp, rest=tp in suspects)
                continue
            if found:
                self._room.add(found)
                return found
        await self._rest(_RETRY / 10)
        return {}

    async def _check(self) -> None:
        """Finds out where to read: at the committed offsets, or from the start of a topic that is another one now."""
        assignment, new = self._current(), self._current() is not self._checked
        tps = sorted(self._assigned())
        now = await self._topics(sorted({tp.topic for tp in tps})) if tps else {}
        if new:
            async with asyncio.timeout(_COMMITTED_SECONDS):
                committed = await self.consumer._coordinator.fetch_committed_offsets(tps)  # noqa: SLF001 - with the metadata
            if self._current() is not assignment:
                return  # the next poll checks the next one
            self._next = {tp: each.offset for tp, each in committed.items() if each.offset >= 0}
            self._ids = {tp: each.metadata or None for tp, each in committed.items()}
            self._resting, self._refused = {}, {}
        for tp in tps:
            if _is_another(self._ids.get(tp), now.get(tp.topic)):
                log.warning("intake.topic_created_again", topic=tp.topic, partition=tp.partition)
                self._next.pop(tp, None)
                self._seek(tp, 0)
            topic = now.get(tp.topic)
            if topic is not None and topic.id is not None:
                self._ids[tp] = topic.id
        self._checked, self._recheck = assignment, False

    def _set_back(self, error: Exception, tp: TopicPartition | None = None, *, rest: bool = True) -> None:
        """After an error of a joint poll, or of the poll of `tp`: sets positions back to the first records that were
        not handed on, and pauses partitions that are known to be unreadable.
        """
        self._note_fault(error)
        now = time.monotonic()
        assigned = self._assigned()
        of_topic = isinstance(error, TopicAuthorizationFailedError)
        tps = {each for each in assigned if each.topic in error.args} if of_topic else {tp} - {None}
        self._refused |= dict.fromkeys(tps, (type(error).__name__, now))
        if rest:
            for each in tps:
                self._resting[each] = now + REST
                with suppress(IllegalStateError):
                    self.consumer.pause(each)
        if self._current() is self._checked:
            for each in assigned if tp is None else tps:
                self._seek(each, self._next.get(each, 0))
        if not of_topic:
            self._apart_until = now + 2 * REST  # one that was left alone is tried once more in that time

    def _note_fault(self, error: Exception) -> None:
        """Logs an error that is not Kafka's or the network's, once for each type: it is a fault of the program."""
        name = type(error).__name__
        if not isinstance(error, (KafkaError, OSError)) and name not in self._faults:
            self._faults.add(name)
            log.error("intake.poll_failed", exc_info=error)

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        """Offset 0 stands for the start: where retention has removed it, the consumer goes to the first record left."""
        with suppress(IllegalStateError):  # the partition has gone to another member
            self.consumer.seek(tp, offset)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _current(self) -> Any:
        subscription = self.consumer._subscription.subscription  # noqa: SLF001 - tells one assignment from the next
        return subscription.assignment if subscription is not None else None

    def _assigned(self) -> set[TopicPartition]:
        return set(self.consumer.assignment())

    def _state(self, tp: TopicPartition) -> Any:
        assignment = self._current()
        return assignment.state_value(tp) if assignment is not None else None


def _waits(state: Any) -> bool:
    """Whether a partition's last stable offset lies behind its position."""
    end, position = state.lso, state._position  # noqa: SLF001 - `consumer.position` waits for one
    return end is not None and position is not None and end > position


def _is_another(known: str | None, topic: TopicNow | None) -> bool:
    """Whether a topic is not the one that was read; an id that is not known proves nothing."""
    return known is not None and topic is not None and topic.id not in (None, known)
