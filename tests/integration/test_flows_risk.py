"""`risk.changed`, `account.locked` and `account.unlocked` from Kafka to the partner and back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.oracle import never_together
from tests.support.spine import Stages

UPDATE = "/userAccountAutoLiq/updateUserAutoLiqs"
SET = "/accountRiskStatus/setAdminAutoLiqAction"
WHY = {"reason": "a test"}


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


async def test_events_of_one_account_are_executed_in_the_order_of_their_acceptance(stage: Stages) -> None:
    """By two replicas, whether an event names the account or its order, with calls that fail in between."""
    firm = Firm(await stage())
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
