"""`flows` as an operator runs it, beside replicas that work and without any."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.support import oracle
from tests.support.commands import Ended, command
from tests.support.events import personal, purchase
from tests.support.spine import Stages
from tests.support.stage import PURCHASED, Stage
from tests.support.waiting import eventually


async def flows(on: Stage, *arguments: str, **changes: str) -> Ended:
    return await command({**on.env, **changes}, "flows", *arguments)


async def finals(on: Stage, event_id: str, count: int) -> list[dict[str, Any]]:
    """The final outcomes of an event, once there are so many."""

    def heard() -> list[dict[str, Any]]:
        found = [each for each in on.wire.outcomes_of(event_id) if each["status"] != "pending"]
        assert len(found) == count, found
        return found

    return await eventually(heard, 20)


async def stranger(on: Stage, number: int = 1) -> dict[str, Any]:
    """A purchase that waits for a trader that nobody has seen."""
    event = purchase(number)
    del event["user"]
    await on.buy(event)

    async def waits() -> bool:
        return bool(
            await on.rows("select 1 from step where operation = 'plan' and state = 'waiting' and lease is null")
        )

    await eventually(waits)
    return event


async def refused_by_the_partner(on: Stage, event: dict[str, Any]) -> dict[str, Any]:
    """A purchase that has failed, since Tradovate refused its user's name once."""
    on.fault(
        "poison",
        "/user/createEvaluationUsers",
        contains=event["user"]["name"],
        form="item",
        body="Name refused",
        times=1,
    )
    await on.buy(event)
    outcome = await on.outcome(event)
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "rejected")
    return outcome


async def doubtful(on: Stage, event: dict[str, Any]) -> dict[str, Any]:
    """A purchase in doubt: the account's creation had no answer, and nor has the look-up."""
    on.fault("cut_after", "/user/createEvaluationAccounts", times=1)
    for path in ("/account/find", "/account/finds"):
        on.fault("status_before", path, status=500)
    await on.buy(event)
    outcome = await on.outcome(event)
    assert outcome["status"] == "in_doubt"
    return outcome


async def test_a_retry_reads_the_event_again_and_ends_in_a_new_outcome(stage: Stages) -> None:
    """A purchase whose name Tradovate refused succeeds when it is retried, in a new round with a new outcome id."""
    on = await stage()
    await on.replica()
    event = purchase(1, contact=True)
    before = await refused_by_the_partner(on, event)
    rows = await on.rows("select body from flow")
    assert rows[0]["body"] is None
    retried = (await flows(on, "retry", "e-1", "--reason", "name cleared", "--by", "ann", "--json")).json
    assert (retried["flowId"], retried["round"]) == (before["flowId"], 1)
    _, after = await finals(on, "e-1", 2)
    assert after["status"] == "succeeded"
    assert after["outcomeId"] != before["outcomeId"]
    shown = (await flows(on, "show", "e-1", "--json")).json
    assert [(note["action"], note["by"], note["reason"]) for note in shown["notes"]] == [
        ("retry", "ann", "name cleared")
    ]
    assert await on.rows("select 1 from flow where body is not null") == []
    oracle.once_in_effect(on)
    await oracle.private(on)


async def test_a_second_retry_of_the_same_flow_is_refused(stage: Stages) -> None:
    """A flow that has been retried and succeeded is not retried once more."""
    on = await stage()
    await on.replica()
    await refused_by_the_partner(on, purchase(1))
    assert (await flows(on, "retry", "e-1")).code == 0
    await finals(on, "e-1", 2)
    again = await flows(on, "retry", "e-1")
    assert again.code == 1
    assert "failed or in doubt" in again.refusal
    assert len(on.effects["users_by_name"]) == 1


async def test_a_retry_needs_the_record_that_retention_may_have_dropped(real_stage: Stages) -> None:
    """When the topic has dropped the event, a retry says so in one line, exits 1 and changes nothing."""
    on = await real_stage()
    await on.replica()
    await refused_by_the_partner(on, purchase(1))
    admin = AIOKafkaAdminClient(bootstrap_servers=on.servers)
    await admin.start()
    (place,) = await on.rows('select partition, "offset" from flow')
    topic = TopicPartition(on.env["KAFKA_TOPIC_PREFIX"] + PURCHASED, place["partition"])
    await admin.delete_records({topic: RecordsToDelete(before_offset=place["offset"] + 1)})
    await admin.close()
    refused = await flows(on, "retry", "e-1")
    assert refused.code == 1
    assert "no longer on its topic" in refused.refusal
    assert [row["state"] for row in await on.rows("select state from flow")] == ["failed"]


async def test_what_is_not_sent_can_be_cancelled(stage: Stages) -> None:
    """A waiting flow that is cancelled fails with the reason as its text, and never calls Tradovate."""
    on = await stage()
    await on.replica()
    await stranger(on)
    done = await flows(on, "cancel", "100001", "--reason", "the trader  has withdrawn")
    assert done.code == 0, done.stderr
    assert "within seconds" in done.stdout
    (outcome,) = await finals(on, "e-1", 1)
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "cancelled")
    assert outcome["errorText"] == "the trader has withdrawn"
    assert on.count("/user/createEvaluationUsers") == 0
    await oracle.nothing_stuck(on)


async def test_what_is_being_sent_cannot_be_cancelled(stage: Stages) -> None:
    """A flow whose call is under way is left alone, and ends as that call does."""
    on = await stage(TRADOVATE_TIMEOUT_SECONDS="30")
    await on.replica()
    on.fault("delay", "/user/createEvaluationUsers", seconds=8, times=1)
    await on.buy(purchase(1))
    await eventually(lambda: on.rows("select 1 from step where state = 'in_flight'"))
    refused = await flows(on, "cancel", "e-1")
    assert (refused.code, "Its call is under way" in refused.refusal) == (1, True)
    assert (await on.outcome("e-1"))["status"] == "succeeded"


async def test_without_a_worker_the_outcome_waits_in_the_outbox(stage: Stages) -> None:
    """With no worker running a cancellation says so, and the next worker publishes its outcome."""
    on = await stage()
    here = await on.replica()
    await stranger(on)
    await here.stop()
    done = await flows(on, "cancel", "e-1")
    assert "no worker runs" in done.stdout
    assert on.final("e-1") is None
    await on.replica()
    assert (await on.outcome("e-1"))["errorText"] == "Cancelled by a person."


async def test_a_flow_in_doubt_is_resolved_with_the_ids_that_an_operator_saw(stage: Stages) -> None:
    """A flow in doubt that an operator resolves succeeds with the ids they gave, and drops its event."""
    on = await stage(RETRY_FOR_SECONDS="1")
    await on.replica()
    before = await doubtful(on, purchase(1))
    (account,) = on.partner.sandbox.core.world.accounts.named("EVAL100001")
    stated = ["--set", f"accountId={account['id']}", "--set", "accountName=EVAL100001", "--reason", "seen there"]
    resolved = (await flows(on, "resolve", before["flowId"], "--outcome", "succeeded", *stated, "--json")).json
    assert (resolved["state"], resolved["accountId"]) == ("succeeded", account["id"])
    after = (await finals(on, "e-1", 2))[1]
    assert after["outcomeId"] == resolved["outcomeId"] != before["outcomeId"]
    assert (after["status"], after["accountId"], after["accountName"]) == ("succeeded", account["id"], "EVAL100001")
    assert await on.rows("select 1 from flow where body is not null") == []
    (order,) = await on.rows("select state, account_id from business_order")
    assert tuple(order) == ("succeeded", account["id"])


async def test_a_retry_of_what_is_in_doubt_looks_before_it_sends(stage: Stages) -> None:
    """A purchase in doubt that is retried finds the account that its first round had made, and makes no second one."""
    on = await stage(RETRY_FOR_SECONDS="1")
    await on.replica()
    await doubtful(on, purchase(1))
    on.partner.sandbox.core.faults.clear()
    assert (await flows(on, "retry", "e-1")).code == 0
    after = (await finals(on, "e-1", 2))[1]
    assert (after["status"], after["accountName"]) == ("succeeded", "EVAL100001")
    assert on.count("/user/createEvaluationAccounts") == 1
    oracle.once_in_effect(on)


async def test_list_shows_the_newest_first_by_every_filter(stage: Stages) -> None:
    """`flows list` filters by state, topic, trader and order, newest first, and JSON has the contract's fields."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1))
    await on.outcome("e-1")
    await on.buy(purchase(2))
    await on.outcome("e-2")
    await stranger(on, 3)
    listed = (await flows(on, "list", "--json")).json
    assert [flow["eventId"] for flow in listed] == ["e-3", "e-2", "e-1"]
    assert [flow["state"] for flow in listed] == ["waiting", "succeeded", "succeeded"]
    assert {"flowId", "eventId", "topic", "state", "due", "attempts"} <= listed[0].keys()
    assert (listed[0]["due"] is not None, listed[1]["due"]) == (True, None)
    for filters, expected in (
        (["--state", "waiting"], ["e-3"]),
        (["--state", "working"], []),
        (["--state", "succeeded", "--limit", "1"], ["e-2"]),
        (["--topic", PURCHASED, "--before", listed[0]["flowId"]], ["e-2", "e-1"]),
        (["--trader", "cust-1"], ["e-1"]),
        (["--order", "100002", "--trader", "cust-2"], ["e-2"]),
        (["--order", "100002", "--trader", "cust-1"], []),
    ):
        found = (await flows(on, "list", *filters, "--json")).json
        assert [flow["eventId"] for flow in found] == expected, filters


async def test_show_tells_all_that_happened_and_nothing_personal(stage: Stages) -> None:
    """`flows show` tells steps, calls and outcomes of a flow by any of its ids, in lines that are never cut."""
    on = await stage()
    await on.replica()
    event = purchase(1, contact=True)
    await on.buy(event)
    outcome = await on.outcome(event)
    await oracle.nothing_stuck(on)
    by_flow, by_event, by_order = [
        (await flows(on, "show", name, "--json")).json for name in (outcome["flowId"], "e-1", "100001")
    ]
    assert by_flow == by_event == by_order
    assert [step["operation"] for step in by_flow["steps"]] == [
        "createEvaluationUsers",
        "createEvaluationAccounts",
        "updateContactInfo",
    ]
    call = by_flow["steps"][1]["calls"][0]
    assert (call["kind"], call["items"], call["result"]) == ("send", 1, "answer")
    assert by_flow["outcomes"][0]["outcomeId"] == outcome["outcomeId"]
    assert by_flow["outcomes"][0]["publishedAt"] is not None
    shown = await flows(on, "show", "e-1")
    assert "Call createEvaluationAccounts. On DEMO, with 1 item, by " in shown.stdout
    assert f"Outcome {outcome['outcomeId']}: succeeded. Published 20" in shown.stdout
    times = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}"
    assert re.findall(r"\d\d:\d\d:\d\d\S*", shown.stdout)
    assert re.sub(f"{times}Z", "", shown.stdout) == re.sub(r"\S*\d\d:\d\d:\d\d\S*Z", "", shown.stdout)
    local = await flows(on, "show", "e-1", "--local", TZ="America/Chicago")
    assert len(re.findall(f"{times}-0[56]:00", local.stdout)) == len(re.findall(f"{times}Z", shown.stdout))
    for secret in personal(event):
        assert secret not in shown.stdout + json.dumps(by_flow)


async def test_an_id_of_several_flows_shows_the_newest_and_repairs_none(stage: Stages) -> None:
    """Of two flows of one order `show` takes the newest and names the other; a repair asks for the flow id."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1))
    await on.outcome("e-1")
    await on.buy(purchase(1, eventId="e-1b"))
    await on.outcome("e-1b")
    shown = await flows(on, "show", "100001", "--json")
    assert shown.json["eventId"] == "e-1b"
    assert "event e-1," in shown.stderr
    refused = await flows(on, "retry", "100001")
    assert (refused.code, "2 flows" in refused.refusal) == (1, True)


LONG = "0" * 19 + "1" * 5000
"""A number of more digits than Python reads, whose first ones are a small number."""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "nobody"], 1, "There is no flow, event or order"),
        (["cancel", "nobody"], 1, "There is no flow, event or order"),
        (["list", "--state", "suceeded"], 2, "did you mean succeeded?"),
        (["list", "--topic", "trader.purchase"], 2, "did you mean trader.purchased?"),
        (["resolve", "x", "--outcome", "succeeded", "--set", "acountId=1"], 2, "did you mean accountId?"),
        (["resolve", "x", "--outcome", "succeeded", "--set", "accountId=one"], 2, "a whole number"),
        (["resolve", "x", "--outcome", "succeeded", "--set", "accountId=99999999999999999999"], 2, "a whole number"),
        (["resolve", "x", "--outcome", "succeeded", "--set", f"accountId={LONG}"], 2, "a whole number"),
        (["resolve", "x", "--outcome", "succeeded", "--set", "accountId"], 2, "NAME=VALUE"),
        (["cancel", "x", "--reason", " "], 2, "--reason is empty"),
        (["resolve", "x"], 2, "--outcome"),
    ],
)
async def test_what_an_operator_gets_wrong_is_reported_in_one_line(
    ledgers: Callable[[], str], arguments: list[str], code: int, words: str
) -> None:
    """Wrong usage of `flows` is exit 2, an id that nobody knows exit 1, both in one line with the fix."""
    ended = await command({"DATABASE_URL": ledgers(), "SECRET_KEY": "k" * 32}, "flows", *arguments)
    assert (ended.code, words in ended.refusal) == (code, True), ended.stderr


@pytest.mark.parametrize("arguments", [["list"], ["show", "x"], ["retry", "x"], ["cancel", "x"]])
async def test_another_environment_than_the_ledgers_is_refused(
    ledgers: Callable[[], str], arguments: list[str]
) -> None:
    """A ledger of production is not touched by a command for staging: exit 2, with both fixes."""
    url = ledgers()
    env = {"DATABASE_URL": url, "SECRET_KEY": "k" * 32}
    connection = await asyncpg.connect(url)
    await connection.execute("update ledger set environment = 'production'")
    await connection.close()
    ended = await command(env, "flows", *arguments)
    assert (ended.code, "TRADOVATE_ENVIRONMENT=production" in ended.refusal) == (2, True)
