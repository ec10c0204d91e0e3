"""A replica is killed at each named point of the path, and another one finishes what it left."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.waiting import together

GOES_ON_WITHIN = 1 + 0.3 + 15
"""TRADOVATE_TIMEOUT_SECONDS + TRADOVATE_SETTLE_SECONDS + 15 s (README, "What happens when")."""

STARTS_WITHIN = 6
"""Seconds that the other replica may take to start on a machine that is busy: it is started after the kill."""

POINTS: Mapping[str, list[str]] = {
    # The first call makes users, the second accounts, the third writes contact data.
    "users": ["after_intake_commit:1", "before_call:1", "after_call:1", "after_record:1"],
    "accounts": ["before_call:2", "after_call:2", "before_record:2", "after_record:2"],
    "end": ["before_call:3", "after_record:3", "before_publish:1", "after_publish:1"],
}

at_once = pytest.mark.timeout(90)
"""Four stages at once: nearly all of a kill's time is waiting for leases to run out."""


@pytest.mark.crash
@at_once
@pytest.mark.parametrize("part", POINTS)
async def test_a_kill_at_any_point_loses_and_doubles_nothing(real_stage: Stages, part: str) -> None:
    """Whatever point a replica is killed at, its work goes on elsewhere in time, and takes effect once."""
    await together({point: _killed_at(real_stage, point) for point in POINTS[part]})


async def _killed_at(real_stage: Stages, point: str) -> None:
    on = await real_stage(TRADOVATE_TIMEOUT_SECONDS="1", BATCH_LINGER_MS="100")
    victim = on.process(crash=point)
    await victim.ready()
    await on.buy(purchase(1, contact=True), purchase(2, trader=1), purchase(3))
    assert await victim.ended() == -9, point
    on.process()
    outcomes = await on.all_ended(GOES_ON_WITHIN + STARTS_WITHIN)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}, point
    # By the third call the others' outcomes are on their way: the kill may fall between publishing and noting one.
    await oracle.holds_all(on, killed=point.startswith("after_publish") or point.endswith(":3"))


@pytest.mark.crash
@at_once
async def test_a_kill_in_a_look_up_loses_and_doubles_nothing(real_stage: Stages) -> None:
    """A replica that is killed while it looks up an unclear call leaves the look-up to another."""
    await together({point: _killed_looking(real_stage, point) for point in ("before_look:1", "after_look:1")})


async def _killed_looking(real_stage: Stages, point: str) -> None:
    on = await real_stage(TRADOVATE_TIMEOUT_SECONDS="1", BATCH_LINGER_MS="100")
    on.fault("cut_after", "/user/createEvaluationAccounts", times=1)
    victim = on.process(crash=point)
    await victim.ready()
    await on.buy(*(purchase(number) for number in range(3)))
    assert await victim.ended() == -9, point
    on.process()
    outcomes = await on.all_ended(GOES_ON_WITHIN + STARTS_WITHIN)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}, point
    await oracle.holds_all(on)
    assert on.count("/user/createevaluationaccounts") == 1
