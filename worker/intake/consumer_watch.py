"""Keeps intake reading: starts the consumer, looks at it every few seconds, and replaces one that cannot go on.

A consumer that cannot read says little by itself: its polls just return nothing. So each look compares what the broker
has with what the consumer does. What is found is logged once per change, and health reads it from `ReadingState`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from worker.backoff import Schedule
from worker.intake.subscriber import Subscriber
from worker.intake.unread_topics import LOOK_EVERY, ReadingLook, ReadingState
from worker.kafka.look import KafkaLook
from worker.kafka.metadata import TopicNow
from worker.kafka.topics import TopicNames

log = structlog.get_logger()

LOOK_SECONDS = 3.0
"""For one request of a look; a broker answers within milliseconds."""

_REPLACE_EVERY = 60.0
"""Seconds between two replacements of a consumer: each is a rebalance of the whole group."""

_SILENT = 30.0
"""Seconds without a poll, while no record batch is handled, after which the loop of intake counts as ended or hanging.
A poll takes half a second, the checks before it less than ten."""


@dataclass(slots=True)
class Watch:
    """Intake from its start to its stop. `started` is called when the group has given out partitions first."""

    subscriber: Subscriber
    look: KafkaLook
    names: TopicNames
    stopping: asyncio.Event
    started: Callable[[], None] = lambda: None
    reading: ReadingState = field(init=False)
    _replaced: float = float("-inf")
    _failing: int = 0  # looks in a row at a consumer all of whose polls raise

    def __post_init__(self) -> None:
        """Nothing has been looked at yet."""
        self.reading = ReadingState(self.subscriber.names)

    async def run(self) -> None:
        """Until `stopping` is set."""
        starting = asyncio.create_task(self._start())
        try:
            while not self.stopping.is_set():
                await self.look_once()
                if starting.done() and self._must_be_replaced():
                    self._replaced = time.monotonic()
                    log.warning("intake.consumer_replaced", why=self._why())
                    await self.subscriber.leave()
                    starting = asyncio.create_task(self._start())
                await self._pause(LOOK_EVERY)
        finally:
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            await self.look.close()

    def unread(self) -> Mapping[str, str]:
        """The topics that cannot be read, without prefix, each with the reason."""
        return {self.names.bare(name): reason for name, reason in self.reading.unread.items()}

    def longest(self) -> tuple[str, float] | None:
        """The topic that has not been read for the longest time, and that time in seconds."""
        found = self.reading.longest(time.monotonic())
        return None if found is None else (self.names.bare(found[0]), found[1])

    async def look_once(self) -> None:
        """One look, judged and logged."""
        subscriber = self.subscriber
        topics: Mapping[str, TopicNow] | str
        try:
            topics = await self.look.topics(subscriber.names)
        except (KafkaError, TimeoutError, OSError) as error:
            topics = type(error).__name__
        else:
            if subscriber.poll is not None:
                subscriber.poll.compare(topics)
            partitions = subscriber.consumer.assignment() if subscriber.consumer is not None else ()
            subscriber.ends = await self.look.ends(topics, partitions)
        seen = _seen(subscriber, topics)
        self._failing = self._failing + 1 if seen.failing is not None else 0
        unread, read = self.reading.look(seen, time.monotonic())
        for name, reason in unread.items():
            log.warning("intake.cannot_read", topic=self.names.bare(name), reason=reason)
        for name in read:
            log.info("intake.reads_again", topic=self.names.bare(name))

    async def _start(self) -> None:
        """Joins the group; while that fails it is tried again, and the looks say why."""
        pause, attempt = Schedule(base=0.3, cap=5.0, jitter=0.0), 0
        while not self.stopping.is_set():
            try:
                await self.subscriber.start()
            except (KafkaError, OSError) as error:
                attempt += 1
                log.warning("run.waits_for", what="kafka", error=type(error).__name__)
                await self._pause(pause.delay(attempt))
            else:
                self.started()
                return

    def _must_be_replaced(self) -> bool:
        """Whether this consumer can never read again by itself."""
        if self.stopping.is_set() or self.subscriber.busy_since is not None:
            return False
        return self._why() is not None and time.monotonic() - self._replaced > _REPLACE_EVERY

    def _why(self) -> str | None:
        subscriber = self.subscriber
        consumer, poll = subscriber.consumer, subscriber.poll
        if consumer is None or poll is None:
            return None
        if _ended(consumer):
            return "a task of the consumer has ended"
        if poll.given_up:
            return "a record batch could not be accepted"
        if self._failing >= 3:
            return f"all polls fail ({poll.why})"
        if subscriber.assigned and time.monotonic() - poll.polled > _SILENT:
            return "the loop of intake does not poll"
        return None

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()


def _ended(consumer: Any) -> bool:
    """Whether one of the tasks that read and that keep the membership has ended: aiokafka does not start them again."""
    coordinating, fetching = consumer._coordinator._coordination_task, consumer._fetcher._fetch_task  # noqa: SLF001
    return bool(coordinating.done() or fetching.done())


def _seen(subscriber: Subscriber, topics: Mapping[str, TopicNow] | str) -> ReadingLook:
    consumer, poll = subscriber.consumer, subscriber.poll
    if consumer is None or poll is None or consumer._fetcher is None:  # noqa: SLF001
        return ReadingLook(topics, assigned=False)
    subscription = consumer._subscription.subscription  # noqa: SLF001
    if subscription is None or subscription.assignment is None:
        return ReadingLook(topics, assigned=False)
    # Of each partition the consumer notes when a fetch of it last succeeded, also one that found nothing.
    fetched = {tp: subscription.assignment.state_value(tp).timestamp for tp in subscription.assignment.tps}
    # While much of others waits, nothing is fetched of the rest: that they are not read is no fault of theirs.
    full = consumer.ahead is not None and consumer.ahead.full
    waiting = {tp for tp in fetched if full or tp in consumer._fetcher._records}  # noqa: SLF001
    return ReadingLook(topics, subscriber.assigned, fetched, waiting, poll.refused, poll.why)
