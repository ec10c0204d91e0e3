"""SIGTERM: no new work, calls in flight are finished or left to be looked up, exit 0 in time (README, "What happens
when").
"""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.processes import frozen, worker
from tests.support.spine import Stages
from tests.support.waiting import eventually

WITHIN = 25.0


@pytest.mark.crash
async def test_a_call_in_flight_is_finished_first(real_stage: Stages) -> None:
    """A replica that is asked to stop takes in the answer that it waits for, and nothing has to be looked up."""
    on = await real_stage(TRADOVATE_TIMEOUT_SECONDS="10")
    on.fault("delay", "/user/createEvaluationAccounts", seconds=1.5, times=1)
    first = on.process()
    await first.ready()
    await on.buy(purchase(1))
    await eventually(lambda: on.count("/user/createevaluationaccounts"))
    began = time.monotonic()
    first.terminate()
    await on.buy(purchase(2))  # comes too late for it
    assert await first.ended(WITHIN + 5) == 0
    assert time.monotonic() - began < WITHIN
    assert (await on.outcome("e-1", 5))["status"] == "succeeded"
    assert on.final("e-2") is None
    on.process()
    await on.all_ended()
    assert on.count("/account/find") == 0
    assert first.logged("run.stopped")
    await oracle.holds_all(on)


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_a_call_that_does_not_end_is_left_in_doubt(real_stage: Stages) -> None:
    """A replica that is asked to stop while the partner does not answer stops in time; the next one looks."""
    on = await real_stage(TRADOVATE_TIMEOUT_SECONDS="60")
    on.fault("hang", "/user/createEvaluationAccounts", times=1, effect=True)
    first = on.process()
    await first.ready()
    await on.buy(purchase(1))
    await eventually(lambda: on.count("/user/createevaluationaccounts"))
    began = time.monotonic()
    first.terminate()
    assert await first.ended(WITHIN + 5) == 0
    assert time.monotonic() - began < WITHIN
    on.process()
    outcomes = await on.all_ended(15)
    assert outcomes[0]["status"] == "succeeded"
    assert on.count("/user/createevaluationaccounts") == 1
    await oracle.holds_all(on)


@pytest.mark.crash
async def test_an_idle_replica_stops_at_once(real_stage: Stages) -> None:
    """A replica with nothing in flight stops within a few seconds, and leaves the group and the ledger's list."""
    on = await real_stage()
    idle = on.process()
    await idle.ready()
    began = time.monotonic()
    idle.terminate()
    assert await idle.ended() == 0
    assert time.monotonic() - began < 8
    assert not await on.rows("select * from replica")


@pytest.mark.crash
@pytest.mark.timeout(120)
@pytest.mark.parametrize("busy", [True, False])
async def test_a_database_that_hangs_holds_up_neither_health_nor_the_end(fragile_stage: Stages, busy: bool) -> None:
    """While PostgreSQL stands still, connections open, health says so within its three seconds and SIGTERM is obeyed
    in time; what was bought goes on with the next replica.
    """
    on = await fragile_stage()
    first = on.process()
    await first.ready()
    await on.buy(purchase(1))
    await on.outcome("e-1")
    await eventually(lambda: on.rows("select from outcome where published_at is not null"))  # or it comes again
    with frozen(on.database_url):
        if busy:
            await on.buy(purchase(2))
        for _ in range(3):
            asked = time.monotonic()
            health = await first.health()
            assert time.monotonic() - asked < 3
            assert "PostgreSQL did not answer" in health["checks"]["database"]
        began = time.monotonic()
        first.terminate()
        assert await first.ended(WITHIN + 15) == 0
        assert time.monotonic() - began < WITHIN
    on.process()
    await on.all_ended()
    await oracle.holds_all(on)


@pytest.mark.crash
@pytest.mark.timeout(120)
async def test_a_bridge_stops_though_the_database_hangs(fragile_stage: Stages) -> None:
    """A bridge obeys SIGTERM in time while PostgreSQL stands still."""
    on = await fragile_stage()
    topics = worker("topics", "create", env=on.env)
    assert await asyncio.to_thread(topics.wait) == 0
    topics.close()
    with worker("bridge", env=on.env) as bridge:
        bridge.wait_for_log("bridge.stands_by")
        await eventually(lambda: on.rows("select 1 from replica where role = 'bridge'"))
        with frozen(on.database_url):
            began = time.monotonic()
            bridge.terminate()
            assert await asyncio.to_thread(bridge.wait, WITHIN + 15) == 0
            assert time.monotonic() - began < WITHIN
