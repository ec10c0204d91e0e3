"""Kafka's checks: reachable, each topic, the group, and what this user may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, for_code
from aiokafka.protocol.group import HeartbeatRequest

from schemas.events import MdSigned
from worker.kafka.admin import DEAD_LETTER_BYTES, TopicState, list_topics, record_limits
from worker.kafka.security import client_options
from worker.kafka.topics import INPUT_TOPICS, dead_letter_topic, is_dead_letter_topic
from worker.operate.doctor.findings import Finding, failed, ok, skipped, warning
from worker.settings import KafkaSettings

ANSWERS_WITHIN = 10.0
"""Seconds for a broker to answer one question."""

HEADER_BYTES = 4096
"""Room for the headers that a dead letter gets; the longest sentence among them names twenty products."""


async def kafka(settings: KafkaSettings) -> AsyncIterator[Finding]:
    """All of it."""
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            topics = await list_topics(settings)
    except (KafkaError, TimeoutError, OSError) as error:
        fix = "start the broker, or correct KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL"
        yield failed("kafka", f"cannot be reached ({type(error).__name__})", fix)
        yield skipped("topics", "no Kafka")
        return
    yield ok("kafka", settings.kafka_bootstrap_servers)
    for finding in _topics(settings, topics):
        yield finding
    if any(topic.exists for topic in topics):
        there = [topic for topic in topics if topic.exists]
        yield _allowed(there)
        yield await _group(settings)
        yield await _limits(settings, there)
        yield await _dead_letters(settings, there)


def _topics(settings: KafkaSettings, topics: list[TopicState]) -> list[Finding]:
    hidden = [topic.topic for topic in topics if topic.hidden]
    missing = [topic.topic for topic in topics if not topic.exists and not topic.hidden]
    findings = []
    if missing:
        findings.append(failed("topics", f"missing: {', '.join(missing)}", "run `tradovate-worker topics create`"))
    if hidden:
        fix = "grant READ on input topics and WRITE on the others to KAFKA_SASL_USERNAME (either brings DESCRIBE)"
        findings.append(failed("topics", f"this user may not see: {', '.join(hidden)}", fix))
    for topic in topics:
        if not topic.exists:
            continue
        if topic.replication < settings.kafka_topic_replication:
            seen = f"{topic.partitions} partitions, replication {topic.replication}"
            fix = f"raise its replication to KAFKA_TOPIC_REPLICATION={settings.kafka_topic_replication} at the broker"
            findings.append(warning(f"topic {topic.topic}", seen, fix))
    there = [topic for topic in topics if topic.exists]
    if there and not missing and not hidden:
        fewest = min(topic.partitions for topic in there)
        replication = min(topic.replication for topic in there)
        findings.append(ok("topics", f"all {len(there)}, at least {fewest} partitions, replication {replication}"))
    return findings


def _allowed(topics: list[TopicState]) -> Finding:
    """What the ACLs let this user do, as the broker tells it."""
    may = [(topic.topic, *_needed(topic)) for topic in topics]
    if all(allowed is None for _, _, allowed in may):
        return skipped("kafka permissions", "the broker does not tell (Kafka before 2.8)")
    lacking = [f"{operation} on {topic}" for topic, operation, allowed in may if allowed is False]
    if lacking:
        return failed("kafka permissions", f"lacking: {', '.join(lacking)}", "grant them to KAFKA_SASL_USERNAME")
    if any(topic.topic == MdSigned.topic and topic.writable is False for topic in topics):
        fix = f"grant WRITE on {MdSigned.topic} if the bridge uses this user: it publishes signatures there"
        return warning("kafka permissions", f"what `run` needs, but not WRITE on {MdSigned.topic}", fix)
    return ok("kafka permissions", "read inputs, write outcomes and dead letters")


def _needed(topic: TopicState) -> tuple[str, bool | None]:
    """What this program must be allowed to do with a topic, and whether it is."""
    return ("READ", topic.readable) if topic.topic in INPUT_TOPICS else ("WRITE", topic.writable)


async def _group(settings: KafkaSettings) -> Finding:
    """Whether this user may be a member of the consumer group; joins nothing."""
    consumer = AIOKafkaConsumer(**client_options(settings), group_id=settings.kafka_group_id, enable_auto_commit=False)
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            await consumer.start()
            client = consumer._client  # noqa: SLF001 - the only way not to join
            coordinator = await client.coordinator_lookup(CoordinationType.GROUP, settings.kafka_group_id)
            # A heartbeat needs the ACL that joining needs, and one of a member that there is not does nothing.
            heartbeat = HeartbeatRequest(settings.kafka_group_id, -1, "")
            answer = await client.send(coordinator, heartbeat, group=ConnectionGroup.COORDINATION)
        error = for_code(answer.error_code)
        if error is GroupAuthorizationFailedError:
            return _no_group(settings, error.__name__)
    except (KafkaError, TimeoutError, OSError) as error:
        return _no_group(settings, type(error).__name__)
    finally:
        await consumer.stop()
    return ok("consumer group", settings.kafka_group_id)


def _no_group(settings: KafkaSettings, error: str) -> Finding:
    fix = f"grant READ on group {settings.kafka_group_id}, or correct KAFKA_GROUP_ID"
    return failed("consumer group", f"{settings.kafka_group_id}: {error}", fix)


async def _limits(settings: KafkaSettings, topics: list[TopicState]) -> Finding:
    """Whether each dead-letter topic accepts what its input topic accepts, and the headers that a dead letter gets."""
    names = {topic.topic: topic.name for topic in topics}
    pairs = [(topic, dead_letter_topic(topic)) for topic in INPUT_TOPICS]
    pairs = [(topic, dead) for topic, dead in pairs if topic in names and dead in names]
    limits = await record_limits(settings, [names[each] for pair in pairs for each in pair])
    if not pairs or len(limits) < 2 * len(pairs):
        return skipped("dead-letter sizes", "the broker does not tell max.message.bytes (ACL DescribeConfigs)")
    small = [
        f"{dead} accepts {limits[names[dead]]} bytes, {topic} {limits[names[topic]]}"
        for topic, dead in pairs
        if limits[names[dead]] < limits[names[topic]] + HEADER_BYTES
    ]
    if not small:
        return ok("dead-letter sizes", f"all {len(pairs)} accept what their input topics accept")
    fix = (
        f"set max.message.bytes of each .dlq topic to that of its input topic plus {HEADER_BYTES} (`topics create` uses"
        f" {DEAD_LETTER_BYTES}); until then the ledger keeps larger ones"
    )
    return warning("dead-letter sizes", "; ".join(small), fix)


async def _dead_letters(settings: KafkaSettings, topics: list[TopicState]) -> Finding:
    """Records on the dead-letter topics, by their offsets; nothing is read."""
    names = {topic.name: topic for topic in topics if is_dead_letter_topic(topic.topic)}
    partitions = [TopicPartition(name, number) for name, topic in names.items() for number in range(topic.partitions)]
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False)
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            await consumer.start()
            first, last = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    except (KafkaError, TimeoutError, OSError) as error:
        return warning(
            "dead letters", f"cannot be counted ({type(error).__name__})", "grant DESCRIBE on the .dlq topics"
        )
    finally:
        await consumer.stop()
    count = sum(last[partition] - first[partition] for partition in partitions)
    if count:
        return warning("dead letters", f"{count} records, replayed ones among them", "`tradovate-worker dlq list`")
    return ok("dead letters", "none")
