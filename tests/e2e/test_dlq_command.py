"""`dlq` as an operator runs it: look at dead letters, and replay each once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support import oracle
from tests.support.commands import Ended, command
from tests.support.events import personal, purchase
from tests.support.spine import Stages
from tests.support.stage import PURCHASED, Stage
from tests.support.waiting import eventually
from tests.support.wire import Heard
from worker.intake.dead_letter_headers import OURS
from worker.kafka.admin import list_topics
from worker.kafka.producer import Headers
from worker.kafka.read import Record, reading
from worker.settings import KafkaSettings, load

_ELSEWHERE = 2
"""A partition to which the key below does not lead."""

PRODUCTS = """
["EVAL-50K"]
templateAccountId = 11
initialBalance = 50000
"""


async def dlq(on: Stage, *arguments: str, **changes: str) -> Ended:
    return await command({**on.env, **changes}, "dlq", *arguments)


async def buried(on: Stage, count: int) -> list[Heard]:
    """The dead letters, once there are so many."""

    def heard() -> list[Heard]:
        assert len(on.wire.dead_letters) == count, len(on.wire.dead_letters)
        return on.wire.dead_letters

    return await eventually(heard, 20)


async def on_topic(on: Stage) -> list[Record]:
    """All records of the input topic, oldest first."""
    settings = load(KafkaSettings, on.env)
    (state,) = await list_topics(settings, [PURCHASED])
    async with reading(settings) as reader:
        found = [record async for record in reader.scan(PURCHASED, state.partitions)]
    return sorted(found, key=lambda record: record.timestamp_ms)


def of_product(number: int) -> dict[str, Any]:
    """A purchase of a product that the catalogue may not have yet."""
    event = purchase(number, product="EVAL-50K")
    del event["account"]
    return event


def own(letter: Heard) -> list[tuple[str, bytes | None]]:
    return [(name, value) for name, value in letter.headers if name not in OURS]


async def test_a_dead_letter_that_is_replayed_after_the_fix_succeeds(real_stage: Stages, tmp_path: Path) -> None:
    """A purchase of an unknown product is published again as it was, and then succeeds."""
    on = await real_stage()
    here = await on.replica()
    event = of_product(1)
    on.events.append(event)
    headers: Headers = [("shop", b"7"), ("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"), ("none", None)]
    await on.wire.send(event, key=b"a key", headers=headers, partition=_ELSEWHERE)
    (letter,) = await buried(on, 1)
    first = await on.outcome("e-1")
    assert first["errorCode"] == "invalid"
    await here.stop()
    (tmp_path / "products.toml").write_text(PRODUCTS)
    on.process(PRODUCTS_FILE=str(tmp_path / "products.toml"))
    done = await dlq(on, "replay", PURCHASED)
    assert (done.code, done.stdout) == (0, "Replayed 1 dead letter on trader.purchased.\n"), done.stderr
    before, after = await on_topic(on)
    assert (after.key, after.value, after.headers) == (before.key, before.value, before.headers)
    assert (before.partition, after.partition) == (_ELSEWHERE, _ELSEWHERE)
    assert list(after.headers) == own(letter)

    def succeeded() -> bool:
        return "succeeded" in [outcome["status"] for outcome in on.wire.outcomes_of("e-1")]

    await eventually(succeeded, 30)
    oracle.once_in_effect(on)


async def test_a_second_replay_does_nothing_unless_it_is_asked_again(stage: Stages) -> None:
    """A dead letter is replayed once however often the command runs, and a second time only with `--again`."""
    on = await stage()
    await on.replica()
    await on.wire.send(b"no json", key=b"k")
    (letter,) = await buried(on, 1)
    one = ["--partition", str(letter.partition), "--offset", str(letter.offset)]
    assert (await dlq(on, "replay", PURCHASED, *one, "--json")).json["replayed"] == 1
    await buried(on, 2)
    again = await dlq(on, "replay", PURCHASED, *one)
    assert (again.code, "had been replayed before" in again.stdout) == (0, True)
    # All of them now: the first is known, the one that came of its replay is a dead letter of its own.
    assert (await dlq(on, "replay", PURCHASED, "--json")).json == {
        "topic": PURCHASED,
        "replayed": 1,
        "replayedBefore": 1,
        "failed": [],
    }
    await buried(on, 3)
    assert (await dlq(on, "replay", PURCHASED, *one, "--again", "--json")).json["replayed"] == 1
    await buried(on, 4)
    assert len(await on_topic(on)) == 4


async def test_two_operators_at_once_replay_each_dead_letter_once(stage: Stages) -> None:
    """Of two replays that run together each dead letter is sent by one."""
    on = await stage()
    here = await on.replica()
    await asyncio.gather(*(on.wire.send(f"no json {number}".encode()) for number in range(300)))
    await buried(on, 300)
    await here.stop()
    done = await asyncio.gather(*(dlq(on, "replay", PURCHASED, "--json") for _ in range(3)))
    assert sum(each.json["replayed"] for each in done) == 300
    values = [record.value for record in await on_topic(on)]
    assert len(values) == 600
    assert len(set(values)) == 300


async def test_records_of_any_shape_are_replayed_as_they_were(stage: Stages) -> None:
    """Neither key nor value, header names that are not UTF-8, a value that is too large: a replay keeps them all."""
    on = await stage()
    await on.replica()
    odd: Headers = [(b"\xff\xfe", b"\x00"), ("twice", b"1"), ("twice", b"2")]
    await on.wire.send(None, headers=odd)
    large = json.dumps({"eventId": "e-9", "filler": "x" * 1_100_000}).encode()
    await on.wire.send(large, key=b"\xff")
    letters = await buried(on, 2)
    done = await dlq(on, "replay", PURCHASED, "--json")
    assert done.json["replayed"] == 2
    after = (await buried(on, 4))[2:]
    shape = sorted(((each.key or b"", each.value or b"", own(each)) for each in letters), key=lambda each: each[1])
    assert (
        sorted(((each.key or b"", each.value or b"", own(each)) for each in after), key=lambda each: each[1]) == shape
    )
    assert shape[0] == (b"", b"", [("\udcff\udcfe", b"\x00"), ("twice", b"1"), ("twice", b"2")])
    assert {record.value for record in await on_topic(on)} == {None, large}


async def test_list_tells_where_why_when_and_whether(stage: Stages) -> None:
    """`dlq list` tells each dead letter's place, reason, error and time, and whether it was replayed."""
    on = await stage()
    await on.replica()
    assert "There are no dead letters." in (await dlq(on, "list")).stdout
    sent = await on.wire.send(b"[]")
    (letter,) = await buried(on, 1)
    (listed,) = (await dlq(on, "list", "--json")).json
    assert (listed["topic"], listed["partition"], listed["offset"]) == (PURCHASED, letter.partition, letter.offset)
    assert (listed["reason"], listed["error"]) == ("not_an_object", "The value is not a JSON object.")
    assert (listed["fromPartition"], listed["fromOffset"]) == (sent.partition, sent.offset)
    assert (listed["replayed"], listed["replayedAt"]) == (False, None)
    await dlq(on, "replay", PURCHASED)
    listed = (await dlq(on, "list", PURCHASED, "--json")).json[0]
    assert (listed["replayed"], listed["replayedAt"] is not None) == (True, True)
    lines = (await dlq(on, "list", PURCHASED)).stdout.splitlines()
    assert lines[0].split() == ["TOPIC", "PARTITION", "OFFSET", "REASON", "AT", "REPLAYED", "ERROR"]
    away = await dlq(on, "list", "--json", DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert [each["replayed"] for each in away.json][:1] == [None]
    assert "PostgreSQL cannot be reached" in away.stderr


async def test_show_masks_what_is_personal_without_an_option(stage: Stages) -> None:
    """`dlq show` shows a dead letter's ids and the names of its fields; personal values only with `--raw`."""
    on = await stage()
    await on.replica()
    event = purchase(1, contact=True, account={"templateAccountId": "11", "initialBalance": 5})
    await on.wire.send(event, key=b"cust-1", headers=[("who", b"jane@example.com")])
    (letter,) = await buried(on, 1)
    one = ["show", PURCHASED, "--partition", str(letter.partition), "--offset", str(letter.offset)]
    shown, masked = await dlq(on, *one), (await dlq(on, *one, "--json")).json
    for secret in (*personal(event), "jane@example.com"):
        assert secret not in shown.stdout + json.dumps(masked)
    assert (masked["value"]["orderId"], masked["value"]["user"]["email"]) == ("100001", "***")
    assert (masked["key"], masked["reason"]) == ("cust-1", "wrong_type")
    assert "header dlq-error" in shown.stdout
    raw = (await dlq(on, *one, "--raw", "--json")).json
    assert json.loads(raw["value"]) == event
    assert {"name": "who", "value": "jane@example.com"} in raw["headers"]
    assert json.dumps(event) in (await dlq(on, *one, "--raw")).stdout


async def test_show_cuts_nothing_on_a_pipe(stage: Stages) -> None:
    """What goes to no terminal has long ids, headers and values whole, as text and as JSON."""
    on = await stage()
    await on.replica()
    order, source = "7" * 300, "https://shop.example.com/" + "s" * 2000
    event = {**purchase(1), "orderId": order, "unknown": ["x" * 1000] * 400}
    await on.wire.send(event, headers=[("ce_source", source.encode())])
    (letter,) = await buried(on, 1)
    one = ["show", PURCHASED, "--partition", str(letter.partition), "--offset", str(letter.offset)]
    for shown in ((await dlq(on, *one)).stdout, (await dlq(on, *one, "--json")).stdout):
        assert order in shown
        assert source in shown
        assert shown.count('"***"') > 400


async def test_a_dead_letter_that_is_not_there_is_said(stage: Stages) -> None:
    """A place with no dead letter is exit 1 with the way to find those there are, for `show` and `replay` alike."""
    on = await stage()
    for act in ("show", "replay"):
        for place in (["--partition", "0", "--offset", "3"], ["--partition", "77", "--offset", "0"]):
            refused = await dlq(on, act, PURCHASED, *place)
            assert (refused.code, f"dlq list {PURCHASED}" in refused.refusal) == (1, True)


async def test_nothing_is_replayed_while_the_ledger_is_away(stage: Stages) -> None:
    """Without the ledger, which knows what was replayed, a replay sends nothing and says why."""
    on = await stage()
    here = await on.replica()
    await on.wire.send(b"no json")
    await buried(on, 1)
    await here.stop()
    refused = await dlq(on, "replay", PURCHASED, DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert (refused.code, "PostgreSQL cannot be reached" in refused.refusal) == (1, True)
    assert len(await on_topic(on)) == 1


async def test_a_replay_that_dies_before_it_is_noted_leaves_nothing_behind(stage: Stages) -> None:
    """A claim of a replay that died is gone with it: the next replay sends that dead letter."""
    on = await stage()
    await on.replica()
    await on.wire.send(b"no json")
    (letter,) = await buried(on, 1)
    dead = await asyncpg.connect(on.database_url)
    transaction = dead.transaction()
    await transaction.start()
    await dead.execute(
        'insert into replay (topic, partition, "offset") values ($1, $2, $3)',
        PURCHASED,
        letter.partition,
        letter.offset,
    )
    waiting = asyncio.create_task(dlq(on, "replay", PURCHASED, "--json"))
    waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like 'insert into replay%'"
    await eventually(lambda: on.rows(waits), 20)
    dead.terminate()
    assert (await waiting).json["replayed"] == 1
    await buried(on, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "trader.purchase"], "did you mean trader.purchased?"),
        (["replay", "md.singed"], "did you mean md.signed?"),
        (["replay", PURCHASED, "--offset", "1"], "together"),
        (["show", PURCHASED, "--partition", "0"], "--offset"),
        (["show", PURCHASED, "--partition", "-1", "--offset", "0"], "--partition"),
    ],
)
async def test_wrong_usage_is_reported_in_one_line(arguments: list[str], words: str) -> None:
    """Wrong usage of `dlq` is exit 2 and one line with the fix, before anything is asked of Kafka."""
    ended = await command({}, "dlq", *arguments)
    assert (ended.code, words in ended.refusal) == (2, True), ended.stderr
