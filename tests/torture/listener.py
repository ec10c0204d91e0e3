"""What is on the topics: outcomes, dead letters and signatures, each with where it stands."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.support.stage import FINAL
from worker.kafka.topics import TopicNames, dead_letter_topic, outcome_topic

SIGNED = "md.signed"


@dataclass(frozen=True)
class DeadLetter:
    """One record of a `.dlq` topic. `topic`: the input topic."""

    topic: str
    value: bytes | None
    headers: Mapping[str, bytes | None]

    @property
    def place(self) -> tuple[str, int, int]:
        """Where the bad record stands: topic, partition, offset."""
        return self.topic, int(self.headers["dlq-partition"] or -1), int(self.headers["dlq-offset"] or -1)


@dataclass
class Listener:
    """Reads every topic from its start, without a group. `servers`: the broker, not through a link."""

    servers: str
    names: TopicNames
    topics: tuple[str, ...]
    partitions: int
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    by_event: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    times: dict[str, list[tuple[str, float]]] = field(default_factory=lambda: defaultdict(list))
    """By event id: outcome ids and when they were published, in epoch seconds."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    signed: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """Records of `md.signed` by event id: `at` (epoch seconds), `key` and `body`."""
    raw: list[bytes] = field(default_factory=list)
    """Values of outcomes, as they are on the topic."""
    _consumer: Any = None
    _task: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        """Begins to listen."""
        read = [of(topic) for topic in self.topics for of in (outcome_topic, dead_letter_topic)] + [SIGNED]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            retry_backoff_ms=100,
        )
        places = [
            TopicPartition(self.names.on_broker(topic), part) for topic in read for part in range(self.partitions)
        ]
        self._consumer.assign(places)
        await self._consumer.start()
        self._task = asyncio.create_task(self._listen())
        return self

    async def stop(self) -> None:
        """Ends it."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._consumer is not None:
            await self._consumer.stop()

    def final(self, event_id: str) -> dict[str, Any] | None:
        """The first final outcome of an event."""
        return next((each for each in self.by_event[event_id] if each["status"] in FINAL), None)

    def times_of(self, event_id: str) -> Mapping[str, list[float]]:
        """When each outcome of an event was published, by outcome id."""
        found: dict[str, list[float]] = defaultdict(list)
        for outcome_id, at in self.times[event_id]:
            found[outcome_id].append(at)
        return found

    @property
    def records(self) -> int:
        """All that was heard."""
        signed = sum(len(each) for each in self.signed.values())
        return len(self.outcomes) + len(self.dead_letters) + signed

    async def _listen(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    self._hear(self.names.bare(record.topic), record)

    def _hear(self, topic: str, record: Any) -> None:
        if topic == SIGNED:
            if record.value:  # the shop puts bad input there, too
                body = json.loads(record.value)
                found = {"at": record.timestamp / 1000, "key": record.key, "body": body}
                self.signed[str(body.get("eventId"))].append(found)
        elif topic.endswith(".dlq"):
            self.dead_letters.append(DeadLetter(topic.removesuffix(".dlq"), record.value, dict(record.headers)))
        else:
            outcome = json.loads(record.value)
            self.raw.append(record.value)
            self.outcomes.append(outcome)
            self.by_event[outcome["eventId"]].append(outcome)
            self.times[outcome["eventId"]].append((outcome["outcomeId"], record.timestamp / 1000))
