"""Topics: which exist, which are missing, and making those that are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from worker.errors import OperatorError, Unavailable
from worker.kafka.errors import Access, TopicsForbidden, TopicsMissing
from worker.kafka.look import KafkaLook
from worker.kafka.metadata import TopicNow
from worker.kafka.security import client_options
from worker.kafka.topics import ALL_TOPICS, TopicNames, is_dead_letter_topic, is_outcome_topic
from worker.settings import KafkaSettings

__all__ = [
    "DEAD_LETTER_BYTES",
    "NoController",
    "TopicState",
    "TopicsNotCreated",
    "ensure_topics",
    "existing_topics",
    "list_topics",
    "missing_topics",
    "permitted_topics",
    "record_limits",
    "retentions",
]

DEAD_LETTER_BYTES = 17 * 1024 * 1024
"""`max.message.bytes` of a dead-letter topic: records of up to 16 MiB, and room for what frames one."""

_OUTCOME_BYTES = 2 * 1024 * 1024
"""`max.message.bytes` of an outcome topic: an outcome has its event's key, which alone may fill Kafka's usual 1 MiB."""

_REQUEST_MS = 10_000
"""Metadata is answered in milliseconds and all topics are made within a second; an operator waits for this command."""

_ELECTION_SECONDS = 6.0
"""A controller is elected within a second or two."""

_LEADERS_SECONDS = 30.0
"""A fresh topic has its leaders within a second; a broker on a busy machine has needed more than ten."""


class TopicsNotCreated(OperatorError):
    """The broker refused to make topics: `reasons` are its words, by topic (without the prefix)."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__(*self.reasons)

    @property
    def sentence(self) -> str:
        """For an operator. A reason that is the same for all topics is given once."""
        reasons = {topic: reason.rstrip(".") for topic, reason in self.reasons.items()}
        said = "; ".join(f"{topic}: {reason}" for topic, reason in reasons.items())
        if len(reasons) > 1 and len(set(reasons.values())) == 1:
            said = f"{next(iter(reasons.values()))} (for all of {len(reasons)} topics)"
        return f"The broker did not make all topics: {said}; correct that and run it again."


class NoController(Unavailable):
    """No broker is the cluster's controller, and no other one makes topics."""

    @property
    def sentence(self) -> str:
        """For an operator."""
        return (
            "No broker of this Kafka is its controller, and only a controller creates topics: run it again when one is"
            " elected, or create the topics with the tools of that broker."
        )


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic of ours as the broker has it. One that is missing has no partitions. `hidden`: this user may not see
    whether it is there. `readable`, `writable`: None where the broker does not say.
    """

    topic: str
    name: str
    partitions: int
    replication: int
    hidden: bool = False
    readable: bool | None = None
    writable: bool | None = None

    @property
    def exists(self) -> bool:
        """Whether the broker has it."""
        return self.partitions > 0

    def permits(self, access: Access) -> bool:
        """Whether nothing is known that forbids it to this user."""
        said = {Access.DESCRIBE: not self.hidden, Access.READ: self.readable, Access.WRITE: self.writable}
        return said[access] is not False


async def list_topics(settings: KafkaSettings, topics: Iterable[str] = ALL_TOPICS) -> list[TopicState]:
    """Our topics and what the broker has of each.

    Raises aiokafka's `KafkaError` or `TimeoutError` when it cannot be reached.
    """
    names = TopicNames(settings.kafka_topic_prefix)
    wanted = {topic: names.on_broker(topic) for topic in topics}
    look = KafkaLook(settings, _REQUEST_MS / 1000)
    try:
        found = await look.topics(list(wanted.values()))
    finally:
        await look.close()
    return [_state(topic, name, found.get(name)) for topic, name in wanted.items()]


async def permitted_topics(settings: KafkaSettings, topics: Iterable[str], access: Access) -> list[TopicState]:
    """As `list_topics`. Raises `TopicsForbidden` when the broker says that this user may not have `access` to one of
    them, or may not even see whether it is there; else as `list_topics` does.
    """
    states = await list_topics(settings, topics)
    if hidden := [state.topic for state in states if state.hidden]:
        raise TopicsForbidden(Access.DESCRIBE, hidden)
    if refused := [state.topic for state in states if state.exists and not state.permits(access)]:
        raise TopicsForbidden(access, refused)
    return states


async def existing_topics(settings: KafkaSettings, topics: Sequence[str], access: Access) -> list[TopicState]:
    """Those of `topics` that exist. Raises `TopicsMissing` when there is none, else as `permitted_topics` does."""
    states = [state for state in await permitted_topics(settings, topics, access) if state.exists]
    if not states:
        raise TopicsMissing(topics)
    return states


async def missing_topics(settings: KafkaSettings, topics: Iterable[str] = ALL_TOPICS) -> list[str]:
    """Those of `topics` that the broker does not have, without the prefix.

    Raises as `list_topics` does, and `TopicAuthorizationFailedError` with the names of topics that this user may not
    see: whether these are missing is not known.
    """
    states = await list_topics(settings, topics)
    hidden = [state.topic for state in states if state.hidden]
    if hidden:
        raise TopicAuthorizationFailedError(", ".join(hidden))
    return [state.topic for state in states if not state.exists]


async def ensure_topics(settings: KafkaSettings, topics: Iterable[str] = ALL_TOPICS) -> list[str]:
    """Makes those of `topics` that are missing, leaves the others as they are, and returns the names of the new ones.

    Returns when the new topics take records. Several may do this at once. Raises `TopicsNotCreated` with the broker's
    reasons, `TopicsForbidden` before it makes any, `NoController`, aiokafka's `KafkaError` when it cannot be reached.
    """
    names = TopicNames(settings.kafka_topic_prefix)
    async with _admin(settings) as admin:
        states = await permitted_topics(settings, topics, Access.DESCRIBE)
        missing = [state.topic for state in states if not state.exists]
        if not missing:
            return []
        answer = await _create(admin, [_new_topic(settings, topic) for topic in missing])
        created, reasons = [], {}
        for name, code, *message in answer.topic_errors:
            error = for_code(code)
            if error is NoError:
                created.append(names.bare(name))
            elif error is not TopicAlreadyExistsError:  # another program was quicker
                reasons[names.bare(name)] = next(filter(None, message), error.description)
        if reasons:
            raise TopicsNotCreated(reasons)
    await _wait_for_leaders(settings, [names.on_broker(topic) for topic in missing])
    return created


async def _create(admin: AIOKafkaAdminClient, topics: list[NewTopic]) -> Any:
    """The broker's response. A cluster has no controller for as long as it elects one; some that speak Kafka's protocol
    never have one.
    """
    cluster = admin._client.cluster  # noqa: SLF001 - the admin client asks a controller that is None for its number
    try:
        async with asyncio.timeout(_ELECTION_SECONDS):
            while cluster.controller is None:
                await asyncio.sleep(0.2)
                await admin._client.force_metadata_update()  # noqa: SLF001
    except TimeoutError:
        raise NoController from None
    try:
        return await admin.create_topics(topics, timeout_ms=_REQUEST_MS)
    except AttributeError:
        if cluster.controller is not None:
            raise
        raise NoController from None  # it has gone since


async def retentions(settings: KafkaSettings, names: Sequence[str]) -> dict[str, int]:
    """`retention.ms` by topic, -1 for ever; `names` with the prefix. Empty when the broker does not tell this user."""
    return await _numbers(settings, names, "retention.ms")


async def record_limits(settings: KafkaSettings, names: Sequence[str]) -> dict[str, int]:
    """`max.message.bytes` by topic; `names` with the prefix. Empty when the broker does not tell this user."""
    return await _numbers(settings, names, "max.message.bytes")


async def _numbers(settings: KafkaSettings, names: Sequence[str], key: str) -> dict[str, int]:
    """One of the broker's settings of each topic; to know it is a help and no more."""
    if not names:
        return {}
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name, configs={key: None}) for name in names]
    try:
        async with _admin(settings) as admin:
            answers = await admin.describe_configs(wanted)
    except (KafkaError, TimeoutError, OSError):
        return {}
    return {
        name: int(value)
        for answer in answers
        for _code, _message, _kind, name, entries in answer.resources
        for found, value, *_ in entries
        if found == key
    }


def _new_topic(settings: KafkaSettings, topic: str) -> NewTopic:
    hours, size = settings.kafka_topic_retention_hours, {}
    if is_outcome_topic(topic):
        size = {"max.message.bytes": str(_OUTCOME_BYTES)}
    if is_dead_letter_topic(topic):
        hours, size = settings.kafka_dlq_retention_hours, {"max.message.bytes": str(DEAD_LETTER_BYTES)}
    return NewTopic(
        TopicNames(settings.kafka_topic_prefix).on_broker(topic),
        settings.kafka_topic_partitions,
        settings.kafka_topic_replication,
        topic_configs={"retention.ms": str(hours * 3_600_000), **size},
    )


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=_REQUEST_MS)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _state(topic: str, name: str, found: TopicNow | None) -> TopicState:
    if found is None:
        return TopicState(topic, name, 0, 0)
    hidden = found.error is TopicAuthorizationFailedError
    return TopicState(topic, name, len(found.leaders), found.replication, hidden, found.readable, found.writable)


async def _wait_for_leaders(settings: KafkaSettings, names: list[str]) -> None:
    """A fresh topic answers `NotLeaderForPartition` for a moment. A cluster may have thousands of others: it is asked
    for these alone.
    """
    look = KafkaLook(settings, _REQUEST_MS / 1000)
    try:
        async with asyncio.timeout(_LEADERS_SECONDS):
            while True:
                found = await look.topics(names)
                leaders = [list(found[name].leaders.values()) if name in found else [] for name in names]
                if all(each and min(each) >= 0 for each in leaders):
                    return
                await asyncio.sleep(0.05)
    finally:
        await look.close()
