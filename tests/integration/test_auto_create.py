"""A broker creates topics for any client that asks for them (Kafka's default): the worker never asks so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.test_reading import FAILED, unread
from tests.support.events import purchase
from tests.support.kafka import KafkaServer, why_no_java
from tests.support.lacking import lacks
from tests.support.processes import worker
from tests.support.stage import Stage
from tests.support.waiting import eventually
from worker.kafka.admin import ensure_topics, list_topics
from worker.kafka.topics import outcome_topic


@pytest.fixture
def creating_kafka(request: pytest.FixtureRequest) -> Iterator[KafkaServer]:
    """A broker with Kafka's default for topics that do not exist."""
    if reason := why_no_java():
        lacks(request, f"The test of a broker that creates topics did not run: {reason}")
    server = KafkaServer(auto_create_topics_enable="true").start()
    yield server
    server.close()


@pytest.mark.kafka
@pytest.mark.timeout(120)
async def test_a_deleted_topic_is_not_created_by_the_worker(
    creating_kafka: KafkaServer, ledgers: Callable[[], str]
) -> None:
    """A topic that an operator deletes stays deleted while the worker runs, and is named; what the operator creates in
    its place has the partitions that it was given.
    """
    on = await Stage(creating_kafka.bootstrap_servers, ledgers()).up()
    try:
        here = await on.replica()
        await on.wire.delete([FAILED])
        await unread(here, FAILED, "does not exist")
        await on.buy(purchase(1))
        await on.all_ended()
        settings = on.settings(KAFKA_TOPIC_PARTITIONS="5")
        await ensure_topics(settings, [FAILED])
        assert (await list_topics(settings, [FAILED]))[0].partitions == 5
        await eventually(lambda: not here.replica.watch.unread(), 30)
    finally:
        await on.down()


@pytest.mark.kafka
@pytest.mark.timeout(120)
async def test_a_deleted_topic_is_not_created_by_an_open_watch(
    creating_kafka: KafkaServer, ledgers: Callable[[], str]
) -> None:
    """An outcome topic that is deleted while `watch` is open stays deleted, however often its client looks for it."""
    on = await Stage(creating_kafka.bootstrap_servers, ledgers()).up()
    deleted, other = outcome_topic(FAILED), outcome_topic("md.signed")
    try:
        with worker("watch", "--json", env=on.env) as process:
            for number in range(6):

                async def watched(number: int = number) -> bool:
                    await on.wire.send({"eventId": f"e-{number}"}, topic=other)
                    return f"e-{number}" in process.stdout

                await eventually(watched, 20)  # each answer to its client says that the other topic has gone
                if number == 0:
                    await on.wire.delete([deleted])
            assert not (await list_topics(on.settings(), [deleted]))[0].exists
    finally:
        await on.down()
