"""A consumer that cannot read is noticed within half a minute, says which topic and why, and goes on by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from structlog.testing import capture_logs

from tests.support import oracle
from tests.support.acls import Acls
from tests.support.events import purchase
from tests.support.kafka import KafkaServer
from tests.support.spine import Stages
from tests.support.stage import PURCHASED, Here, Stage
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres
from worker.kafka.admin import ensure_topics
from worker.kafka.producer import PlainRecord, RecordProducer
from worker.kafka.topics import INPUT_TOPICS
from worker.telemetry.health import UNREAD_FOR

FAILED = "trader.failed"

SOON = 30.0
"""Seconds within which readiness must tell the truth of Kafka (README, "Watch it")."""

SLACK = 15.0
"""More, for a machine that runs other tests too."""


async def unread(here: Here, topic: str, words: str) -> None:
    """Returns when readiness fails because of this topic, for a reason with these words."""

    async def reported() -> bool:
        reading = (await here.replica.health.ready())["reading"] or ""
        assert topic in reading, reading
        assert words in reading, reading
        return True

    await eventually(reported, SOON + SLACK)


def lines(logs: Sequence[Any], event: str, topic: str) -> list[str]:
    """The reasons that the log gives of a topic."""
    return [line.get("reason", "") for line in logs if line["event"] == event and line.get("topic") == topic]


async def send_together(on: Stage, events: Sequence[dict[str, Any]], partition: int = 0) -> None:
    """Sends purchases as one record batch: the log grows by all of them at once."""
    async with RecordProducer(on.settings()) as producer:
        name = on.env["KAFKA_TOPIC_PREFIX"] + PURCHASED
        records = [PlainRecord(None, json.dumps(event).encode(), []) for event in events]
        await producer.send_together(name, partition, records)
    on.events += events


async def all_known(on: Stage) -> bool:
    """Whether the ledger has every event that was sent."""
    rows = await on.rows("select event_id from flow")
    missing = {event["eventId"] for event in on.events} - {row["event_id"] for row in rows}
    assert not missing, f"{len(missing)} of {len(on.events)} are not in the ledger: {sorted(missing)[:5]}"
    return True


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_deleted_topic_is_reported_and_read_when_it_is_back(real_stage: Stages) -> None:
    """A topic is deleted while it is read: readiness fails and names it, the log has one line, all other topics are
    read as before; when it is created again, it is read from its start and the replica is ready.
    """
    on = await real_stage()
    here = await on.replica()
    with capture_logs() as logs:
        await on.wire.delete([FAILED])
        await unread(here, FAILED, "does not exist")
        await on.buy(purchase(1))
        await on.all_ended()
        assert set(here.replica.watch.unread()) == {FAILED}
        await ensure_topics(on.settings(), [FAILED])
        await on.wire.send({"eventId": "f-1", "traderId": "cust-1", "orderId": "100001"}, topic=FAILED)
        assert (await on.outcome("f-1"))["status"] == "succeeded"
        await here.ready()
    assert len(lines(logs, "intake.cannot_read", FAILED)) == 1
    assert len(lines(logs, "intake.reads_again", FAILED)) == 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("more", [20, 60])
async def test_a_topic_that_was_created_again_is_read_from_its_start(real_stage: Stages, more: int) -> None:
    """A topic with forty records is deleted and created again within a moment, and filled at once to less or more than
    it had: each of the new records is accepted, also those before the position that was reached in the old topic.
    """
    on = await real_stage(KAFKA_TOPIC_PARTITIONS="1")
    await on.replica()
    await send_together(on, [purchase(number) for number in range(40)])
    await on.all_ended()
    await on.wire.create_again(PURCHASED, 1)
    await send_together(on, [purchase(number) for number in range(100, 100 + more)])
    await eventually(lambda: all_known(on), 40)
    await on.all_ended()
    await oracle.holds_all(on)


@pytest.mark.timeout(150)
async def test_a_position_of_an_older_topic_is_no_place_in_the_new_one(
    fragile_stage: Stages, own_postgres: EmbeddedPostgres
) -> None:
    """A topic is created again while PostgreSQL is away and a record batch of the old one is in hand: of the new topic,
    which has grown past the position that was reached, every record is accepted.
    """
    on = await fragile_stage(KAFKA_TOPIC_PARTITIONS="1")
    here = await on.replica()
    await send_together(on, [purchase(number) for number in range(40)])
    await on.all_ended()
    await asyncio.to_thread(own_postgres.down)
    await send_together(on, [purchase(40)])
    await eventually(lambda: here.replica.intake.failing)
    await send_together(on, [purchase(41)])
    fetched = here.replica.subscriber.consumer._fetcher._records
    await eventually(lambda: any(tp.topic.endswith(PURCHASED) for tp in fetched))
    await on.wire.create_again(PURCHASED, 1)
    await send_together(on, [purchase(number) for number in range(100, 160)])
    await asyncio.to_thread(own_postgres.up)
    on.events = [event for event in on.events if event["eventId"] != "e-41"]  # deleted before it was accepted, or not
    await eventually(lambda: all_known(on), 40)
    await here.stop()


@pytest.mark.timeout(120)
async def test_an_offset_of_an_older_topic_is_no_place_in_the_new_one(real_stage: Stages) -> None:
    """An offset was committed while its topic was being created again: the next replica sees by the topic's id that it
    belongs to the old one, and reads from the start.
    """
    on = await real_stage(KAFKA_TOPIC_PARTITIONS="1")
    here = await on.replica()
    await send_together(on, [purchase(number) for number in range(5)])
    await on.all_ended()
    committed = await eventually(lambda: _committed(on), 10)
    await here.stop()
    await on.wire.create_again(PURCHASED, 1)
    await send_together(on, [purchase(number) for number in range(100, 110)])
    await _commit(on, committed)
    await on.replica()
    await eventually(lambda: all_known(on), 20)
    await on.all_ended()
    after = await eventually(lambda: _committed(on, 10), 10)
    assert after.metadata not in ("", committed.metadata)


async def _committed(on: Stage, least: int = 1) -> OffsetAndMetadata | None:
    """What the group has committed of the purchases' only partition, once that is as much."""
    async with _group(on) as consumer:
        tp = TopicPartition(on.env["KAFKA_TOPIC_PREFIX"] + PURCHASED, 0)
        found = (await consumer._coordinator.fetch_committed_offsets([tp])).get(tp)
    return found if found is not None and found.offset >= least else None


async def _commit(on: Stage, offset: OffsetAndMetadata) -> None:
    async with _group(on) as consumer:
        tp = TopicPartition(on.env["KAFKA_TOPIC_PREFIX"] + PURCHASED, 0)
        consumer.assign([tp])
        await consumer.commit({tp: (offset.offset, offset.metadata)})


def _group(on: Stage) -> Any:
    return AIOKafkaConsumer(bootstrap_servers=on.servers, group_id=on.env["KAFKA_GROUP_ID"], enable_auto_commit=False)


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize(("operation", "words"), [("READ", "allowed to read"), ("DESCRIBE", "allowed to see")])
async def test_a_lost_acl_is_reported_and_given_back(
    restartable_stage: Stages, own_kafka: KafkaServer, operation: str, words: str
) -> None:
    """The worker may no longer read a topic, or no longer see it: readiness names topic and ACL, the log has one line,
    the other topics are read as before; with the ACL back, what was sent meanwhile is accepted.
    """
    acls = Acls(own_kafka)
    on = await restartable_stage()
    prefix = on.env["KAFKA_TOPIC_PREFIX"]
    acls.all_of(prefix)
    here = await on.replica(**acls.settings)
    await on.buy(purchase(1))
    await on.all_ended()
    with capture_logs() as logs:
        acls.deny(prefix + PURCHASED, operation)
        await unread(here, PURCHASED, words)
        await on.buy(purchase(2))
        await on.wire.send({"eventId": "f-1", "traderId": "cust-1", "orderId": "100001"}, topic=FAILED)
        assert (await on.outcome("f-1"))["status"] == "succeeded"
        assert set(here.replica.watch.unread()) == {PURCHASED}
        acls.restore(prefix + PURCHASED)
        await on.all_ended()
        await here.ready()
    # A rebalance that goes on may be a reason of its own for a while: a broker that is busy takes long over it.
    said = [reason for reason in lines(logs, "intake.cannot_read", PURCHASED) if words in reason]
    assert len(said) == 1
    await oracle.nothing_stuck(on)


async def test_a_start_waits_for_topics_that_may_not_be_seen(restartable_stage: Stages, own_kafka: KafkaServer) -> None:
    """A worker that may not see its topics does not call them missing: it waits, names them, and starts when it may."""
    acls = Acls(own_kafka)
    on = await restartable_stage()
    here = on.replica_later(**acls.settings)

    async def reported() -> bool:
        why = (await here.replica.health.ready())["assigned"] or ""
        return "ACL Describe" in why and PURCHASED in why

    await eventually(reported, SOON)
    acls.all_of(on.env["KAFKA_TOPIC_PREFIX"])
    await here.ready()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_group_that_may_not_be_used_is_reported_and_joined_again(
    restartable_stage: Stages, own_kafka: KafkaServer
) -> None:
    """The worker may no longer use its group: readiness says so; with the ACL back the group is joined again, although
    the library's own task that keeps the membership has ended.
    """
    acls = Acls(own_kafka)
    on = await restartable_stage()
    acls.all_of(on.env["KAFKA_TOPIC_PREFIX"])
    here = await on.replica(**acls.settings)
    acls.deny(on.env["KAFKA_GROUP_ID"], "READ", "GROUP")
    await unread(here, PURCHASED, "consumer group")
    acls.restore(on.env["KAFKA_GROUP_ID"], "GROUP")
    await on.buy(purchase(1))
    await on.all_ended(90)
    await here.ready()


class _Stuck(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """A member that gets its partitions taken away, and does not come to an end with it."""

    def __init__(self) -> None:
        self.free = asyncio.Event()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if revoked:
            await self.free.wait()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        return


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_rejoin_that_never_ends_is_reported(real_stage: Stages) -> None:
    """Another member of the group holds up a rebalance for good: readiness says so, liveness follows after five
    minutes, and when that member has gone, reading goes on.
    """
    on = await real_stage()
    stuck = _Stuck()
    other = AIOKafkaConsumer(
        bootstrap_servers=on.servers,
        group_id=on.env["KAFKA_GROUP_ID"],
        rebalance_timeout_ms=600_000,
        enable_auto_commit=False,
    )
    other.subscribe([on.env["KAFKA_TOPIC_PREFIX"] + PURCHASED], listener=stuck)
    await other.start()
    here = on.replica_later()
    try:
        await unread(here, PURCHASED, "rebalance")
        assert (await here.replica.health.ready())["assigned"] is not None
        assert here.replica.health.live() is None
        for streak in here.replica.watch.reading._streaks.values():
            streak.since -= UNREAD_FOR
        assert "has not been read for" in (here.replica.health.live() or "")
    finally:
        stuck.free.set()
        await other.stop()
    await on.buy(purchase(1))
    await on.all_ended(90)
    await here.ready()
    assert here.replica.health.live() is None


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_broker_that_has_gone_is_reported(restartable_stage: Stages, own_kafka: KafkaServer) -> None:
    """While no broker answers, readiness says so of every topic; when one does, reading goes on."""
    on = await restartable_stage()
    here = await on.replica()
    await asyncio.to_thread(own_kafka.kill)
    await unread(here, PURCHASED, "no broker answers")
    assert len(here.replica.watch.unread()) == len(INPUT_TOPICS)
    await asyncio.to_thread(own_kafka.start)
    await on.buy(purchase(1))
    await on.all_ended(90)
    await here.ready()


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_damaged_record_batch_costs_no_other_record(restartable_stage: Stages, own_kafka: KafkaServer) -> None:
    """A record batch is damaged on the broker's disk: what is before it and what is in other partitions is accepted,
    also what one poll had taken together with it; readiness names the topic, and nothing is passed over: once it is
    repaired, it and all behind it are accepted.
    """
    on = await restartable_stage(KAFKA_TOPIC_PARTITIONS="8")
    for number in range(3):
        await on.wire.send(purchase(number), partition=0)
    name = on.env["KAFKA_TOPIC_PREFIX"] + PURCHASED
    own_kafka.flip_a_bit(name, 1)
    for partition in range(1, 8):
        await on.wire.send(purchase(10 + partition), partition=partition)
    here = on.replica_later()
    await unread(here, PURCHASED, "CorruptRecord")
    await on.wire.send(purchase(20), partition=1)
    on.events += [purchase(number) for number in (0, *range(11, 18), 20)]
    await on.all_ended()
    assert len(await on.rows("select event_id from flow")) == len(on.events)
    own_kafka.flip_a_bit(name, 1)
    on.events += [purchase(number) for number in (1, 2)]
    await on.all_ended()
    await here.ready()
    await oracle.holds_all(on)


async def test_what_is_behind_a_hanging_transaction_is_lag(real_stage: Stages) -> None:
    """Records behind a transaction that is open count as lag, up to the end of the log; nothing of that transaction is
    read, and when it is aborted the lag is 0, though its marker ends the log.
    """
    on = await real_stage()
    here = await on.replica()
    topic = on.env["KAFKA_TOPIC_PREFIX"] + PURCHASED
    async with AIOKafkaProducer(bootstrap_servers=on.servers, transactional_id=topic) as shop:
        await shop.begin_transaction()
        await shop.send_and_wait(topic, json.dumps(purchase(1)).encode(), partition=0)
        await on.wire.send(purchase(2), partition=0)
        await on.wire.send(purchase(3), partition=0)
        await eventually(lambda: here.replica.subscriber.lag()[PURCHASED] == 3, 20)
        assert not here.replica.subscriber.arriving(0.005)
        assert await on.rows("select 1 from flow") == []
        await here.replica.health.scrape()
        assert f'consumer_lag_records{{topic="{PURCHASED}"}} 3.0' in here.replica.metrics.text().decode()
        await shop.abort_transaction()
    on.events += [purchase(2), purchase(3)]
    await on.all_ended()
    await eventually(lambda: here.replica.subscriber.lag()[PURCHASED] == 0, 20)
    assert len(await on.rows("select 1 from flow")) == 2


@pytest.mark.timeout(120)
async def test_lag_grows_while_the_ledger_is_away(fragile_stage: Stages, own_postgres: EmbeddedPostgres) -> None:
    """While PostgreSQL is away, lag counts what waits in the log and what is in hand, and is 0 when all is accepted."""
    on = await fragile_stage(KAFKA_TOPIC_PARTITIONS="1")
    here = await on.replica()
    await asyncio.to_thread(own_postgres.down)
    await on.buy(purchase(0))
    await eventually(lambda: here.replica.intake.failing)
    await on.buy(*(purchase(number) for number in range(1, 11)))
    await eventually(lambda: here.replica.subscriber.consumer._fetcher._records, 20)
    await on.buy(*(purchase(number) for number in range(11, 31)))  # nobody fetches these now
    await eventually(lambda: here.replica.subscriber.lag()[PURCHASED] == 31, 20)
    await asyncio.to_thread(own_postgres.up)
    await on.all_ended()
    await eventually(lambda: here.replica.subscriber.lag()[PURCHASED] == 0, 20)
