"""A dead letter that its topic does not accept is kept whole in the ledger, and nothing waits for it."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import httpx
import pytest

from tests.support import oracle
from tests.support.acls import Acls
from tests.support.commands import Ended, command
from tests.support.events import purchase
from tests.support.kafka import KafkaServer
from tests.support.processes import worker
from tests.support.spine import Stages
from tests.support.stage import PURCHASED, Here, Stage
from tests.support.waiting import eventually
from worker.kafka.admin import list_topics
from worker.kafka.producer import Headers
from worker.kafka.read import Record, reading
from worker.ledger.crypto import Vault
from worker.ledger.database import Database
from worker.ledger.kept_dead_letters import Content
from worker.ledger.prune import prune
from worker.settings import KafkaSettings, load

DLQ = f"{PURCHASED}.dlq"

NOISE = random.Random(7).randbytes(40_000).hex()
"""No codec makes this small."""


def too_large(number: int) -> dict[str, Any]:
    """A purchase that is bad input, and larger than its dead-letter topic accepts."""
    return purchase(number, contact=True, orderId=5, padding=NOISE)


async def kept(on: Stage, count: int = 1) -> list[Any]:
    """The rows of kept letters, once there are so many."""

    async def there() -> list[Any]:
        rows = await on.rows("select * from dead_letter order by id")
        return rows if len(rows) >= count else []

    return await eventually(there, 30)


async def dlq(on: Stage, *arguments: str, **changes: str) -> Ended:
    return await command({**on.env, **changes}, "dlq", *arguments)


async def on_topic(on: Stage) -> list[Record]:
    async with reading(load(KafkaSettings, on.env)) as reader:
        found = [record async for record in reader.scan(PURCHASED, int(on.env["KAFKA_TOPIC_PARTITIONS"]))]
    return sorted(found, key=lambda record: record.timestamp_ms)


async def test_a_letter_that_is_too_large_is_served_like_the_others(real_stage: Stages) -> None:
    """A bad record that is larger than its dead-letter topic accepts: intake goes on at once, an outcome says failed,
    and list, show and replay find it under the position of its input record, whole.
    """
    on = await real_stage()
    await on.wire.takes_at_most(DLQ, 20_000)
    here = await on.replica()
    headers: Headers = [("shop", b"7"), (b"odd\xff", None), ("shop", b"8")]
    sent = await on.wire.send(too_large(77), key=b"a key", headers=headers, partition=1)
    await on.wire.send(purchase(1), partition=1)
    on.events.append(purchase(1))
    await on.all_ended()
    (row,) = await kept(on)
    assert (row["topic"], row["partition"], row["offset"]) == (PURCHASED, sent.partition, sent.offset)
    assert (await on.outcome("e-77"))["errorCode"] == "invalid"
    assert here.replica.metrics.dead_letters.labels(PURCHASED, "wrong_type")._value.get() == 1
    (listed,) = (await dlq(on, "list", PURCHASED, "--json")).json
    assert (listed["partition"], listed["offset"], listed["stored"]) == (sent.partition, sent.offset, "ledger")
    assert (listed["reason"], listed["replayed"], "orderId" in listed["error"]) == ("wrong_type", False, True)
    await here.stop()  # what is replayed would be a dead letter once more
    one = [PURCHASED, "--partition", str(sent.partition), "--offset", str(sent.offset)]
    shown = (await dlq(on, "show", *one, "--raw", "--json")).json
    assert json.loads(shown["value"]) == too_large(77)
    assert shown["key"] == "a key"
    assert {"name": "shop", "value": "8"} in shown["headers"]
    assert (await dlq(on, "replay", *one, "--json")).json["replayed"] == 1
    assert (await dlq(on, "replay", *one, "--json")).json["replayedBefore"] == 1
    all_of_it = (await dlq(on, "replay", PURCHASED, "--json")).json
    assert (all_of_it["replayed"], all_of_it["replayedBefore"], all_of_it["failed"]) == (0, 1, [])
    assert (await dlq(on, "list", "--json")).json[0]["replayed"] is True
    first, again = [record for record in await on_topic(on) if record.key == b"a key"]
    assert (again.key, again.value, again.headers, again.partition) == (first.key, first.value, first.headers, 1)
    assert (await dlq(on, "replay", *one, "--again", "--json")).json["replayed"] == 1
    await on.replica()
    assert len({row["offset"] for row in await kept(on, 3)}) == 3


async def test_a_kept_letter_is_sealed_and_pruned(real_stage: Stages) -> None:
    """What the ledger keeps of a dead letter holds nothing readable, opens with SECRET_KEY alone, and goes when its
    topic would have dropped it.
    """
    on = await real_stage()
    await on.wire.takes_at_most(DLQ, 20_000)
    await on.replica()
    await on.wire.send(too_large(77))
    (row,) = await kept(on)
    assert all(part not in bytes(row["body"]) for part in (b"mail77x", b"login77x", NOISE[:32].encode()))
    on.events.append(too_large(77))
    await oracle.private(on)
    one = ["show", PURCHASED, "--partition", str(row["partition"]), "--offset", str(row["offset"])]
    refused = await dlq(on, *one, SECRET_KEY="")
    assert (refused.code, "SECRET_KEY" in refused.refusal) == (2, True)
    refused = await dlq(on, *one, SECRET_KEY="quite another key that is long enough")
    assert (refused.code, "SECRET_KEY" in refused.refusal) == (1, True)
    assert len((await dlq(on, "list", "--json", SECRET_KEY="")).json) == 1
    settings = on.settings(KAFKA_DLQ_RETENTION_HOURS="2")
    database = Database(on.database_url)
    await prune(database, settings.ledger_keep, settings.kafka_dlq_retention)
    assert len(await on.rows("select 1 from dead_letter")) == 1
    await on.rows("update dead_letter set created_at = now() - interval '121 minutes'")
    await prune(database, settings.ledger_keep, settings.kafka_dlq_retention)
    assert await on.rows("select 1 from dead_letter") == []
    await database.close()


async def test_a_position_may_be_in_both_places(stage: Stages) -> None:
    """Where a kept letter and one on the topic have the same position, each can be shown and replayed by its place."""
    on = await stage(KAFKA_TOPIC_PARTITIONS="1")
    await on.wire.takes_at_most(DLQ, 20_000)
    await on.replica()
    await on.wire.send(too_large(77), key=b"large")
    await on.wire.send(b"no json", key=b"small")
    await kept(on)
    await eventually(lambda: on.wire.dead_letters)
    one = [PURCHASED, "--partition", "0", "--offset", "0"]
    assert (await dlq(on, "show", *one, "--raw", "--json")).json["key"] == "large"
    assert (await dlq(on, "show", *one, "--stored", "ledger", "--raw", "--json")).json["key"] == "large"
    assert (await dlq(on, "show", *one, "--stored", "topic", "--raw", "--json")).json["key"] == "small"
    assert (await dlq(on, "replay", *one, "--stored", "topic", "--json")).json["replayed"] == 1
    listed = {each["stored"]: each["replayed"] for each in (await dlq(on, "list", "--json")).json[:2]}
    assert listed == {"ledger": False, "topic": True}
    assert (await dlq(on, "replay", PURCHASED, "--json")).json["replayed"] >= 1
    assert [record.key for record in await on_topic(on)].count(b"large") == 2


@pytest.mark.timeout(120)
async def test_a_deleted_dead_letter_topic_holds_up_nobody(real_stage: Stages) -> None:
    """The dead-letter topic is gone: bad records go to the ledger, the first after seconds and the others at once, and
    are replayed from there.
    """
    on = await real_stage()
    here = await on.replica()
    await on.wire.delete([DLQ])
    await eventually(lambda: _is_gone(on))
    for number in range(50):
        await on.wire.send(b"no json", partition=number % 3)
    await on.wire.send(purchase(1), partition=0)
    on.events.append(purchase(1))
    await on.all_ended(60)  # three partitions each wait for their first letter
    assert {row["refusal"] for row in await kept(on, 50)} == {"UnknownTopicOrPartitionError"}
    assert here.replica.intake.failing is None
    listed = await dlq(on, "list", PURCHASED, "--json")
    assert len(listed.json) == 50, listed.stderr
    assert (await dlq(on, "replay", PURCHASED, "--json")).json["replayed"] == 50


async def _is_gone(on: Stage) -> bool:
    return not (await list_topics(on.settings(), [DLQ]))[0].exists


@pytest.mark.timeout(120)
async def test_a_dead_letter_topic_that_may_not_be_written_holds_up_nobody(
    restartable_stage: Stages, own_kafka: KafkaServer
) -> None:
    """The worker may not write to the dead-letter topic: bad records go to the ledger, and doctor names the ACL."""
    acls = Acls(own_kafka)
    on = await restartable_stage()
    prefix = on.env["KAFKA_TOPIC_PREFIX"]
    acls.all_of(prefix)
    await on.replica(**acls.settings)
    acls.deny(prefix + "md.signed", "WRITE")  # which only the bridge needs
    _, checks = await doctor(on, **acls.settings)
    assert checks["kafka permissions"]["verdict"] == "warning"
    assert "md.signed" in checks["kafka permissions"]["seen"]
    acls.deny(prefix + DLQ, "WRITE")
    await on.wire.send(b"no json", partition=0)
    await on.wire.send(purchase(1), partition=0)
    on.events.append(purchase(1))
    await on.all_ended()
    (row,) = await kept(on)
    assert row["refusal"] == "TopicAuthorizationFailedError"
    code, checks = await doctor(on, **acls.settings)
    assert code == 1
    assert f"WRITE on {DLQ}" in checks["kafka permissions"]["seen"]
    assert "1 that" in checks["kept dead letters"]["seen"]
    acls.deny(prefix + PURCHASED, "READ")
    acls.deny(prefix + "trader.failed", "DESCRIBE")
    acls.deny(on.env["KAFKA_GROUP_ID"], "READ", "GROUP")
    code, checks = await doctor(on, **acls.settings)
    assert code == 1
    assert f"READ on {PURCHASED}" in checks["kafka permissions"]["seen"]
    assert "may not see: trader.failed" in checks["topics"]["seen"]
    assert "READ on group" in checks["consumer group"]["fix"]


async def test_doctor_warns_of_letters_that_will_not_fit(real_stage: Stages) -> None:
    """Topics that other tools created accept a record as an event and not as a dead letter: doctor says so before."""
    on = await real_stage()
    _, checks = await doctor(on)
    assert checks["dead-letter sizes"]["verdict"] == "ok"
    await on.wire.takes_at_most(DLQ, 1_048_588)  # Kafka's own limit, for both
    _, checks = await doctor(on)
    assert checks["dead-letter sizes"]["verdict"] == "warning"
    assert DLQ in checks["dead-letter sizes"]["seen"]
    assert "max.message.bytes" in checks["dead-letter sizes"]["fix"]


async def doctor(on: Stage, **changes: str) -> tuple[int, dict[str, Any]]:
    process = worker("doctor", "--json", env={**on.env, **changes})
    try:
        code = await asyncio.to_thread(process.wait, 40)
        assert process.stdout, process.stderr
        return code, {each["check"]: each for each in json.loads(process.stdout)}
    finally:
        process.close()


TOKEN = "a console token of the tests"


def console(here: Here) -> httpx.AsyncClient:
    assert here.replica.served is not None
    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx.AsyncClient(base_url=here.replica.served.address, headers=headers, trust_env=False, timeout=20)


async def test_the_console_shows_kept_letters_and_puts_them_back(stage: Stages) -> None:
    """Kept letters are counted, listed, shown masked and replayed once, like those on the topic."""
    on = await stage()
    await on.wire.takes_at_most(DLQ, 20_000)
    here = await on.replica(CONSOLE_TOKEN=TOKEN)
    await on.wire.send(too_large(77), key=b"cust-77")
    (row,) = await kept(on)
    place = f"/dead-letters/{PURCHASED}/{row['partition']}/{row['offset']}?stored=ledger"
    async with console(here) as client:
        page = (await client.get("/dead-letters", params={"topic": PURCHASED})).text
        assert place in page
        assert "(1)" in page
        letter = (await client.get(place)).text
        assert "kept in the ledger" in letter
        assert "mail77x" not in letter
        assert (await client.post(place)).status_code == 200
        assert len(await on_topic(on)) == 2
        await kept(on, 2)
        await client.post(place)
    assert len(await on_topic(on)) == 2


@pytest.mark.parametrize("key", [None, b"", b"\xff\n{"])
@pytest.mark.parametrize("value", [None, b"", b"\n\n\xff"])
def test_a_record_of_any_shape_is_packed_whole(key: bytes | None, value: bytes | None) -> None:
    """Key, value and headers of a kept letter come back as they were: absent, empty, repeated, no UTF-8."""
    content = Content(key, value, (("a", None), ("a", b""), ("odd\udcff", b"\x00\xff")))
    vault = Vault(["k" * 32])
    assert Content.unpacked(vault.open(vault.seal(content.packed()))) == content
