"""What is on the topics: outcomes, dead letters and signatures, each with where it stands."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.support.stage import FINAL
from worker.kafka.topics import TopicNames, dead_letter_topic, outcome_topic

SIGNED = "md.signed"


@dataclass
class Listener:
    """Reads every topic from its start, without a group. `servers`: the broker, not through a link."""

    servers: str
    names: TopicNames
    topics: tuple[str, ...]
    partitions: int
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    by_event: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    dead_letters: list[tuple[str, bytes | None, dict[str, bytes | None]]] = field(default_factory=list)
    signed: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When records came on `md.signed`, in epoch seconds, by event id."""
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

    async def _listen(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    self._hear(self.names.bare(record.topic), record)

    def _hear(self, topic: str, record: Any) -> None:
        if topic == SIGNED:
            if record.value:  # the shop puts bad input there, too
                self.signed[str(json.loads(record.value).get("eventId"))].append(record.timestamp / 1000)
        elif topic.endswith(".dlq"):
            self.dead_letters.append((topic, record.value, dict(record.headers)))
        else:
            outcome = json.loads(record.value)
            self.raw.append(record.value)
            self.outcomes.append(outcome)
            self.by_event[outcome["eventId"]].append(outcome)
