"""A 423 or 429 that a worker receives while PostgreSQL is away: no replica calls until the lock-out ends."""

from __future__ import annotations

import asyncio

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres
from worker.sandbox import SandboxConfig

pytestmark = pytest.mark.timeout(120)

LASTS, LONG = 6.0, 12.0
USERS, FIND, RENEWAL = "/user/createevaluationusers", "/user/find", "/auth/renewaccesstoken"


async def _two_replicas(on: Stage) -> None:
    """Both of them have work, no matter which one receives the answer."""
    for number in range(2):
        await on.replica(KAFKA_GROUP_ID=f"{on.env['KAFKA_GROUP_ID']}{number}")


async def _locked_out_while_away(on: Stage, own_postgres: EmbeddedPostgres, path: str) -> float:
    """A call is answered 429 when the ledger is away; then the ledger is back. When it was answered."""
    await eventually(lambda: on.count(path) == 1, 20)
    await asyncio.to_thread(own_postgres.down)
    await eventually(lambda: not on.partner.sandbox.core.calls.in_flight)
    answered: float = on.calls(path)[0]["ended_at"]
    await asyncio.to_thread(own_postgres.up)
    return answered


@pytest.mark.parametrize("path", [USERS, FIND])
async def test_a_lock_out_is_kept_while_the_ledger_is_away(
    fragile_stage: Stages, own_postgres: EmbeddedPostgres, path: str
) -> None:
    """Whether a send or a look-up is answered 429: neither this replica nor another one calls before it ends, and
    the first call then is a renewal.
    """
    on = await fragile_stage(SandboxConfig(lockout_seconds=LASTS), TRADOVATE_LOCKOUT_SECONDS=str(LASTS))
    await _two_replicas(on)
    if path == FIND:
        on.fault("cut_after", USERS, times=1)
    on.fault("delay", path, times=1, seconds=1.5)
    on.fault("lockout", path, times=1)
    await on.buy(purchase(1))
    answered = await _locked_out_while_away(on, own_postgres, path)
    await on.buy(purchase(2), purchase(3))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert on.state["calls"]["during_lockout"] == 0
    later = [call for call in on.calls() if call["at"] > answered]
    assert later[0]["path"] == RENEWAL
    assert later[0]["at"] - answered > LASTS - 0.2
    assert later[0]["at"] - answered < LASTS + 5  # it began with the answer, not when the ledger was back
    await oracle.holds_all(on)


async def test_an_outage_during_a_lock_out_does_not_make_it_longer(
    fragile_stage: Stages, own_postgres: EmbeddedPostgres
) -> None:
    """A lock-out that cannot be written for most of its time ends when it would have ended."""
    on = await fragile_stage(SandboxConfig(lockout_seconds=LONG), TRADOVATE_LOCKOUT_SECONDS=str(LONG))
    await on.replica()
    on.fault("delay", USERS, times=1, seconds=1.0)
    on.fault("lockout", USERS, times=1)
    await on.buy(purchase(1))
    await eventually(lambda: on.count(USERS) == 1, 20)
    await asyncio.to_thread(own_postgres.down)
    await eventually(lambda: not on.partner.sandbox.core.calls.in_flight)
    answered: float = on.calls(USERS)[0]["ended_at"]
    clock = on.partner.sandbox.clock
    await eventually(lambda: clock() > answered + LONG - 1.5, 2 * LONG)
    await asyncio.to_thread(own_postgres.up)
    await on.all_ended()
    later = [call for call in on.calls() if call["at"] > answered]
    assert LONG - 0.2 < later[0]["at"] - answered < LONG + 6
    assert on.state["calls"]["during_lockout"] == 0
