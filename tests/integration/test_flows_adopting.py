"""An order that has failed is bought again: what the first event left behind is adopted, and nothing is made twice.

The partner of these tests takes two accounts of one name, so that a second one would be created without a word.
"""

from __future__ import annotations

from typing import Any

import pytest

from schemas.events import TraderPurchased
from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.oracle import never_together
from tests.support.spine import Stages
from tests.support.stage import Here
from tests.support.waiting import eventually
from worker.ledger import holds
from worker.ledger.operator_actions import OperatorActions
from worker.partner.operations import OPERATIONS
from worker.sandbox import SandboxConfig

ACCOUNTS = "/user/createEvaluationAccounts"
PERMISSION = "/user/createTradingPermission"
LOOSE = SandboxConfig(account_names_unique=False)
BARE = SandboxConfig(account_names_unique=False, permission_with_account=False)


async def paused(here: Here, operation: str) -> None:
    async with here.replica.database.transaction() as connection:
        await holds.pause(connection, operation, "a test")


async def resumed(here: Here, operation: str) -> None:
    async with here.replica.database.transaction() as connection:
        await holds.resume(connection, operation)


def operator(here: Here) -> OperatorActions:
    return OperatorActions(here.replica.ledger, lambda name: OPERATIONS[name].recovery.look_up is not None)


async def cancelled(firm: Firm, here: Here, event_id: str, operation: str) -> None:
    """Cancels a flow when its step of `operation` waits to be sent."""
    await eventually(lambda: firm.stage.steps(f"operation = '{operation}' and state = 'due' and lease is null"))
    ((flow_id,),) = await firm.stage.rows("select id from flow where event_id = $1", event_id)
    await operator(here).cancel(flow_id, "not wanted", "test")


async def left_behind(firm: Firm, here: Here, event: dict[str, Any]) -> dict[str, Any]:
    """Buys, and cancels at the step of the contact data: the outcome, with all ids."""
    await paused(here, "updateContactInfo")
    await firm.stage.buy(event)
    await cancelled(firm, here, event["eventId"], "updateContactInfo")
    await resumed(here, "updateContactInfo")
    outcome = await firm.stage.outcome(event)
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "cancelled")
    return outcome


def once(firm: Firm) -> None:
    effects = firm.stage.effects
    assert effects["twice"] == {}
    assert list(effects["accounts_by_name"].values()) == [1]
    assert len(effects["permissions"]) <= 1


@pytest.mark.parametrize("name", [None, "SPECIAL7"])
@pytest.mark.parametrize("again", ["same details", "other terms"])
async def test_a_purchase_that_was_cancelled_at_its_last_step(stage: Stages, name: str | None, again: str) -> None:
    """The next event of the order has the same ids, also where the event names the account; other terms are a warning,
    for the account keeps those that it was created with.
    """
    firm = Firm(await stage(LOOSE))
    here = await firm.stage.replica()
    first = purchase(1, contact=True)
    first["account"] |= {"name": name} if name else {}
    left = await left_behind(firm, here, first)
    second = {**first, "eventId": "e-2"}
    if again == "other terms":
        second["account"] = {**first["account"], "initialBalance": 100_000, "name": "OTHER8"}
    await firm.stage.buy(second)
    outcome = await firm.stage.outcome(second)
    ids = ("userId", "accountId", "accountName", "tradingPermissionId")
    assert outcome["status"] == "succeeded"
    assert [outcome[each] for each in ids] == [left[each] for each in ids]
    assert ["other details" in each for each in outcome["warnings"]] == [True] * (again == "other terms")
    once(firm)
    never_together(firm.stage)


@pytest.mark.parametrize("name", [None, "SPECIAL7"])
async def test_a_purchase_whose_permission_was_rejected(stage: Stages, name: str | None) -> None:
    """The next event of the order gets the permission, on the account that is there."""
    firm = Firm(await stage(BARE))
    await firm.stage.replica()
    firm.stage.fault("error_text", PERMISSION, body="Not now", times=1)
    first = purchase(1)
    first["account"] |= {"name": name} if name else {}
    await firm.stage.buy(first)
    left = await firm.stage.outcome(first)
    assert (left["errorCode"], left["tradingPermissionId"]) == ("rejected", None)
    second = {**first, "eventId": "e-2"}
    await firm.stage.buy(second)
    outcome = await firm.stage.outcome(second)
    assert (outcome["status"], outcome["accountId"]) == ("succeeded", left["accountId"])
    assert firm.permission(outcome["tradingPermissionId"])["accountId"] == left["accountId"]
    once(firm)


async def test_a_third_event_finds_what_the_first_one_left(stage: Stages) -> None:
    """An event in between that fails before it could adopt anything loses nothing."""
    firm = Firm(await stage(LOOSE))
    here = await firm.stage.replica()
    left = await left_behind(firm, here, purchase(1, contact=True))
    between = purchase(1, contact=True, eventId="e-2")
    between["contactInfo"]["country"] = "CU"
    await firm.stage.buy(between)
    assert (await firm.stage.outcome(between))["errorCode"] == "restricted_country"
    third = purchase(1, eventId="e-3")
    await firm.stage.buy(third)
    assert (await firm.stage.outcome(third))["accountId"] == left["accountId"]
    once(firm)


async def test_an_account_of_another_trader_is_never_given_away(stage: Stages) -> None:
    """When another trader buys the order, the first one's account stays theirs; it is found when they buy it again, and
    a failure of the other trader revokes nothing of theirs.
    """
    firm = Firm(await stage(LOOSE))
    here = await firm.stage.replica()
    left = await left_behind(firm, here, purchase(1, contact=True))
    other = purchase(1, trader=2, eventId="e-2")
    await firm.stage.buy(other)
    outcome = await firm.stage.outcome(other)
    assert (outcome["errorCode"], outcome["accountId"]) == ("conflict", None)
    failed = await firm.outcome("trader.failed", traderId="cust-2", orderId=other["orderId"])
    assert failed["tradingPermissionIds"] == []
    assert firm.permission(left["tradingPermissionId"])["status"] == "Approved"
    back = purchase(1, eventId="e-3")
    await firm.stage.buy(back)
    assert (await firm.stage.outcome(back))["accountId"] == left["accountId"]
    once(firm)


async def test_an_account_on_which_nobody_has_a_permission_goes_to_the_next_trader(stage: Stages) -> None:
    """It is this order's, and nobody has traded on it; a retry of the first event is then a conflict."""
    firm = Firm(await stage(BARE))
    here = await firm.stage.replica()
    firm.stage.fault("error_text", PERMISSION, body="Not now", times=1)
    first = purchase(1)
    await firm.stage.buy(first)
    left = await firm.stage.outcome(first)
    other = purchase(1, trader=2, eventId="e-2", contact=True)
    second = await left_behind(firm, here, other)
    assert (second["accountId"], second["traderId"]) == (left["accountId"], "cust-2")
    assert firm.permission(second["tradingPermissionId"])["userId"] == second["userId"]
    ((flow_id,),) = await firm.stage.rows("select id from flow where event_id = 'e-1'")
    await operator(here).retry(flow_id, TraderPurchased.model_validate(first), "again", "test")
    await eventually(lambda: len(firm.stage.wire.outcomes_of("e-1")) == 2, 20)
    assert firm.stage.wire.outcomes_of("e-1")[-1]["errorCode"] == "conflict"
    once(firm)


async def test_a_revoked_permission_stays_revoked(stage: Stages) -> None:
    """A trader who failed in between is not let in again by the next event: the outcome says so in a warning."""
    firm = Firm(await stage(LOOSE))
    here = await firm.stage.replica()
    left = await left_behind(firm, here, purchase(1, contact=True))
    await firm.outcome("trader.failed", traderId="cust-1", orderId=left["orderId"])
    second = purchase(1, eventId="e-2")
    await firm.stage.buy(second)
    outcome = await firm.stage.outcome(second)
    assert (outcome["status"], outcome["tradingPermissionId"]) == ("succeeded", left["tradingPermissionId"])
    assert "is Revoked" in outcome["warnings"][0]
    assert firm.permission(left["tradingPermissionId"])["status"] == "Revoked"
    once(firm)


@pytest.mark.parametrize("operation", ["createEvaluationUsers", "createEvaluationAccounts"])
async def test_a_purchase_that_was_cancelled_before_a_step(stage: Stages, operation: str) -> None:
    """The next event of the order starts where the first one ended, and makes what is missing once."""
    firm = Firm(await stage(LOOSE))
    here = await firm.stage.replica()
    await paused(here, operation)
    await firm.stage.buy(purchase(1))
    await cancelled(firm, here, "e-1", operation)
    await firm.stage.outcome("e-1")
    await resumed(here, operation)
    second = purchase(1, eventId="e-2")
    await firm.stage.buy(second)
    assert (await firm.stage.outcome(second))["status"] == "succeeded"
    once(firm)


async def test_an_effect_that_comes_after_the_order_has_failed_is_found(stage: Stages) -> None:
    """A creation that took effect after it had been given up is adopted by the next event."""
    firm = Firm(await stage(LOOSE, RETRY_FOR_SECONDS="1", UNKNOWN_WAIT_SECONDS="1"))
    await firm.stage.replica()
    firm.stage.fault("late", ACCOUNTS, seconds=4, answer="cut", times=1)
    firm.stage.fault("cut_before", ACCOUNTS)
    await firm.stage.buy(purchase(1))
    assert (await firm.stage.outcome("e-1"))["errorCode"] == "gave_up"
    await eventually(lambda: firm.stage.effects["accounts_by_name"])
    firm.stage.partner.sandbox.core.faults.clear()
    second = purchase(1, eventId="e-2")
    await firm.stage.buy(second)
    assert (await firm.stage.outcome(second))["status"] == "succeeded"
    once(firm)
