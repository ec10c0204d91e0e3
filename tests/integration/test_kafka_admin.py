"""Topics on a real broker."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from tests.support.kafka import Broker
from tests.support.processes import free_port
from tests.support.waiting import eventually
from worker.kafka.admin import TopicsNotCreated, ensure_topics, list_topics, missing_topics
from worker.kafka.backlog import Backlog, backlog
from worker.kafka.metadata import TopicsRequest
from worker.kafka.topics import ALL_TOPICS, INPUT_TOPICS, dead_letter_topic, outcome_topic
from worker.settings import KafkaSettings, load

HOUR = 3_600_000


@pytest.fixture
def settings(kafka: Broker, topic_prefix: str) -> KafkaSettings:
    return load(
        KafkaSettings,
        {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": topic_prefix,
            "KAFKA_TOPIC_PARTITIONS": "3",
            "KAFKA_TOPIC_RETENTION_HOURS": "24",
            "KAFKA_DLQ_RETENTION_HOURS": "48",
        },
    )


async def configs(settings: KafkaSettings, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    try:
        name = settings.kafka_topic_prefix + topic
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        return {entry[0]: entry[1] for entry in answer.resources[0][4]}
    finally:
        await admin.close()


async def test_everything_that_is_missing_is_made(settings: KafkaSettings) -> None:
    """All topics of the inputs and of the bridge are made, with partitions and replication."""
    assert await missing_topics(settings) == list(ALL_TOPICS)
    assert set(await ensure_topics(settings)) == set(ALL_TOPICS)
    states = await list_topics(settings)
    assert [state.topic for state in states] == list(ALL_TOPICS)
    assert {(state.partitions, state.replication) for state in states} == {(3, 1)}
    assert await missing_topics(settings) == []


async def test_topics_of_others_are_not_asked_for(settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster may have thousands of them: to make topics, to wait until they take records, and to see how far the
    group is behind, ours are named.
    """
    asked: list[list[str] | None] = []
    send = AIOKafkaClient.send

    async def noted(client: AIOKafkaClient, node: int, request: Any, **more: Any) -> Any:
        if isinstance(request, MetadataRequest):
            asked.append(request._topics)
        if isinstance(request, TopicsRequest):
            asked.append(request._names)
        return await send(client, node, request, **more)

    monkeypatch.setattr(AIOKafkaClient, "send", noted)
    await ensure_topics(settings)
    ours = {settings.kafka_topic_prefix + topic for topic in ALL_TOPICS}
    assert len(asked) >= 2
    assert all(set(names or ["all"]) == ours for names in asked), asked
    asked.clear()

    async def seen() -> Backlog | None:
        with suppress(GroupCoordinatorNotAvailableError):  # of a broker that has had no group yet
            return await backlog(settings, INPUT_TOPICS)
        return None

    found = await eventually(seen, 30)
    assert found is not None
    assert set(found.lag) == set(INPUT_TOPICS)
    assert any(asked)
    assert all(set(names) <= ours for names in asked if names is not None), asked
    assert None not in asked


async def test_retention_and_sizes_are_those_of_the_settings(settings: KafkaSettings) -> None:
    """Inputs, outcomes and alerts are kept as long as set, dead letters as long as set for them; records fit theirs."""
    topic = INPUT_TOPICS[0]
    await ensure_topics(settings, [topic, outcome_topic(topic), dead_letter_topic(topic), "admin.alert"])
    for kept in (topic, outcome_topic(topic), "admin.alert"):
        assert (await configs(settings, kept))["retention.ms"] == str(24 * HOUR)
    assert int((await configs(settings, outcome_topic(topic)))["max.message.bytes"]) == 2 * 1024 * 1024
    letters = await configs(settings, dead_letter_topic(topic))
    assert letters["retention.ms"] == str(48 * HOUR)
    assert int(letters["max.message.bytes"]) >= 16 * 1024 * 1024


async def test_what_is_there_is_left_alone(settings: KafkaSettings) -> None:
    """Making topics again makes the missing ones only and changes nothing of the others."""
    await ensure_topics(settings, ["trader.left"])
    other = settings.model_copy(update={"kafka_topic_partitions": 5, "kafka_topic_retention_hours": 1})
    assert await ensure_topics(other, ["trader.left", "md.signed"]) == ["md.signed"]
    left, signed = await list_topics(settings, ["trader.left", "md.signed"])
    assert (left.partitions, signed.partitions) == (3, 5)
    assert (await configs(settings, "trader.left"))["retention.ms"] == str(24 * HOUR)


async def test_two_may_make_topics_at_once(settings: KafkaSettings) -> None:
    """Two people who make the topics at the same moment both succeed."""
    made = await asyncio.gather(ensure_topics(settings), ensure_topics(settings))
    assert set(made[0]) | set(made[1]) == set(ALL_TOPICS)
    assert await missing_topics(settings) == []


async def test_a_refusal_carries_the_brokers_reason(settings: KafkaSettings) -> None:
    """What the broker will not make is reported topic by topic, in its own words."""
    many = settings.model_copy(update={"kafka_topic_replication": 3})
    with pytest.raises(TopicsNotCreated) as caught:
        await ensure_topics(many, ["md.signed"])
    assert list(caught.value.reasons) == ["md.signed"]
    assert "replication" in caught.value.sentence


async def test_asking_for_a_topic_does_not_make_it(settings: KafkaSettings) -> None:
    """Looking whether a topic is missing leaves it missing."""
    assert await missing_topics(settings, ["trader.left"]) == ["trader.left"]
    assert await missing_topics(settings, ["trader.left"]) == ["trader.left"]


async def test_no_broker_is_an_error_soon() -> None:
    """Without a broker at the address the commands fail with Kafka's error."""
    nobody = load(KafkaSettings, {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"})
    with pytest.raises(KafkaError):
        await missing_topics(nobody)
