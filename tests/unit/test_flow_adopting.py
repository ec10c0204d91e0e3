"""What a purchase finds at Tradovate: when it is taken for its own, and when it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from schemas.outcomes import Outcome, Status
from tests.support.small_world import Fate, SmallWorld, Step
from tests.support.views import RULES
from worker.engine.states import StepState
from worker.sandbox import SandboxConfig

ACCOUNTS, PERMISSION = "createEvaluationAccounts", "createTradingPermission"
BARE = SandboxConfig(account_names_unique=False, permission_with_account=False)
"""Accounts come without permissions, and a second account of one name is created."""


def buy(world: SmallWorld, order: str, **account: Any) -> None:
    user = {"name": "ann", "email": "ann@example.com", "firstName": "F", "lastName": "L"}
    given = {"templateAccountId": 11, "initialBalance": 50_000, **account}
    world.accept("trader.purchased", orderId=order, traderId="ann", user=user, account=given)


def step_of(world: SmallWorld, operation: str) -> Step:
    """Works until a step of this operation waits to be sent."""
    while True:
        step = world.open_steps()[0]
        if step.operation == operation and step.state is StepState.DUE:
            return step
        world.work(step)


def finished(world: SmallWorld) -> Outcome:
    """Works until nothing is left: the last outcome."""
    while steps := world.open_steps():
        world.work(steps[0])
    return world.outcomes[-1]


def accounts(world: SmallWorld, name: str) -> Sequence[Mapping[str, Any]]:
    return world.sandbox.core.world.accounts.named(name)


def test_an_account_of_a_given_name_whose_answer_was_lost_is_adopted() -> None:
    """The name was free before the call, so that the account is the call's: no second one is created."""
    world = SmallWorld(BARE, RULES)
    buy(world, "100", name="GIVEN1")
    world.work(step_of(world, ACCOUNTS), Fate.LOST_AFTER)
    outcome = finished(world)
    (account,) = accounts(world, "GIVEN1")
    assert (outcome.status, outcome.account_id) == ("succeeded", account["id"])


def test_an_account_of_a_given_name_that_was_there_before_is_not_adopted() -> None:
    """Nobody has a permission on it, and it is not this order's: a conflict, and nothing is created."""
    world = SmallWorld(BARE, RULES)
    there = world.sandbox.core.world.add_account("GIVEN1", 50_000, 0.0)
    buy(world, "100", name="GIVEN1")
    outcome = finished(world)
    assert (outcome.status, outcome.error_code) == ("failed", "conflict")
    assert accounts(world, "GIVEN1") == [there]
    assert world.sandbox.core.world.permissions_on(there["id"]) == []


@pytest.mark.parametrize("bare", [True, False])
def test_an_account_of_another_order_of_the_trader_is_not_adopted(bare: bool) -> None:
    """Two orders with one account name: the first one has the account, the second one is a conflict."""
    world = SmallWorld(SandboxConfig(account_names_unique=False, permission_with_account=not bare), RULES)
    buy(world, "100", name="GIVEN1")
    first = finished(world)
    buy(world, "200", name="GIVEN1")
    second = finished(world)
    assert (first.status, second.status, second.error_code) == ("succeeded", "failed", "conflict")
    assert [each["id"] for each in accounts(world, "GIVEN1")] == [first.account_id]


def test_a_purchase_whose_account_was_just_found_cannot_be_cancelled() -> None:
    """The order would forget its account, and its next event, which gives another name, would create a second one."""
    world = SmallWorld(SandboxConfig(account_names_unique=False), RULES)
    buy(world, "100")
    world.work(step_of(world, ACCOUNTS), Fate.LOST_AFTER)
    world.work(world.open_steps()[0])  # the look-up
    assert not world.cancel(world.open_steps()[0])
    first = finished(world)
    buy(world, "100", name="GIVEN1")
    finished(world)
    assert [
        each["id"] for each in world.sandbox.core.world.accounts.rows.values() if each["name"] in ("EVAL100", "GIVEN1")
    ] == [first.account_id]


def test_a_purchase_in_doubt_that_is_retried_cannot_be_cancelled_before_it_is_looked_up() -> None:
    """Its order would end as if nothing had been created, and its next event would create a second account."""
    world = SmallWorld(SandboxConfig(account_names_unique=False), RULES)
    buy(world, "100")
    step = step_of(world, ACCOUNTS)
    world.work(step, Fate.LOST_AFTER)
    world.give_up(step)
    world.retry(step.flow_id)
    assert not world.cancel(world.open_steps()[0])
    first = finished(world)
    buy(world, "100", name="GIVEN1")
    finished(world)
    assert [each["id"] for each in accounts(world, "EVAL100")] == [first.account_id]
    assert accounts(world, "GIVEN1") == []


@pytest.mark.parametrize("first_name", [None, "GIVEN1"])
@pytest.mark.parametrize("second_name", [None, "GIVEN2"])
def test_an_order_that_ended_in_doubt_adopts_the_account_that_it_had_asked_for_under_another_name(
    first_name: str | None, second_name: str | None
) -> None:
    """An operator resolved it as failed, not having seen the account; the order's next event finds it."""
    world = SmallWorld(SandboxConfig(account_names_unique=False), RULES)
    buy(world, "100", **({"name": first_name} if first_name else {}))
    step = step_of(world, ACCOUNTS)
    world.work(step, Fate.LOST_AFTER)
    world.give_up(step)
    world.resolve(step.flow_id, Status.FAILED)
    (made,) = accounts(world, first_name or "EVAL100")
    buy(world, "100", **({"name": second_name} if second_name else {}))
    outcome = finished(world)
    assert (outcome.status, outcome.account_id) == ("succeeded", made["id"])
    assert [each for name in ("EVAL100", "GIVEN1", "GIVEN2") for each in accounts(world, name)] == [made]


def test_a_name_that_proved_to_be_anothers_does_not_keep_the_order_from_its_next_name() -> None:
    """What came of the first name is known, so that it is not looked for again."""
    world = SmallWorld(SandboxConfig(account_names_unique=False), RULES)
    buy(world, "100", name="GIVEN1")
    finished(world)
    buy(world, "200", name="GIVEN1")
    assert finished(world).error_code == "conflict"
    buy(world, "200", name="GIVEN2")
    outcome = finished(world)
    assert (outcome.status, outcome.account_name) == ("succeeded", "GIVEN2")


@pytest.mark.parametrize("status", ["Revoked", "Declined"])
def test_a_permission_that_ended_before_it_was_looked_up_is_not_created_again(status: str) -> None:
    """It was created by a call whose answer was lost: the outcome has its id, and a warning says its status."""
    world = SmallWorld(BARE, RULES)
    buy(world, "100")
    world.work(step_of(world, PERMISSION), Fate.LOST_AFTER)
    (account,) = accounts(world, "EVAL100")
    (permission,) = world.sandbox.core.world.permissions_on(account["id"])
    permission["status"] = status
    outcome = finished(world)
    assert len(world.sandbox.core.world.permissions_on(account["id"])) == 1
    assert (outcome.status, outcome.trading_permission_id) == ("succeeded", permission["id"])
    assert [status in each for each in outcome.warnings] == [True]


def test_a_permission_that_ended_before_the_call_is_no_effect_of_it() -> None:
    """An assignment whose call was lost before its effect is sent again, though an older permission is revoked."""
    world = SmallWorld(BARE, RULES)
    buy(world, "100")
    bought = finished(world)
    assert bought.account_id is not None
    (old,) = world.sandbox.core.world.permissions_on(bought.account_id)
    old["status"] = "Revoked"
    world.accept("account.assigned", accountId=bought.account_id, userId=bought.user_id)
    world.work(step_of(world, PERMISSION), Fate.LOST_BEFORE)
    outcome = finished(world)
    assert (outcome.status, outcome.warnings) == ("succeeded", ())
    assert outcome.trading_permission_id != old["id"]
    assert len(world.active(bought.user_id)) == 1
