"""Kafka as it is: several replicas, rebalances, odd records, and brokers and databases that go away."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from aiokafka import AIOKafkaProducer

from tests.support import oracle
from tests.support.events import purchase
from tests.support.kafka import KafkaServer
from tests.support.spine import Stages
from tests.support.stage import PURCHASED, Stage
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres
from worker.kafka.producer import Headers
from worker.kafka.topics import outcome_topic
from worker.sandbox import SandboxConfig

ACCOUNTS = "/user/createevaluationaccounts"


async def test_a_rebalance_while_a_call_is_in_flight(real_stage: Stages) -> None:
    """A replica that joins, and one that leaves, while a call is in flight, double nothing and lose nothing."""
    on = await real_stage(TRADOVATE_TIMEOUT_SECONDS="5")
    on.fault("delay", ACCOUNTS, seconds=2.0)
    first = await on.replica()
    await on.buy(*(purchase(number) for number in range(5)))
    await eventually(lambda: on.count(ACCOUNTS))
    second = await on.replica()
    await on.buy(*(purchase(number) for number in range(5, 10)))
    await eventually(lambda: on.rows("select 1 from flow offset 9"))
    await first.stop()
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert second.replica.subscriber.assigned
    await oracle.holds_all(on)


async def test_three_replicas_share_the_work(real_stage: Stages) -> None:
    """Three replicas on one topic carry out a hundred and fifty purchases once each."""
    on = await real_stage(SandboxConfig(partner_ms=20))
    for _ in range(3):
        await on.replica()
    await on.buy(*(purchase(number, trader=number // 2) for number in range(150)))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await oracle.holds_all(on)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_records_are_read(real_stage: Stages, codec: str) -> None:
    """A shop may compress its events with any of Kafka's codecs."""
    on = await real_stage()
    await on.replica()
    event = purchase(1, padding="x" * 2000)
    on.events.append(event)
    async with AIOKafkaProducer(bootstrap_servers=on.servers, compression_type=codec) as producer:
        await producer.send_and_wait(on.env["KAFKA_TOPIC_PREFIX"] + PURCHASED, json.dumps(event).encode())
    await on.all_ended()
    await oracle.holds_all(on)


async def test_what_a_shop_takes_back_was_not_bought(real_stage: Stages) -> None:
    """A purchase in a transaction is carried out when that is committed, and not at all when it is aborted."""
    on = await real_stage()
    replica = await on.replica()
    topic = on.env["KAFKA_TOPIC_PREFIX"] + PURCHASED
    on.events += [purchase(2), purchase(3)]
    async with AIOKafkaProducer(bootstrap_servers=on.servers, transactional_id=topic) as shop:
        for number, kept in ((1, False), (2, True)):
            await shop.begin_transaction()
            await shop.send_and_wait(topic, json.dumps(purchase(number)).encode(), partition=0)
            if kept:
                await shop.commit_transaction()
            else:
                # What comes after it distinguishes it: a purchase of elsewhere is done, this one not begun.
                await on.wire.send(purchase(3), partition=1)
                await on.outcome(purchase(3))
                await shop.abort_transaction()
    await on.all_ended()
    assert await on.rows("select 1 from flow where event_id = 'e-1'") == []
    await eventually(lambda: replica.replica.subscriber.lag()[PURCHASED] == 0)
    await oracle.holds_all(on)


@pytest.mark.parametrize("key", [b"k" * 2 * 1024 * 1024, random.Random(0).randbytes(1_048_000)])
async def test_a_key_may_fill_a_record(real_stage: Stages, key: bytes) -> None:
    """A key that leaves no room beside it, compressed or not, comes back with its outcome and holds up no other's."""
    on = await real_stage()
    await on.replica()
    await on.wire.send(purchase(1), key=key, partition=0)
    on.events.append(purchase(1))
    await on.buy(*(purchase(number) for number in range(2, 5)))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await oracle.holds_all(on)


async def test_a_topic_may_take_less_than_a_batch(real_stage: Stages) -> None:
    """Outcomes that go together reach a topic that takes no batch of them as well."""
    on = await real_stage()
    await on.wire.takes_at_most(outcome_topic(PURCHASED), 3000)
    on.events += [purchase(number) for number in range(20)]
    await asyncio.gather(*(on.wire.send(event, key=b"one partition") for event in on.events))
    await on.replica()
    await on.all_ended()
    await oracle.holds_all(on)


async def test_bad_records_become_dead_letters_as_they_were(real_stage: Stages) -> None:
    """Every record that cannot be read is put aside unchanged with its reason, and nothing behind it waits."""
    on = await real_stage()
    await on.replica()
    noise = random.Random(3).randbytes(700 * 1024).hex().encode()
    broken = json.dumps({**purchase(77), "orderId": 5}).encode()
    records: dict[str, tuple[bytes | None, bytes | None, Headers]] = {
        "no_value": (b"k1", None, []),
        "not_json": (b"k2", b"{", [("a", b"1"), ("a", None), ("b", b"\xff")]),
        "not_utf8": (None, b'{"a": "\xff"}', []),
        "not_an_object": (b"\xff\xfe", b"[]", [("dlq-reason", b"older"), ("x", b"y")]),
        "too_large": (b"k5", b'"' + noise + b'"', []),
        "no_id": (b"k6", b"{}", [(b"h\xff", b"odd name")]),
        "bad_header": (b"k7", b"{}", [("ce_id", b"\xff")]),
        "wrong_type": (b"k8", broken, []),
    }
    places = {}
    for reason, (key, value, headers) in records.items():
        places[reason] = await on.wire.send(value, key=key, headers=headers, partition=0)
    nothing = await on.wire.send(None, partition=0)
    await on.wire.send(purchase(1), key=b"cust-1", partition=0)
    on.events.append(purchase(1))
    await on.all_ended()
    await eventually(lambda: len(on.wire.dead_letters) == 9)
    by_offset = {int(letter.header["dlq-offset"] or b""): letter for letter in on.wire.dead_letters}
    for reason, (key, value, headers) in records.items():
        letter = by_offset[places[reason].offset]
        assert (letter.key, letter.value) == (key, value), reason
        assert letter.header["dlq-reason"] == reason.encode()
        assert letter.header["dlq-topic"] == PURCHASED.encode()
        assert letter.header["dlq-partition"] == b"0"
        assert letter.header["dlq-error"]
        assert letter.header["dlq-at"]
        own = [(_bytes(name), text) for name, text in letter.headers if not name.startswith("dlq-")]
        assert own == [(_bytes(name), text) for name, text in headers if _bytes(name) != b"dlq-reason"], reason
    assert (by_offset[nothing.offset].key, by_offset[nothing.offset].value) == (None, None)
    invalid = on.final("e-77")
    assert invalid is not None
    assert (invalid["status"], invalid["errorCode"]) == ("failed", "invalid")
    assert invalid["traderId"] == "cust-77"
    on.events.append(purchase(77))
    await oracle.private(on)


def _bytes(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")


async def test_a_dead_letters_id_stays_free(real_stage: Stages) -> None:
    """An event that was bad input may come again in order under the same id, and is carried out."""
    on = await real_stage()
    await on.replica()
    await on.wire.send({**purchase(1), "orderId": 5}, key=b"cust-1")
    await eventually(lambda: on.wire.dead_letters)
    await on.wire.send(purchase(1), key=b"cust-1")
    await eventually(lambda: [each for each in on.wire.outcomes if each["status"] == "succeeded"])
    assert on.count(ACCOUNTS) == 1


async def test_offsets_follow_the_ledger(fragile_stage: Stages, own_postgres: EmbeddedPostgres) -> None:
    """PostgreSQL away: nothing is committed to Kafka, health says so, and all goes on by itself when it is back."""
    on = await fragile_stage()
    here = await on.replica()
    await on.buy(purchase(0))
    await on.all_ended()
    before = await eventually(on.committed)
    await asyncio.to_thread(own_postgres.down)
    await on.buy(*(purchase(number) for number in range(1, 6)))

    async def reported() -> bool:
        return (await here.replica.health.ready())["database"] is not None

    await eventually(reported, 3)
    assert here.replica.health.live() is None
    await eventually(lambda: here.replica.intake.failing)
    assert await on.committed() == before == 1
    await asyncio.to_thread(own_postgres.up)
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await here.ready()
    await eventually(lambda: _all_committed(on, 6))
    await oracle.holds_all(on)


async def _all_committed(on: Stage, count: int) -> bool:
    return await on.committed() == count


async def test_the_ledger_goes_while_calls_are_in_flight(fragile_stage: Stages, own_postgres: EmbeddedPostgres) -> None:
    """What the partner answered while PostgreSQL was away is remembered, written down, and not done again."""
    on = await fragile_stage(SandboxConfig(partner_ms=300))
    for _ in range(2):
        await on.replica()
    await on.buy(*(purchase(number, contact=number == 0) for number in range(40)))
    await eventually(lambda: on.count(ACCOUNTS))
    await asyncio.to_thread(own_postgres.down)
    await eventually(lambda: not on.partner.sandbox.core.calls.in_flight)
    await asyncio.to_thread(own_postgres.up)
    outcomes = await on.all_ended(30)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await oracle.holds_all(on)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_kafka_goes_and_comes_back(restartable_stage: Stages, own_kafka: KafkaServer) -> None:
    """A broker that is away longer than an outcome's lease: the work goes on, and each outcome is published once."""
    on = await restartable_stage()
    on.fault("delay", ACCOUNTS, seconds=1.5)
    replicas = [await on.replica() for _ in range(2)]
    await on.buy(*(purchase(number) for number in range(6)))
    await eventually(lambda: on.count(ACCOUNTS))
    await asyncio.to_thread(own_kafka.kill)

    async def all_published() -> bool:
        return all([(await here.replica.health.ready())["kafka"] is not None for here in replicas])

    await eventually(all_published, 30)

    async def lapsed() -> bool:
        """All work is done, and the replica that wrote the first outcome would have lost its lease without
        extensions.
        """
        (row,) = await on.rows(
            "select count(*) as all, min(created_at) < now() - interval '13 seconds' as old from outcome"
        )
        return bool(row["all"] == 6 and row["old"])

    await eventually(lapsed, 40)
    await asyncio.to_thread(own_kafka.start)
    outcomes = await on.all_ended(40)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await on.buy(purchase(9))
    await on.outcome("e-9", 40)
    for here in replicas:
        await here.ready()
    await oracle.holds_all(on)
