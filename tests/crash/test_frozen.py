"""A replica that is frozen where it hurts (SIGSTOP, a paused machine), and goes on when others have done its work."""

from __future__ import annotations

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.waiting import eventually, together

POINTS = {"before": ["before_call:1", "before_call:2", "before_publish:1"], "after": ["after_call:1", "after_call:2"]}


@pytest.mark.crash
@pytest.mark.timeout(150)
@pytest.mark.parametrize("moment", POINTS)
async def test_a_frozen_replica_changes_nothing_when_it_wakes(real_stage: Stages, moment: str) -> None:
    """A replica that sleeps over the end of its lease sends nothing late and writes nothing over what others did."""
    await together({point: _frozen_at(real_stage, point) for point in POINTS[moment]})


async def _frozen_at(real_stage: Stages, point: str) -> None:
    on = await real_stage(TRADOVATE_TIMEOUT_SECONDS="1", BATCH_LINGER_MS="100")
    sleeper = on.process(crash=f"{point}:SIGSTOP")
    await sleeper.ready()
    await on.buy(purchase(1), purchase(2, trader=1), purchase(3))
    await sleeper.frozen()
    on.process()
    outcomes = await on.all_ended(75)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}, point
    creations = on.count("/user/createevaluationusers"), on.count("/user/createevaluationaccounts")
    sleeper.thaw()
    sleeper.terminate()  # by the time it has stopped in good order, what it had in hand is done with
    assert await sleeper.ended() == 0, point
    assert (on.count("/user/createevaluationusers"), on.count("/user/createevaluationaccounts")) == creations, point
    await oracle.holds_all(on)


@pytest.mark.crash
async def test_a_frozen_replica_with_a_call_in_flight(real_stage: Stages) -> None:
    """The answer to a call that a replica slept through is not needed: the call is looked up elsewhere."""
    on = await real_stage(TRADOVATE_TIMEOUT_SECONDS="1")
    on.fault("delay", "/user/createEvaluationAccounts", seconds=0.8, times=1)
    sleeper = on.process()
    await sleeper.ready()
    await on.buy(purchase(1))
    await eventually(lambda: on.count("/user/createevaluationaccounts"))
    sleeper.freeze()
    on.process()
    outcomes = await on.all_ended()
    assert outcomes[0]["status"] == "succeeded"
    sleeper.thaw()
    sleeper.terminate()
    assert await sleeper.ended() == 0
    assert on.count("/user/createevaluationaccounts") == 1
    await oracle.holds_all(on)
