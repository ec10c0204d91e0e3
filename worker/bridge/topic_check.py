"""Whether the topics of the bridge are there and accept records, also while no signal comes that would show it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka.errors import KafkaError

from worker.kafka.look import KafkaLook
from worker.kafka.metadata import TopicNow
from worker.kafka.topics import TopicNames
from worker.telemetry.log_on_change import LastReported

log = structlog.get_logger()

LOOK_EVERY = 5.0
"""Seconds between two looks; health tells the truth of Kafka within 30 (README, "Watch it")."""

LOOK_SECONDS = 3.0
"""For one look; a broker answers within milliseconds."""


@dataclass(slots=True)
class TopicWatch:
    """One for each process, leader or standby."""

    look: KafkaLook
    names: TopicNames
    topics: Sequence[str]
    _found: dict[str, str] = field(default_factory=dict)
    _said: LastReported = field(default_factory=LastReported)

    def trouble(self, topic: str) -> str | None:
        """Why a topic accepts no records, or None."""
        return self._found.get(topic)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self.look_once()
                await asyncio.sleep(LOOK_EVERY)
        finally:
            await self.look.close()

    async def look_once(self) -> None:
        """Looks at all topics. A broker that does not answer says nothing of them, and has a check of its own."""
        on_broker = {topic: self.names.on_broker(topic) for topic in self.topics}
        try:
            found = await self.look.topics(list(on_broker.values()))
        except (KafkaError, OSError, TimeoutError):
            return
        for topic, name in on_broker.items():
            why = _why_not(found.get(name))
            if why is not None:
                self._found[topic] = f"{topic}: {why}"
                if self._said.changed(topic, why):
                    log.error("bridge.topic_accepts_nothing", topic=topic, why=why)
            else:
                self._found.pop(topic, None)
                if self._said.ended(topic):
                    log.info("bridge.topic_accepts_records", topic=topic)


def _why_not(topic: TopicNow | None) -> str | None:
    if topic is None:
        return "the broker says nothing of it"
    if topic.error is not None:
        return topic.error.__name__
    return "this program may not write to it" if topic.writable is False else None
