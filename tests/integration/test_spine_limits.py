"""What all replicas share: the hour's budget, the lock-out, the session and the hold of a rejected login."""

from __future__ import annotations

import time
from functools import partial

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import Here
from tests.support.waiting import eventually, let_time_pass
from worker.sandbox import SandboxConfig

USERS = "/user/createevaluationusers"
ACCOUNTS = "/user/createevaluationaccounts"
LOGIN = "/auth/accesstokenrequest"
RENEWAL = "/auth/renewaccesstoken"


@pytest.mark.parametrize("status", [423, 429])
async def test_a_lock_out_silences_all_replicas(stage: Stages, status: int) -> None:
    """After a 423 or 429 no replica calls until the lock-out ends; then a renewal goes first, and all is done."""
    on = await stage(SandboxConfig(lockout_seconds=3))
    replicas = [await on.replica(KAFKA_GROUP_ID=f"{on.env['KAFKA_GROUP_ID']}{n}") for n in range(2)]
    on.fault("status_before", ACCOUNTS, times=1, status=status)
    await on.buy(purchase(1))
    await eventually(lambda: on.count(ACCOUNTS))
    await on.buy(purchase(2), purchase(3))
    for here in replicas:
        await eventually(partial(_not_ready, here, "lockout"), 5)
    silent_from = on.calls()[-1]["ended_at"]
    await on.all_ended()
    after = [call for call in on.calls() if call["at"] > silent_from]
    assert after[0]["path"] == RENEWAL
    assert after[0]["at"] - silent_from > 2.8
    await oracle.holds_all(on)


async def _not_ready(here: Here, check: str) -> bool:
    return (await here.replica.health.ready())[check] is not None


async def test_a_lock_out_survives_a_restart(stage: Stages) -> None:
    """A replica that starts during a lock-out is silent for the rest of it."""
    on = await stage(SandboxConfig(lockout_seconds=3))
    first = await on.replica()
    on.fault("lockout", ACCOUNTS, times=1)
    await on.buy(purchase(1))
    await eventually(lambda: on.count(ACCOUNTS))
    locked_at = on.calls()[-1]["at"]
    await first.stop()
    on.replica_later()
    await on.all_ended()
    after = [call for call in on.calls() if call["at"] > locked_at]
    assert after[0]["at"] - locked_at > 2.8
    assert on.state["calls"]["during_lockout"] == 0
    await oracle.holds_all(on)


async def test_an_expired_token_is_replaced(stage: Stages) -> None:
    """Tokens that end early cost a renewal or a login, and nothing is lost or doubled."""
    on = await stage()
    await on.replica()
    on.fault("expire_tokens", ACCOUNTS, times=1)
    await on.buy(purchase(1), purchase(2))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert on.state["sessions"]["logins"] <= 2
    await oracle.holds_all(on)


@pytest.mark.parametrize("status", [401, 408, 500])
async def test_a_session_closed_from_outside_is_opened_again(stage: Stages, status: int) -> None:
    """When another login closes our session, its calls are looked up and one new session is opened."""
    on = await stage(SandboxConfig(closed_session_status=status))  # type: ignore[arg-type]  # each is a choice of it
    await on.replica()
    on.fault("close_sessions", ACCOUNTS, times=1)
    await on.buy(purchase(1), purchase(2))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert on.state["sessions"]["logins"] == 2
    await oracle.holds_all(on)


async def test_a_rejected_login_is_tried_once(stage: Stages) -> None:
    """With a wrong password one login is tried by three replicas together, until the settings change."""
    on = await stage()
    starting = [
        on.replica_later(TRADOVATE_PASSWORD="wrong", KAFKA_GROUP_ID=f"{on.env['KAFKA_GROUP_ID']}{n}") for n in range(3)
    ]
    await on.buy(purchase(1))
    for here in starting:
        await eventually(partial(_not_ready, here, "login"))
    again = on.replica_later(TRADOVATE_PASSWORD="wrong", KAFKA_GROUP_ID=f"{on.env['KAFKA_GROUP_ID']}x")
    await eventually(partial(_not_ready, again, "login"))
    assert on.count(LOGIN) == 1
    for here in [*starting, again]:
        await here.stop()
    await on.replica()
    await on.all_ended()
    assert on.state["sessions"]["failed_logins"] == 1
    await oracle.holds_all(on)


async def test_replicas_share_one_session(stage: Stages) -> None:
    """Three replicas that start at once open one session."""
    on = await stage(SandboxConfig(partner_ms=50))
    starting = [on.replica_later(KAFKA_GROUP_ID=f"{on.env['KAFKA_GROUP_ID']}{n}") for n in range(3)]
    await on.buy(*(purchase(number) for number in range(9)))
    await on.all_ended()
    for here in starting:
        await here.ready()
    assert on.count(LOGIN) == 1
    await oracle.holds_all(on)


async def test_a_short_lived_token_is_renewed_in_time(stage: Stages) -> None:
    """A token is renewed at half of a life that is short, so that no call meets its end."""
    on = await stage(SandboxConfig(token_seconds=8))
    await on.replica()
    await eventually(lambda: on.count(RENEWAL), 12)
    await on.buy(purchase(1))
    await on.all_ended()
    assert on.count(LOGIN) == 1
    assert "401" not in on.state["calls"]["by_status"]
    await oracle.holds_all(on)


async def test_the_budget_is_never_exceeded(stage: Stages) -> None:
    """Two replicas with a budget of thirty calls make at most thirty, and what is urgent keeps its reserve."""
    on = await stage(
        SandboxConfig(hourly_calls=30, warning_from_call=0),
        TRADOVATE_HOURLY_BUDGET="30",
        BATCH_LINGER_MAX_SECONDS="0.05",
        BATCH_LINGER_MS="1",
    )
    for number in range(2):
        await on.replica(KAFKA_GROUP_ID=f"{on.env['KAFKA_GROUP_ID']}{number}")
    sent = 0
    while on.state["calls"]["total"] < 27 and sent < 100:
        await on.buy(purchase(sent))
        sent += 1
        await let_time_pass(0.05)  # a steady stream
    await on.buy(*(purchase(number) for number in range(sent, sent + 5)))
    await eventually(lambda: on.rows("select 1 from call offset 26"))
    await eventually(lambda: on.steps("state = 'due' and due < clock_timestamp() - interval '1 second'"), 15)
    assert on.state["calls"]["total"] == 27
    assert on.state["budget"]["lockouts"] == 0
    # An hour goes by for the ledger and for the partner.
    on.partner.sandbox.core.budget.unlock()
    await on.rows("update call set at = at - interval '2 hours', finished_at = finished_at - interval '2 hours'")
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await oracle.holds_all(on)


async def test_a_lone_purchase_does_not_linger(stage: Stages) -> None:
    """However long BATCH_LINGER_MS is, a purchase that nothing follows has its two calls at once."""
    on = await stage(BATCH_LINGER_MS="20000")
    await on.replica()
    began = time.monotonic()
    await on.buy(purchase(1))
    assert (await on.outcome("e-1"))["status"] == "succeeded"
    assert time.monotonic() - began < 15


async def test_no_step_lingers_longer_than_it_may(stage: Stages) -> None:
    """While purchases keep coming, one waits for others for BATCH_LINGER_MS and not for as long as they come."""
    on = await stage(BATCH_LINGER_MS="1500")
    await on.replica()
    for number in range(80):
        await on.buy(purchase(number))
        await let_time_pass(0.1)  # a trickle of eight seconds
    await on.all_ended()
    waits = [
        row["seconds"]
        for row in await on.rows(
            "select extract(epoch from call.at - flow.created_at)::float8 as seconds from step"
            " join flow on flow.id = step.flow_id join call on call.id = step.call_ids[1]"
            " where step.operation = 'createEvaluationUsers'"
        )
    ]
    assert len(waits) == 80
    assert 1.0 < max(waits) < 5
    assert max(each["items"] for each in on.calls(USERS)) > 5


async def test_a_stream_on_a_short_budget_is_carried_in_full_calls(stage: Stages) -> None:
    """On a budget of forty calls, sixty purchases at ten a second are all done, where two calls each would strand."""
    on = await stage(
        SandboxConfig(hourly_calls=40, warning_from_call=0),
        TRADOVATE_HOURLY_BUDGET="40",
        BATCH_LINGER_MAX_SECONDS="3",
    )
    await on.replica()
    began = time.monotonic()
    for number in range(60):
        await on.buy(purchase(number))
        await let_time_pass(max(0.0, began + number / 10 - time.monotonic()))  # ten a second
    outcomes = await on.all_ended(15)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert on.state["calls"]["total"] <= 36
    await oracle.holds_all(on)
