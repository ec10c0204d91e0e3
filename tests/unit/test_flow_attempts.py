"""`attempts` of an outcome: the highest number of times that any one step was sent; what was found was not sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from schemas.outcomes import Outcome
from tests.support.small_world import Fate, SmallWorld
from tests.support.views import RULES
from worker.sandbox import SandboxConfig

WELL, LOST = Fate.WELL, Fate.LOST_BEFORE


def ended(world: SmallWorld, topic: str, fates: Sequence[Fate] = (), **event: Any) -> Outcome:
    """The outcome of an event whose calls fare so, and then well. Whatever waits comes due."""
    world.accept(topic, **event)
    left = list(fates)
    while not world.outcomes or world.outcomes[-1].topic != topic or world.outcomes[-1].status == "pending":
        (step,) = world.open_steps()
        sends = step.state == "due" and step.operation != "plan"
        world.work(step, left.pop(0) if left and sends else WELL)
    return world.outcomes.pop()


@pytest.fixture
def bought() -> tuple[SmallWorld, Outcome]:
    """A trader with an account, who has signed."""
    world = SmallWorld(SandboxConfig(entitlement_needs_contact=False), RULES)
    user = {"name": "ann", "email": "ann@example.com", "firstName": "F", "lastName": "L"}
    account = {"templateAccountId": 11, "initialBalance": 50_000}
    outcome = ended(world, "trader.purchased", orderId="1", traderId="ann", user=user, account=account)
    world.sandbox.control.sign({"userId": outcome.user_id})
    return world, outcome


def test_what_a_look_up_finds_there_was_not_sent(bought: tuple[SmallWorld, Outcome]) -> None:
    """The second event of the same makes no call, whatever its topic."""
    world, outcome = bought
    signed = [ended(world, "md.signed", userId=outcome.user_id).attempts for _ in range(2)]
    assigned = ended(world, "account.assigned", accountId=outcome.account_id, userId=outcome.user_id)
    assert (signed, assigned.attempts) == ([1, 0], 0)


def test_each_time_that_a_step_was_sent_counts(bought: tuple[SmallWorld, Outcome]) -> None:
    """Also those after which nothing was known of it, and those of the steps before."""
    world, outcome = bought
    assert ended(world, "md.signed", [LOST, LOST], userId=outcome.user_id).attempts == 3


def test_a_signature_that_comes_too_early_counts_its_tries(bought: tuple[SmallWorld, Outcome]) -> None:
    """Each try is a step of its own."""
    world, outcome = bought
    world.sandbox.core.world.signed.clear()
    world.accept("md.signed", userId=outcome.user_id)
    for _ in range(9):
        if len([name for name, _ in world.made if name.startswith("addEntitlement")]) == 3:
            break
        (step,) = world.open_steps()
        world.now = max(world.now, step.due) + timedelta(hours=1)
        world.work(step, WELL)
    world.sandbox.control.sign({"userId": outcome.user_id})
    while not world.outcomes:
        (step,) = world.open_steps()
        world.work(step, WELL)
    assert world.outcomes[-1].attempts == 4
