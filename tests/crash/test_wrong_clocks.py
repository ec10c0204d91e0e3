"""Replicas whose clocks are wrong, or jump: the database's time decides, and nothing is made twice."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.waiting import eventually
from tests.support.wrong_clocks import WrongClock, WrongClocks

USERS, ACCOUNTS = "/user/createevaluationusers", "/user/createevaluationaccounts"
SETTLE = 3.0
LATE = 2.0
"""Seconds until a call that was cut takes effect: within the settle time, so that the look-up sees it."""


async def _late_effects(on: Stage) -> None:
    """Every first call of each kind is cut, and takes effect later."""
    for path in (USERS, ACCOUNTS):
        on.fault("late", path, times=2, seconds=LATE, answer="cut")


async def _bought_with(on: Stage, *clocks: WrongClock) -> None:
    """Replicas with these clocks carry out purchases whose calls take effect late."""
    await _late_effects(on)
    replicas = [on.process(**clock.env) for clock in clocks]
    for replica in replicas:
        await replica.ready()
    await on.buy(*(purchase(number) for number in range(6)))


async def _settled(on: Stage) -> None:
    """Each call without a result was looked up, not before the settle time and not long after it."""
    rows = await on.rows(
        "select extract(epoch from min(look.at) - send.finished_at)::float8 as after from call send"
        " join step on send.id = any(step.call_ids) join call look on look.id = any(step.call_ids)"
        " where send.kind = 'send' and send.result = 'unclear' and look.kind = 'look_up' and look.at > send.at"
        " group by send.id, send.finished_at"
    )
    assert rows, "no call was cut"
    assert all(SETTLE - 0.05 <= row["after"] < SETTLE + 10 for row in rows), [row["after"] for row in rows]


@pytest.mark.crash
@pytest.mark.timeout(120)
async def test_replicas_whose_clocks_differ_make_nothing_twice(real_stage: Stages, wrong_clocks: WrongClocks) -> None:
    """One clock is 20 s behind, another 20 s ahead: late effects are seen, one user and one account for each order."""
    on = await real_stage(TRADOVATE_SETTLE_SECONDS=str(SETTLE))
    await _bought_with(on, wrong_clocks(-20), wrong_clocks(20))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await _settled(on)
    await oracle.holds_all(on)


@pytest.mark.crash
@pytest.mark.timeout(120)
@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
async def test_a_clock_that_jumps_changes_nothing(real_stage: Stages, wrong_clocks: WrongClocks, jump: float) -> None:
    """A clock that is set by two hours while a call is settling neither hurries nor delays the look-up."""
    on = await real_stage(TRADOVATE_SETTLE_SECONDS=str(SETTLE))
    clock = wrong_clocks(0)
    await _bought_with(on, clock)
    await eventually(lambda: on.steps("state = 'unknown'"))
    clock.set(jump)
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await _settled(on)
    await oracle.holds_all(on)


@pytest.mark.crash
@pytest.mark.timeout(120)
async def test_times_that_are_shown_are_the_databases(real_stage: Stages, wrong_clocks: WrongClocks) -> None:
    """An outcome, a dead letter and a flow carry the database's time, whatever the replica's clock says."""
    on = await real_stage()
    replica = on.process(**wrong_clocks(-86_400).env)
    await replica.ready()
    (before,) = await on.rows("select clock_timestamp() as now")
    await on.buy(purchase(1))
    await on.wire.send({"eventId": "bad-1"}, key=b"k")
    outcome = await on.outcome("e-1")
    refused = await on.outcome("bad-1")
    (letter,) = await eventually(lambda: on.wire.dead_letters)
    (after,) = await on.rows("select clock_timestamp() as now")
    (flow,) = await on.rows("select created_at, ended_at, id from flow")
    of_id = datetime.fromtimestamp((flow["id"].int >> 80) / 1000, tz=after["now"].tzinfo)
    shown = [outcome["occurredAt"], refused["occurredAt"], (letter.header["dlq-at"] or b"").decode()]
    margin = timedelta(milliseconds=2)  # these times have milliseconds
    for time in (*map(datetime.fromisoformat, shown), flow["created_at"], flow["ended_at"], of_id):
        assert before["now"] - margin <= time <= after["now"] + margin
