"""An account's risk at the simulated partner: its limits, and what an administrator did to it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.contract.test_sandbox_desk import Desk, desk_with, logged_in

desk = logged_in

STATUS, LIMITS = "demo/accountRiskStatus", "demo/userAccountAutoLiq"


async def test_each_account_has_its_limits_and_its_status_under_its_own_id(desk: Desk) -> None:
    """What was ordered with an account is read by its id, by its master and in bulk; LIVE knows of none."""
    user_id = await desk.new_user()
    first = (await desk.new_account(user_id, postTradeRisk={"dailyLossAutoLiq": 1000.0}))["accountId"]
    second = (await desk.new_account(user_id))["accountId"]
    limits = {"id": first, "dailyLossAutoLiq": 1000.0}
    assert await desk.call(f"{LIMITS}/item?id={first}") == limits
    assert await desk.call(f"{LIMITS}/ldeps?masterids={first},{second}") == [limits, {"id": second}]
    [status] = await desk.call(f"{STATUS}/deps?masterid={first}")
    assert (status["id"], status["adminAction"], status["autoLiqCounter"]) == (first, "Normal", 0)
    assert [row["id"] for row in await desk.call(f"{STATUS}/items?ids={second},{first}")] == [second, first]
    assert await desk.call(f"live/accountRiskStatus/deps?masterid={first}") == []


async def test_rows_may_be_missing_until_something_is_set() -> None:
    """With `risk_rows` `when_set`, an account without limits has no row."""
    desk = await desk_with(risk_rows="when_set")
    user_id = await desk.new_user()
    bare = (await desk.new_account(user_id))["accountId"]
    limited = (await desk.new_account(user_id, postTradeRisk={"doNotUnlock": True}))["accountId"]
    assert await desk.call(f"{LIMITS}/ldeps?masterids={bare},{limited}") == [{"id": limited, "doNotUnlock": True}]
    assert await desk.call(f"{STATUS}/deps?masterid={bare}") == []


async def test_without_the_permission_nothing_of_it_is_read() -> None:
    """A key without the class Risks is answered 401, by everything of it and by nothing else."""
    desk = await desk_with(risks_permission="Denied")
    account_id = (await desk.new_account(await desk.new_user()))["accountId"]
    assert (await desk.send(f"{STATUS}/item?id={account_id}")).status_code == 401
    assert (await desk.send(f"demo/account/item?id={account_id}")).status_code == 200


SET, UPDATE = f"{STATUS}/setAdminAutoLiqAction", f"{LIMITS}/updateUserAutoLiqs"
OTHER = {"adminActionReasonCode": "Other", "adminActionReason": "rules"}


async def _account(desk: Desk, **risk: Any) -> int:
    made = await desk.new_account(await desk.new_user(), postTradeRisk=risk)
    return int(made["accountId"])


@pytest.mark.parametrize("way", ["merge", "replace"])
async def test_a_change_of_limits_merges_or_replaces(way: str) -> None:
    """Limits that a change leaves out stay, or are gone; each change is counted."""
    desk = await desk_with(risk_update=way)
    account = await _account(desk, dailyLossAutoLiq=1000, trailingMaxDrawdown=2500)
    made = await desk.call(UPDATE, items=[{"accountId": account, "dailyLossAutoLiq": 900}])
    now = {"id": account, "dailyLossAutoLiq": 900}
    now |= {"trailingMaxDrawdown": 2500} if way == "merge" else {}
    assert made == {"userAutoLiqs": [{"userAccountAutoLiq": now}]}
    assert await desk.call(f"{LIMITS}/item?id={account}") == now
    assert (await desk.effects())["risk_changes"] == {str(account): 1}


@pytest.mark.parametrize(("form", "status"), [("error_text", 200), ("404", 404), ("401", 401)])
async def test_one_unknown_account_or_one_too_many_refuses_all_changes(form: str, status: int) -> None:
    """Nothing is changed for any account of the call."""
    desk = await desk_with(unknown_auto_liq=form, auto_liqs_max_items=2)
    account = await _account(desk)
    items = [{"accountId": account, "dailyLossAutoLiq": 900}, {"accountId": 7, "dailyLossAutoLiq": 900}]
    assert (await desk.send(UPDATE, orjson.dumps({"items": items}))).status_code == status
    assert (await desk.call(UPDATE, items=[items[0]] * 3))["errorText"]
    assert (await desk.effects())["risk_changes"] == {}


async def test_an_administrator_locks_and_unlocks_an_account(desk: Desk) -> None:
    """The action stands until the next one; the reason is needed; an unknown account is 404."""
    account = await _account(desk)
    locked = await desk.call(SET, accountId=account, adminAction="LockTradingImmediately", **OTHER)
    assert locked["accountRiskStatus"]["adminAction"] == "LockTradingImmediately"
    await desk.call(SET, accountId=account, adminAction="Normal", **OTHER)
    assert (await desk.call(f"{STATUS}/item?id={account}"))["adminAction"] == "Normal"
    refused = await desk.call(SET, accountId=account, adminAction="Off", adminActionReasonCode="Other")
    assert [each["description"] for each in refused["violations"]] == [
        "Admin Action should be between Normal and LiquidateImmediately",
        "Admin Action Reason should be specified",
    ]
    body = orjson.dumps({"accountId": 7, "adminAction": "Normal", **OTHER})
    assert (await desk.send(SET, body)).status_code == 404
    assert (
        "demo" in (await desk.call(SET.replace("demo/", "live/"), accountId=account, adminAction="Normal"))["errorText"]
    )
    counts = {f"{account}:LockTradingImmediately": 1, f"{account}:Normal": 1}
    assert (await desk.effects())["admin_actions"] == counts


async def test_what_is_read_of_an_action_may_differ_and_come_late() -> None:
    """A liquidation may be shown as the lock that came of it, and seconds after it was answered."""
    desk = await desk_with(liquidate_shown="LockTradingImmediately", risk_shown_after=5)
    account = await _account(desk)
    await desk.call(SET, accountId=account, adminAction="LiquidateImmediately", **OTHER)
    assert (await desk.call(f"{STATUS}/item?id={account}"))["adminAction"] == "Normal"
    desk.clock.go(5)
    assert (await desk.call(f"{STATUS}/item?id={account}"))["adminAction"] == "LockTradingImmediately"
    assert (await desk.effects())["admin_actions"] == {f"{account}:LiquidateImmediately": 1}


async def test_a_key_that_may_only_read_risks_changes_nothing() -> None:
    """With `risks_permission` `Read`, what changes something is 401."""
    desk = await desk_with(risks_permission="Read")
    account = await _account(desk)
    body = orjson.dumps({"accountId": account, "adminAction": "Normal", **OTHER})
    assert (await desk.send(SET, body)).status_code == 401
    assert (await desk.send(f"{STATUS}/item?id={account}")).status_code == 200
