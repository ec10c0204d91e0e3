"""One event id, one event: a repeat changes nothing, other content under the same id becomes a dead letter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.events import EVENTS
from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import PURCHASED, SECRET_KEY, Stage
from tests.support.waiting import eventually
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import TopicNames

ACCOUNTS = "/user/createevaluationaccounts"


def counted(here: Any, result: str) -> float:
    """Records of purchases that a replica has taken with this result."""
    return float(here.replica.metrics.events.labels(PURCHASED, result)._value.get())


async def letters(on: Stage, count: int) -> list[str]:
    """The reasons of the dead letters, once there are so many."""
    await eventually(lambda: len(on.wire.dead_letters) >= count, 20)
    return [(letter.header["dlq-reason"] or b"").decode() for letter in on.wire.dead_letters]


async def test_a_repeat_may_be_written_in_another_way(stage: Stages) -> None:
    """The same event again, its fields in another order, unknown ones added, a default written out: nothing happens."""
    on = await stage()
    here = await on.replica()
    event = purchase(1, contact=True)
    await on.buy(event)
    await on.all_ended()
    again = [
        dict(reversed(event.items())),
        {**event, "sentAt": "2026-11-28T10:00:00Z", "product": None},
        {**event, "account": {**event["account"], "initialBalance": 50_000.0}},
        {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "t", "data": event},
    ]
    for each in again:
        await on.wire.send(json.dumps(each, indent=2).encode())
    await eventually(lambda: counted(here, "known") == len(again), 20)
    assert (on.wire.dead_letters, counted(here, "invalid")) == ([], 0)
    await oracle.holds_all(on)


@pytest.mark.parametrize(
    "other",
    [
        {"orderId": "777"},
        {"traderId": "cust-9"},
        {"account": {"templateAccountId": 11, "initialBalance": 100_000}},
        {"user": {"userId": 29721}},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_other_content_is_not_the_same_event(stage: Stages, other: dict[str, Any]) -> None:
    """An id that comes again with other content, after the first event has ended, is a dead letter that says so: no
    outcome calls the first event failed, and nothing is done for the second.
    """
    on = await stage()
    here = await on.replica()
    await on.buy(purchase(1))
    await on.all_ended()
    await on.wire.send({**purchase(1), **other}, key=b"k", headers=[("shop", b"7")])
    assert await letters(on, 1) == ["id_reused"]
    (letter,) = on.wire.dead_letters
    assert (letter.key, json.loads(letter.value or b"")) == (b"k", {**purchase(1), **other})
    assert letter.headers[0] == ("shop", b"7")
    await on.buy(purchase(2))
    await on.all_ended()
    assert [each["status"] for each in on.wire.outcomes_of("e-1")] == ["succeeded"]
    assert counted(here, "invalid") == 1
    assert here.replica.metrics.dead_letters.labels(PURCHASED, "id_reused")._value.get() == 1
    assert on.count(ACCOUNTS) == 2
    await oracle.holds_all(on)


async def test_of_two_contents_in_one_record_batch_the_first_counts(stage: Stages) -> None:
    """Two contents of one id that arrive together: the first is the event, the second is a dead letter."""
    on = await stage()
    first, second = purchase(1), purchase(1, orderId="777")
    for each in (first, second, first):
        await on.wire.send(each, partition=0)
    on.events.append(first)
    here = await on.replica()
    await on.all_ended()
    assert await letters(on, 1) == ["id_reused"]
    assert (counted(here, "accepted"), counted(here, "known"), counted(here, "invalid")) == (1, 1, 1)
    assert (on.final("e-1") or {})["orderId"] == first["orderId"]
    await oracle.holds_all(on)


async def test_bad_input_under_a_known_id_is_not_its_outcome(stage: Stages) -> None:
    """A record that is bad input and has an accepted event's id is a dead letter, and no outcome calls that failed."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1))
    await on.all_ended()
    await on.wire.send(purchase(1, orderId=5))
    assert await letters(on, 1) == ["wrong_type"]
    await on.buy(purchase(2))
    await on.all_ended()
    assert [each["status"] for each in on.wire.outcomes_of("e-1")] == ["succeeded"]


async def test_content_is_known_across_a_change_of_keys(stage: Stages) -> None:
    """With a new SECRET_KEY in front of the old one, repeats and other contents are distinguished; without the old one
    nothing is proven against an event, so it counts as a repeat.
    """
    on = await stage()
    here = await on.replica()
    await on.buy(purchase(1))
    await on.all_ended()
    await here.stop()
    new = "another key that is long enough as well"
    here = await on.replica(SECRET_KEY=f"{new},{SECRET_KEY}")
    await on.wire.send(purchase(1))
    await on.wire.send(purchase(1, orderId="777"))
    assert await letters(on, 1) == ["id_reused"]
    assert counted(here, "known") == 1
    await here.stop()
    here = await on.replica(SECRET_KEY=new)
    await on.wire.send(purchase(1))
    await on.wire.send(purchase(1, orderId="777"))
    await eventually(lambda: counted(here, "known") == 2, 20)
    assert await letters(on, 1) == ["id_reused"]


async def test_nothing_personal_stays_to_compare_with(stage: Stages) -> None:
    """What is kept of an ended event to compare others with is a keyed hash: without the key it says nothing."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1, contact=True))
    await on.all_ended()
    await oracle.private(on)
    (row,) = await on.rows("select body, content from flow")
    assert (row["body"], len(row["content"])) == (None, 36)


async def test_an_example_of_each_topic_can_be_tried_out(stage: Stages) -> None:
    """What intake compares a refused record with is accepted by a sound ledger, and leaves nothing behind."""
    on = await stage()
    here = await on.replica()
    for model in EVENTS.values():
        await here.replica.ledger.try_out(model.model_validate(dict(model.examples[0])))
    for table in ("flow", "step", "outcome", "trader", "business_order"):
        assert await on.rows(f"select 1 from {table}") == [], table  # noqa: S608 - names of ours


async def test_a_value_that_the_database_refuses_costs_its_own_event_only(stage: Stages) -> None:
    """PostgreSQL refuses a value of one event of three: that one is a dead letter and `failed`, the others succeed."""
    on = await stage()
    await on.rows(
        "create function refuse() returns trigger language plpgsql as $$ begin if new.event_id = 'e-2' then"
        " raise exception using errcode = '22003'; end if; return new; end $$"
    )
    await on.rows("create trigger refuse before insert on flow for each row execute function refuse()")
    names = TopicNames(on.env["KAFKA_TOPIC_PREFIX"])
    async with RecordProducer(on.settings()) as producer:
        for number in (1, 2, 3):
            value = json.dumps(purchase(number)).encode()
            await producer.send(names.on_broker(PURCHASED), value=value, partition=0)
    on.events += [purchase(number) for number in (1, 2, 3)]
    await on.replica()
    outcomes = await on.all_ended()
    assert [outcome["status"] for outcome in outcomes] == ["succeeded", "failed", "succeeded"]
    assert outcomes[1]["errorCode"] == "invalid"
    assert await letters(on, 1) == ["unreadable"]
    assert b"22003" in (on.wire.dead_letters[0].header["dlq-error"] or b"")
