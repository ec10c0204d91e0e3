"""A trader who leaves is given nothing more: whatever was asked for before, whenever it takes effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

import pytest

from schemas.events import TraderPurchased
from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.oracle import never_together, nothing_stuck
from tests.support.spine import Stages
from tests.support.stage import Here
from tests.support.waiting import eventually, let_time_pass
from worker.engine.states import StepState
from worker.ledger import holds
from worker.ledger.budget import Closed
from worker.ledger.claims import CallKind
from worker.ledger.operator_actions import OperatorActions
from worker.ledger.rows import Batch, Lane
from worker.partner.operations import OPERATIONS
from worker.sandbox import SandboxConfig

CANCEL = "/user/cancelEverything"
ACCOUNTS = "/user/createEvaluationAccounts"
PERMISSION = "/user/createTradingPermission"
ADD = "/userPlugin/addEntitlementSubscription"
NOW = datetime.now(UTC)
BARE = SandboxConfig(permission_with_account=False)


async def paused(here: Here, operation: str) -> None:
    async with here.replica.database.transaction() as connection:
        await holds.pause(connection, operation, "a test")


async def resumed(here: Here, operation: str) -> None:
    async with here.replica.database.transaction() as connection:
        await holds.resume(connection, operation)


def active(firm: Firm, user_id: int) -> list[int]:
    """The permissions that let the user trade."""
    rows = firm.stage.partner.sandbox.core.world.permissions.rows
    return [each for each, row in rows.items() if row["userId"] == user_id and row["status"] not in GONE]


GONE = ("Revoked", "Declined")


async def due(firm: Firm, operation: str) -> None:
    """Waits until a step of the operation waits to be sent."""
    await eventually(lambda: firm.stage.steps(f"operation = '{operation}' and state in ('due', 'unknown')"), 20)


async def test_an_account_without_a_permission_gets_none_by_its_own_purchase(stage: Stages) -> None:
    """A purchase whose permission was still to be created when its trader left ends as cancelled, with its account."""
    firm = Firm(await stage(BARE))
    here = await firm.stage.replica()
    await paused(here, "createTradingPermission")
    await firm.stage.buy(purchase(1))
    await due(firm, "createTradingPermission")
    left = await firm.outcome("trader.left", traderId="cust-1", immediate=True)
    assert left["status"] == "succeeded"
    await resumed(here, "createTradingPermission")
    bought = await firm.stage.outcome("e-1")
    assert (bought["status"], bought["errorCode"]) == ("failed", "cancelled")
    assert bought["accountId"] is not None
    assert active(firm, left["userId"]) == []
    assert firm.stage.count(PERMISSION) == 0
    await nothing_stuck(firm.stage)


@pytest.mark.parametrize("topic", ["account.assigned", "permission.requested"])
async def test_an_account_gets_no_permission_by_an_event_of_before(stage: Stages, topic: str) -> None:
    """An assignment, or a request, that was not sent yet when the trader left ends as cancelled."""
    firm = Firm(await stage(BARE))
    here = await firm.stage.replica()
    await firm.stage.buy(purchase(1))
    (bought,) = await firm.stage.all_ended()
    operation = {"account.assigned": "createTradingPermission", "permission.requested": "requestTradingPermission"}
    await paused(here, operation[topic])
    account, user = bought["accountId"], bought["userId"]
    body = {
        "account.assigned": {"accountId": account, "userId": user},
        "permission.requested": {"accountId": account, "ctaContact": "C", "ctaEmail": "mail1x@example.com"},
    }
    event = await firm.send(topic, **body[topic])
    await due(firm, operation[topic])
    left = await firm.outcome("trader.left", userId=user, immediate=True)
    assert left["status"] == "succeeded"
    await resumed(here, operation[topic])
    outcome = await firm.ended(event)
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "cancelled")
    assert active(firm, user) == []
    # What is asked for when the departure has ended is done again.
    again = await firm.outcome(topic, **body[topic])
    assert again["status"] == "succeeded"
    assert active(firm, user) == [again["tradingPermissionId"]]


async def test_a_user_of_whom_the_ledger_knows_nothing_else(stage: Stages) -> None:
    """Departure and assignment that name nothing but a user heed each other too."""
    firm = Firm(await stage())
    here = await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    ((_, account, _),) = firm.seed(permission=None)
    await paused(here, "createTradingPermission")
    event = await firm.send("account.assigned", accountId=account, userId=user)
    await due(firm, "createTradingPermission")
    assert (await firm.outcome("trader.left", userId=user, immediate=True))["status"] == "succeeded"
    await resumed(here, "createTradingPermission")
    assert (await firm.ended(event))["errorCode"] == "cancelled"
    assert active(firm, user) == []


def late(firm: Firm, path: str) -> None:
    """The next call of `path` has no answer, and takes effect after everything has been cancelled."""
    firm.stage.fault("late", path, seconds=3.0, answer="cut", times=1)


@pytest.mark.parametrize("bare", [False, True])
async def test_an_account_that_appears_late_is_cancelled_too(stage: Stages, bare: bool) -> None:
    """A creation that takes effect after the cancellation is seen: the departure cancels again before it ends."""
    firm = Firm(await stage(SandboxConfig(permission_with_account=not bare), TRADOVATE_SETTLE_SECONDS="5"))
    await firm.stage.replica()
    late(firm, ACCOUNTS)
    await firm.stage.buy(purchase(1))
    await eventually(lambda: firm.stage.steps("operation = 'createEvaluationAccounts' and state = 'unknown'"))
    left = await firm.send("trader.left", traderId="cust-1", immediate=True)
    await eventually(lambda: firm.stage.count(CANCEL) == 2)
    assert firm.stage.effects["accounts_by_name"] == {}
    assert (await firm.ended(left, 40))["status"] == "succeeded"
    bought = await firm.stage.outcome("e-1")
    assert firm.stage.effects["accounts_by_name"] == {"EVAL100001": 1}
    assert active(firm, bought["userId"]) == []
    assert firm.stage.count(CANCEL) == (2 if bare else 3)
    assert bought["status"] == ("failed" if bare else "succeeded")
    never_together(firm.stage)


async def test_an_assignment_that_appears_late_is_cancelled_too(stage: Stages) -> None:
    """The same for a trading permission whose creation had no answer."""
    firm = Firm(await stage(TRADOVATE_SETTLE_SECONDS="5"))
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    ((_, account, _),) = firm.seed(permission=None)
    late(firm, PERMISSION)
    await firm.send("account.assigned", accountId=account, userId=user)
    await eventually(lambda: firm.stage.steps("operation = 'createTradingPermission' and attempts = 1"), 20)
    await eventually(lambda: firm.stage.steps("operation = 'createTradingPermission' and state = 'unknown'"), 20)
    left = await firm.outcome("trader.left", userId=user, immediate=True, timeout=40)
    assert left["status"] == "succeeded"
    assert firm.stage.effects["permissions"] == {f"{account}:{user}": 1}
    assert active(firm, user) == []


async def test_what_a_frozen_replica_was_about_to_send(stage: Stages) -> None:
    """A replica that freezes between claim and call sends nothing when it wakes after its trader has left."""
    firm = Firm(await stage(BARE))
    on = firm.stage
    here = await on.replica()
    await paused(here, "createTradingPermission")
    await on.buy(purchase(1))
    await due(firm, "createTradingPermission")
    frozen, operation = here.replica.dispatcher, OPERATIONS["createTradingPermission"]
    token = await here.replica.session.ensure()
    kind = CallKind(
        operation.name, operation.domain, operation.limits.rank, operation.batching.most, reserve=False, per_hour=None
    )
    lane = Lane(operation.name, StepState.DUE, None, 1, NOW, NOW)
    await here.stop()
    async with here.replica.database.transaction() as connection:
        await holds.resume(connection, "createTradingPermission")
    (batch,) = await claimed(frozen.claims.sends(kind, lane, 1, token.generation))
    await on.replica()
    left = await firm.outcome("trader.left", traderId="cust-1", immediate=True, timeout=40)
    assert left["status"] == "succeeded"
    bought = await on.outcome("e-1")
    await frozen.caller.send(operation, batch, token)
    await here.replica.database.close()
    assert bought["errorCode"] == "cancelled"
    assert active(firm, left["userId"]) == []
    assert on.count(PERMISSION) == 0


async def claimed(claim: Awaitable[Sequence[Batch] | Closed]) -> Sequence[Batch]:
    batches = await claim
    assert not isinstance(batches, Closed)
    return batches


async def test_two_replicas_and_every_moment(stage: Stages) -> None:
    """Twenty traders leave while their purchases are being made, each a moment later than the other: nobody is in."""
    firm = Firm(await stage(SandboxConfig(permission_with_account=False, partner_ms=30), TRADOVATE_SETTLE_SECONDS="1"))
    on = firm.stage
    await asyncio.gather(on.replica(), on.replica())
    on.fault("late", ACCOUNTS, seconds=0.5, answer="504", probability=0.5, seed=3)
    on.fault("cut_after", PERMISSION, probability=0.5, seed=4)

    async def leave(number: int) -> dict[str, object]:
        await on.buy(purchase(number))
        await let_time_pass(number * 0.06)
        return await firm.outcome("trader.left", traderId=f"cust-{number}", immediate=True, timeout=60)

    left = await asyncio.gather(*(leave(number) for number in range(20)))
    bought = await on.all_ended()
    assert {outcome["status"] for outcome in left} == {"succeeded"}
    assert {outcome["errorCode"] for outcome in bought} <= {None, "cancelled"}
    assert [active(firm, outcome["userId"]) for outcome in bought if outcome["userId"]] == [[]] * 20
    assert on.effects["twice"] == {}
    never_together(on)
    await nothing_stuck(on)


async def test_a_signature_of_before_brings_nothing_any_more(stage: Stages) -> None:
    """An md.signed that waits for its agreement when the user leaves ends as cancelled, and no entitlement is added."""
    firm = Firm(await stage(RETRY_BASE_SECONDS="2", RETRY_CAP_SECONDS="2"))
    await firm.stage.replica()
    await firm.stage.buy(purchase(1, contact=True))
    (bought,) = await firm.stage.all_ended()
    event = await firm.send("md.signed", userId=bought["userId"])
    await eventually(lambda: firm.stage.count(ADD))
    assert (await firm.outcome("trader.left", traderId="cust-1", immediate=True))["status"] == "succeeded"
    firm.sign(bought["userId"])
    assert (await firm.ended(event, 60))["errorCode"] == "cancelled"
    assert firm.stage.effects["entitlements"] == {}


async def test_a_trader_who_comes_back_waits_for_the_departure(stage: Stages) -> None:
    """A purchase that came after the departure is made when that has ended, and keeps its permission."""
    firm = Firm(await stage())
    on = firm.stage
    here = await on.replica()
    await on.buy(purchase(1))
    (bought,) = await on.all_ended()
    await paused(here, "cancelEverything")
    left = await firm.send("trader.left", traderId="cust-1", immediate=True)
    await due(firm, "cancelEverything")
    await on.buy(purchase(2, trader=1))
    await eventually(lambda: on.steps("state = 'waiting' and waits_for is not null"))
    assert on.count(ACCOUNTS) == 1
    await resumed(here, "cancelEverything")
    assert (await firm.ended(left))["status"] == "succeeded"
    back = await on.outcome("e-2")
    assert back["status"] == "succeeded"
    assert active(firm, bought["userId"]) == [back["tradingPermissionId"]]


async def test_a_departure_that_overtakes_its_traders_purchase(stage: Stages) -> None:
    """It waits until the trader is seen, and then ends what that purchase has made."""
    firm = Firm(await stage(BARE))
    await firm.stage.replica()
    left = await firm.send("trader.left", traderId="cust-1", immediate=True)
    await eventually(lambda: firm.stage.steps("state = 'waiting' and waits_for is not null"))
    await firm.stage.buy(purchase(1))
    outcome = await firm.ended(left)
    bought = await firm.stage.outcome("e-1")
    assert outcome["status"] == "succeeded"
    assert bought["status"] == "succeeded"
    assert active(firm, bought["userId"]) == []


async def test_a_retry_of_what_a_departure_stopped(stage: Stages) -> None:
    """An operator's retry asks again: it is done when the departure has ended."""
    firm = Firm(await stage(BARE))
    here = await firm.stage.replica()
    await paused(here, "createTradingPermission")
    await firm.stage.buy(purchase(1))
    await due(firm, "createTradingPermission")
    await firm.outcome("trader.left", traderId="cust-1", immediate=True)
    await resumed(here, "createTradingPermission")
    bought = await firm.stage.outcome("e-1")
    ((flow_id,),) = await firm.stage.rows("select id from flow where event_id = 'e-1'")
    operator = OperatorActions(here.replica.ledger, lambda name: OPERATIONS[name].recovery.look_up is not None)
    await operator.retry(flow_id, TraderPurchased.model_validate(purchase(1)), "they stay", "test")
    await eventually(lambda: len(firm.stage.wire.outcomes_of("e-1")) == 2, 20)
    again = firm.stage.wire.outcomes_of("e-1")[-1]
    assert (again["status"], again["accountId"]) == ("succeeded", bought["accountId"])
    assert active(firm, bought["userId"]) == [again["tradingPermissionId"]]
