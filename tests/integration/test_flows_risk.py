"""`risk.changed`, `account.locked` and `account.unlocked` from Kafka to the partner and back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.oracle import never_together
from tests.support.spine import Stages
from tests.support.waiting import eventually

UPDATE = "/userAccountAutoLiq/updateUserAutoLiqs"
SET = "/accountRiskStatus/setAdminAutoLiqAction"
WHY: dict[str, Any] = {"reason": "a test"}


def limits(firm: Firm, account: int) -> dict[str, Any]:
    """An account's limits at the partner."""
    row = firm.stage.partner.sandbox.core.world.auto_liqs.rows[account]
    return {name: value for name, value in row.items() if name != "id"}


def action(firm: Firm, account: int) -> str:
    """What the partner shows of an account."""
    return str(firm.stage.partner.sandbox.core.world.risk_statuses.rows[account]["adminAction"])


@pytest.mark.parametrize("update", ["merge", "replace"])
async def test_limits_that_are_not_given_stay(stage: Stages, update: str) -> None:
    """Whether the partner merges or replaces; a hundred accounts share a call."""
    firm = Firm(await stage())
    firm.switch(risk_update=update)
    rows = firm.seed(20)
    world = firm.stage.partner.sandbox.core.world
    for _, account, _ in rows:
        world.auto_liqs.rows[account].update({"dailyLossAutoLiq": 1000, "trailingMaxDrawdown": 2500})
    ids = [
        await firm.send("risk.changed", accountId=account, postTradeRisk={"dailyLossAutoLiq": 900 + n})
        for n, (_, account, _) in enumerate(rows)
    ]
    await firm.stage.replica()
    outcomes = await asyncio.gather(*(firm.ended(each) for each in ids))
    assert {(outcome["status"], outcome["attempts"]) for outcome in outcomes} == {("succeeded", 1)}
    for n, (_, account, _) in enumerate(rows):
        assert limits(firm, account) == {"dailyLossAutoLiq": 900 + n, "trailingMaxDrawdown": 2500}
    assert firm.stage.count(UPDATE) <= 4
    never_together(firm.stage)


async def test_events_of_one_account_are_executed_in_the_order_of_their_acceptance(real_stage: Stages) -> None:
    """By two replicas, whether an event names the account or its order, with calls that fail in between."""
    firm = Firm(await real_stage())
    await firm.stage.buy(purchase(1))
    await firm.stage.replica()
    (bought,) = await firm.stage.all_ended()
    account = bought["accountId"]
    names = [{"orderId": bought["orderId"]}, {"accountId": account}]
    firm.stage.fault("status_before", SET, status=500, times=1)
    firm.stage.fault("cut_after", UPDATE, times=1)
    await firm.stage.replica()
    sent: dict[str, tuple[str, Any]] = {}
    for n in range(4):
        values = {"dailyLossAutoLiq": 900.0 + n}
        sent[await firm.send("risk.changed", postTradeRisk=values, **names[n % 2])] = "limits", values
        locked = await firm.send("account.locked", action="lock", **names[(n + 1) % 2], **WHY)
        sent[locked] = "action", "LockTradingImmediately"
        sent[await firm.send("account.unlocked", **names[n % 2], **WHY)] = "action", "Normal"
    outcomes = await asyncio.gather(*(firm.ended(each, 60) for each in sent))
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    places = "select distinct event_id, place from account_turn join flow on flow.id = flow_id order by place"
    accepted = [row["event_id"] for row in await firm.stage.rows(places)]
    ended = sorted(outcomes, key=lambda each: each["occurredAt"])
    assert [each["eventId"] for each in ended] == accepted
    last = {sent[event_id][0]: sent[event_id][1] for event_id in accepted}
    values = {name: limits(firm, account)[name] for name in last["limits"]}
    assert {"action": action(firm, account), "limits": values} == last
    never_together(firm.stage)


async def test_one_bad_account_and_a_small_limit_of_items_spoil_no_change(stage: Stages) -> None:
    """A batch that is refused as a whole is split, whatever refuses it; the outcome of the bad one says so."""
    firm = Firm(await stage())
    firm.switch(auto_liqs_max_items=7, unknown_auto_liq="404", risk_rows="when_set")
    changed = {"postTradeRisk": {"dailyLossAutoLiq": 900}}
    ids = [await firm.send("risk.changed", accountId=account, **changed) for _, account, _ in firm.seed(20)]
    wrong = await firm.send("risk.changed", accountId=999_999, **changed)
    unknown = await firm.send("account.locked", accountId=999_999, action="lock", **WHY)
    await firm.stage.replica()
    outcomes = await asyncio.gather(*(firm.ended(each) for each in ids))
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    for event_id in (wrong, unknown):
        assert (await firm.ended(event_id))["errorCode"] == "not_found"


async def test_what_is_shown_late_or_in_another_word_is_set_once(stage: Stages) -> None:
    """A liquidation may be read as a lock, and seconds after it was answered; by order it waits for the account."""
    firm = Firm(await stage())
    firm.switch(risk_shown_after=1.5, liquidate_shown="LockTradingImmediately")
    await firm.stage.replica()
    early = await firm.send("account.locked", orderId="100001", action="liquidate", **WHY)
    await eventually(lambda: firm.stage.steps("state = 'waiting'"))
    await firm.stage.buy(purchase(1))
    outcome = await firm.ended(early)
    (bought,) = await firm.stage.all_ended()
    assert (outcome["status"], outcome["warnings"], outcome["attempts"]) == ("succeeded", [], 1)
    assert (outcome["accountId"], outcome["traderId"]) == (bought["accountId"], "cust-1")
    assert firm.stage.effects["admin_actions"] == {f"{bought['accountId']}:LiquidateImmediately": 1}


async def _ten_seconds_pass(firm: Firm) -> None:
    """For all events of accounts that are under way."""
    await firm.stage.rows(
        "update flow set created_at = created_at - interval '10 s', asked_at = asked_at - interval '10 s'"
    )
    await firm.stage.rows("update account_turn set begun_at = begun_at - interval '10 s'")
    await firm.stage.rows("update step set due = now() where state = 'waiting'")


async def test_a_lock_waits_for_nothing_that_is_stuck(stage: Stages) -> None:
    """A change of limits that fails goes on and is done later; an unlock without a result ends, and is never sent."""
    firm = Firm(await stage())
    ((_, account, _),) = firm.seed()
    await firm.stage.replica()
    await firm.outcome("account.locked", accountId=account, action="lock", **WHY)
    firm.stage.fault("status_before", UPDATE, status=500)
    firm.stage.fault("status_before", SET, status=500, contains="Normal")
    stuck = await firm.send("risk.changed", accountId=account, postTradeRisk={"dailyLossAutoLiq": 900})
    await eventually(lambda: firm.stage.steps("operation = 'updateUserAutoLiqs' and attempts > 0"))
    unlock = await firm.send("account.unlocked", accountId=account, **WHY)
    await eventually(lambda: firm.stage.steps("operation = 'plan' and state = 'waiting'"))
    await _ten_seconds_pass(firm)
    await eventually(lambda: firm.stage.steps("operation = 'setAdminAutoLiqAction@unlock' and attempts > 0"))
    lock = await firm.send("account.locked", accountId=account, action="close_only", **WHY)
    await eventually(lambda: firm.stage.steps("operation = 'plan' and state = 'waiting'"))
    await _ten_seconds_pass(firm)
    assert (await firm.ended(lock))["status"] == "succeeded"
    given_way = await firm.ended(unlock)
    assert (given_way["status"], given_way["errorCode"]) == ("failed", "cancelled")
    firm.stage.partner.sandbox.core.faults.clear(None)
    await firm.stage.rows("update step set due = now() where lease is null and ended_at is null")
    assert (await firm.ended(stuck))["status"] == "succeeded"
    assert action(firm, account) == "LiquidateOnlyModeImmediately"
    assert limits(firm, account) == {"dailyLossAutoLiq": 900}
    assert f"{account}:Normal" not in firm.stage.effects["admin_actions"]
    never_together(firm.stage)


async def test_limits_that_were_read_long_ago_are_read_again_before_they_are_sent(stage: Stages) -> None:
    """What somebody changed in the dashboard while the call was held back is not set back."""
    firm = Firm(await stage())
    firm.switch(risk_update="replace")
    ((_, account, _),) = firm.seed()
    await firm.stage.rows("insert into hold (scope, reason) values ('endpoint:updateUserAutoLiqs', 'a test')")
    await firm.stage.replica()
    changed = await firm.send("risk.changed", accountId=account, postTradeRisk={"dailyLossAutoLiq": 900})
    await eventually(lambda: firm.stage.steps("operation = 'updateUserAutoLiqs' and state = 'due'"))
    firm.stage.partner.sandbox.core.world.auto_liqs.rows[account]["trailingMaxDrawdown"] = 2500
    old = "created_at - interval '5 minutes'"
    await firm.stage.rows(f"update step set created_at = {old} where operation = 'updateUserAutoLiqs'")  # noqa: S608
    await firm.stage.rows(
        "update flow set facts = jsonb_set(facts, '{reading,at}', to_jsonb(now() - interval '5 minutes'))"
    )
    await firm.stage.rows("update hold set cleared_at = now()")
    assert (await firm.ended(changed))["status"] == "succeeded"
    assert limits(firm, account) == {"dailyLossAutoLiq": 900, "trailingMaxDrawdown": 2500}
