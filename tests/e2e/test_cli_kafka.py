"""`topics`, `send` and `watch` on a real broker, which refuses what a mock lets pass."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.support.kafka import Broker
from tests.support.processes import worker
from worker.kafka.topics import ALL_TOPICS


@pytest.fixture
def env(kafka: Broker, topic_prefix: str) -> Mapping[str, str]:
    """Settings of a broker without topics of ours."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": topic_prefix,
        "KAFKA_TOPIC_PARTITIONS": "2",
        "KAFKA_DLQ_RETENTION_HOURS": "7",
    }


def test_topics_are_made_as_the_settings_say(env: Mapping[str, str]) -> None:
    """`topics create` makes all topics, and again none; `topics list` shows partitions and retention of each."""
    with worker("watch", env=env) as process:
        assert process.wait() == 1
        assert "tradovate-worker topics create" in process.stderr
    for new in (len(ALL_TOPICS), 0):
        with worker("topics", "create", env=env) as process:
            assert process.wait() == 0, process.stderr
            assert f"All {len(ALL_TOPICS)} topics exist, {new} of them new." in process.stdout
    with worker("topics", "list", "--json", env=env) as process:
        assert process.wait() == 0, process.stderr
        listed = {one["topic"]: one for one in json.loads(process.stdout)}
    assert all(one["exists"] and one["partitions"] == 2 for one in listed.values())
    assert listed["md.signed"]["retentionMs"] == 168 * 3_600_000
    assert listed["md.signed.dlq"]["retentionMs"] == 7 * 3_600_000


def test_topics_that_cannot_be_made_say_why(env: Mapping[str, str]) -> None:
    """What the broker refuses is reported in its words, on one line."""
    with worker("topics", "create", env={**env, "KAFKA_TOPIC_REPLICATION": "9"}) as process:
        assert process.wait() == 1
        assert process.stderr.count("\n") == 1
        assert f"for all of {len(ALL_TOPICS)} topics" in process.stderr


def test_many_events_are_sent_whole(env: Mapping[str, str]) -> None:
    """More events than go to the broker together are all sent, and counted by partition."""
    with worker("topics", "create", env=env) as process:
        assert process.wait() == 0
    events = "\n".join(json.dumps({"eventId": f"e-{n}", "userId": n}) for n in range(1, 1201))
    with worker("send", "md.signed", env=env, stdin=events) as process:
        assert process.wait() == 0, process.stderr
        assert "Sent 1200 events to md.signed (by partition 0: " in process.stdout
