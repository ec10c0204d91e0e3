"""Topics that the Kafka user may not see, read or write to: each command names them and the ACL, in one line."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.acls import Acls
from tests.support.commands import command
from tests.support.kafka import KafkaServer
from tests.support.processes import worker
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.kafka.topics import dead_letter_topic, outcome_topic

TOPIC = "trader.failed"
EVENT = json.dumps({"eventId": "e-1", "traderId": "t", "orderId": "1"})
DEAD, OUTCOMES = dead_letter_topic(TOPIC), outcome_topic(TOPIC)
PLACE = ("--partition", "0", "--offset", "0")


@pytest.mark.kafka
@pytest.mark.timeout(200)
async def test_a_topic_that_may_not_be_used_is_named_with_its_acl(
    restartable_stage: Stages, own_kafka: KafkaServer
) -> None:
    """A topic that is hidden is not taken for a missing one, and none that may not be read or written to ends in a
    traceback: one line names topic and ACL.
    """
    acls = Acls(own_kafka)
    on = await restartable_stage()
    prefix = on.env["KAFKA_TOPIC_PREFIX"]
    acls.all_of(prefix)
    env = {**on.env, **acls.settings}

    async def lacks(operation: str, topic: str, *arguments: str) -> None:
        acls.deny(prefix + topic, operation)

        async def refused() -> bool:
            ended = await command(env, *arguments, stdin=EVENT)
            assert (ended.code, f"{topic}: grant it the ACL {operation}" in ended.refusal) == (1, True), ended.refusal
            return True

        await eventually(refused, 60)
        acls.restore(prefix + topic)

    for operation, topic, *arguments in (
        ("DESCRIBE", TOPIC, "send", TOPIC),
        ("DESCRIBE", OUTCOMES, "watch"),
        ("DESCRIBE", DEAD, "dlq", "list"),
        ("DESCRIBE", DEAD, "dlq", "show", TOPIC, *PLACE),
        ("DESCRIBE", TOPIC, "dlq", "replay", TOPIC),
        ("DESCRIBE", OUTCOMES, "import", "--from-outcomes"),
        ("DESCRIBE", DEAD, "topics", "create"),
        ("WRITE", TOPIC, "send", TOPIC),
        ("WRITE", TOPIC, "dlq", "replay", TOPIC),
        ("READ", OUTCOMES, "watch", "--topic", TOPIC),
        ("READ", DEAD, "dlq", "list", TOPIC),
        ("READ", OUTCOMES, "import", "--from-outcomes"),
    ):
        await lacks(operation, topic, *arguments)

    acls.deny(prefix + TOPIC, "DESCRIBE")
    listed = await command(env, "topics", "list", "--json")
    rows = {each["topic"]: each for each in json.loads(listed.stdout)}
    assert (listed.code, rows[TOPIC]["exists"], rows[TOPIC]["hidden"]) == (1, None, True)
    assert (rows[OUTCOMES]["exists"], rows[OUTCOMES]["hidden"]) == (True, False)
    listed = await command(env, "topics", "list")
    assert [line.split()[-1] for line in listed.stdout.splitlines() if line.split()[0] == TOPIC] == ["hidden"]
    assert (listed.code, f"{TOPIC}: grant it the ACL DESCRIBE" in listed.refusal) == (1, True)


@pytest.mark.kafka
@pytest.mark.timeout(120)
async def test_a_watch_that_loses_its_right_to_read_ends_with_one_line(
    restartable_stage: Stages, own_kafka: KafkaServer
) -> None:
    """The right is taken away while `watch` waits."""
    acls = Acls(own_kafka)
    on = await restartable_stage()
    acls.all_of(on.env["KAFKA_TOPIC_PREFIX"])
    env = {**on.env, **acls.settings}

    async def granted() -> bool:
        listed = await command(env, "topics", "list")
        assert listed.code == 0, listed.refusal
        return True

    await eventually(granted, 60)  # a broker confirms rights before it goes by them
    with worker("watch", "--topic", TOPIC, env=env) as process:

        def waits() -> bool:
            assert process.returncode is None, process.stderr
            return "STATUS" in process.stdout

        await eventually(waits, 60)
        acls.deny(on.env["KAFKA_TOPIC_PREFIX"] + OUTCOMES, "READ")
        assert await asyncio.to_thread(process.wait, 60) == 1
        assert process.stderr.startswith("Error: The Kafka user may not do that: grant it by an ACL")
        assert process.stderr.count("\n") == 1
