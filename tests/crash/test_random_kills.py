"""Three replicas under load, killed at random."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.waiting import let_time_pass
from worker.sandbox import SandboxConfig


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(100)
@pytest.mark.parametrize("seed", [7])
async def test_random_kills_under_load(real_stage: Stages, seed: int) -> None:
    """Three replicas that are killed at random while purchases stream in make each order's account once."""
    dice = random.Random(seed)
    on = await real_stage(
        SandboxConfig(partner_ms=40, endpoint_limits_on=False), TRADOVATE_TIMEOUT_SECONDS="1", BATCH_LINGER_MS="20"
    )
    on.fault("cut_after", "/user/createEvaluationAccounts", probability=0.1, seed=seed)
    on.fault("status_before", "/user/createEvaluationUsers", probability=0.1, seed=seed, status=503)
    alive = [on.process() for _ in range(3)]
    await asyncio.gather(*(replica.ready() for replica in alive))
    events = [purchase(n, trader=n // 2, contact=n % 5 == 0) for n in range(160)]
    dice.shuffle(events)
    for start in range(0, len(events), 32):
        await on.buy(*events[start : start + 32])
        await let_time_pass(dice.uniform(0.05, 0.5))  # when in its work a replica dies
        place = dice.randrange(3)
        alive[place].kill()
        alive[place] = on.process()
    outcomes = await on.all_ended(60)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await oracle.holds_all(on, killed=True)
