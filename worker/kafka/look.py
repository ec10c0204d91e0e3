"""What a broker has of some topics now, asked over connections of its own: nothing that hangs elsewhere delays it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.offset import OffsetRequest

from worker.kafka.metadata import TopicNow, TopicsRequest, topics_of
from worker.kafka.security import client_options
from worker.settings import KafkaSettings

__all__ = ["KafkaLook"]

_LATEST = -1
_READ_UNCOMMITTED = 0
"""With this isolation a partition ends at its last record, and not at the first transaction that is still open."""


class KafkaLook:
    """Raises aiokafka's `KafkaError`, or `TimeoutError` when no broker answers in time.

    `seconds`: for one request.
    """

    def __init__(self, settings: KafkaSettings, seconds: float) -> None:
        self._options = client_options(settings)
        self._seconds = seconds
        self._client: Any = None
        self._one = asyncio.Lock()

    async def topics(self, names: Sequence[str]) -> dict[str, TopicNow]:
        """Those topics, by the broker's names."""
        async with self._one:
            try:
                async with asyncio.timeout(self._seconds):
                    client = await self._started()
                    return topics_of(await client.send(client.get_random_node(), TopicsRequest(list(names))))
            except BaseException:
                await self.close()  # the next look begins with the addresses of the settings
                raise

    async def ends(
        self, topics: Mapping[str, TopicNow], partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """The offset behind the last record of each partition, of those whose leader tells it.

        `topics`: what `topics` has returned just now.
        """
        by_leader: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        for partition in partitions:
            topic = topics.get(partition.topic)
            leader = topic.leaders.get(partition.partition, -1) if topic is not None else -1
            if leader >= 0:
                by_leader[leader][partition.topic].append((partition.partition, _LATEST))
        found: dict[TopicPartition, int] = {}
        for each in await asyncio.gather(*(self._ends_at(leader, wanted) for leader, wanted in by_leader.items())):
            found |= each
        return found

    async def close(self) -> None:
        """Closes the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _started(self) -> Any:
        if self._client is None:
            client = AIOKafkaClient(**self._options)
            try:
                await client.bootstrap()
            except BaseException:
                await client.close()
                raise
            self._client = client
        return self._client

    async def _ends_at(self, leader: int, wanted: Mapping[str, list[tuple[int, int]]]) -> Mapping[TopicPartition, int]:
        request = OffsetRequest(-1, _READ_UNCOMMITTED, list(wanted.items()))
        client = self._client
        if client is None:
            return {}
        try:
            async with asyncio.timeout(self._seconds):
                response = await client.send(leader, request)
        except (KafkaError, TimeoutError, OSError):
            return {}  # one broker of several is away: the others' partitions are reported all the same
        return {
            TopicPartition(topic, part): offset
            for topic, parts in response.topics
            for part, code, _time, offset in parts
            if for_code(code) is NoError
        }
