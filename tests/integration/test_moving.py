"""Tradovate moves the organization while real workers are at work: nothing is lost, nothing twice, few wrong calls."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.replicas import ReplicaProcess
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.waiting import eventually
from worker.sandbox import SandboxConfig

IN_FLIGHT = 16
"""Calls of one replica that may be under way at the moment of a move."""


def wrong_calls(at: Stage, domain: str = "demo") -> int:
    """Calls that came to the host that was left."""
    return int(at.state["calls"]["wrong_host"].get(domain, 0))


async def moves_in_a_burst(at: Stage, replicas: list[ReplicaProcess], domain: Any = "demo") -> None:
    """A burst, a move in the middle of it, another burst; all purchases end well."""
    for replica in replicas:
        await replica.ready()
    await at.buy(*(purchase(number) for number in range(150)))
    await eventually(lambda: at.count("/user/createEvaluationAccounts") >= 1)
    at.partner.move(domain)
    await at.buy(*(purchase(number) for number in range(150, 300)))
    outcomes = await at.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}


@pytest.mark.parametrize(
    ("api_hosts", "wrong_host"),
    [
        ("always", "redirect"),
        ("always", "404"),
        ("moved", "421"),
        ("moved", "405"),
        ("never", "redirect"),
    ],
)
async def test_a_worker_follows_a_move_in_the_middle_of_a_burst(
    real_stage: Stages, api_hosts: Any, wrong_host: Any
) -> None:
    """By one renewal, or by the redirect where login and renewal return no hosts; only calls that were under way at
    that moment come to the old host.
    """
    at = await real_stage(SandboxConfig(partner_ms=100, api_hosts=api_hosts, wrong_host=wrong_host))
    await moves_in_a_burst(at, [at.process()])
    assert 0 < wrong_calls(at) <= IN_FLIGHT
    assert at.state["sessions"]["renewals"] == 1
    assert at.state["sessions"]["logins"] == 1
    await oracle.holds_all(at)


async def test_two_replicas_follow_together(real_stage: Stages) -> None:
    """One renewal for both: what one finds out, the other knows before its next call."""
    at = await real_stage(SandboxConfig(partner_ms=100))
    await moves_in_a_burst(at, [at.process(), at.process()])
    assert 0 < wrong_calls(at) <= 2 * IN_FLIGHT
    assert at.state["sessions"]["renewals"] == 1
    await oracle.holds_all(at)


@pytest.mark.parametrize("replicas", [1, 3])
async def test_only_calls_under_way_come_to_the_old_host(real_stage: Stages, replicas: int) -> None:
    """Every slot of every replica is in use at the moment of the move, by calls of one item each: none of them takes
    effect twice, all end well, and no further call goes to the host that was left.
    """
    many = 60 * replicas
    at = await real_stage(SandboxConfig(partner_ms=400))
    made = at.seed(
        users=[{"name": f"u{number}", "email": f"u{number}@x.example"} for number in range(many)],
        accounts=[{"name": f"OTHER{number:04d}"} for number in range(many)],
    )
    processes = [at.process() for _ in range(replicas)]
    for process in processes:
        await process.ready()
    pairs = zip(made["accountIds"], made["userIds"], strict=True)
    events = [{"eventId": f"a-{number}", "accountId": one, "userId": two} for number, (one, two) in enumerate(pairs)]
    for event in events:
        await at.wire.send(event, topic="account.assigned")
    await eventually(lambda: at.state["calls"]["in_flight"] >= 8 * replicas)
    at.partner.move()
    for event in events:
        assert (await at.outcome(str(event["eventId"])))["status"] == "succeeded"
    assert 0 < wrong_calls(at) <= IN_FLIGHT * replicas
    assert at.state["sessions"]["renewals"] == 1
    assert at.effects["twice"] == {}


async def test_live_may_move_as_well(real_stage: Stages) -> None:
    """The renewal itself is answered by the wrong host, and follows the redirect."""
    at = await real_stage(SandboxConfig(partner_ms=100))
    await moves_in_a_burst(at, [at.process()], "live")
    assert 0 < wrong_calls(at, "live") <= IN_FLIGHT
    assert at.state["sessions"]["logins"] == 1
    await oracle.holds_all(at)


async def test_a_restart_after_the_move_goes_to_the_new_host_at_once(stage: Stages) -> None:
    """The host is in the ledger: with the old addresses in its settings, no call comes to the old host."""
    at = await stage()
    first = at.process()
    await first.ready()
    at.partner.move()
    await at.buy(purchase(1))
    assert (await at.outcome("e-1"))["status"] == "succeeded"
    first.terminate()
    assert await first.ended() == 0
    before = wrong_calls(at)
    await at.rows("update session set expires_at = clock_timestamp()")
    second = at.process()
    await second.ready()
    await at.buy(purchase(2))
    assert (await at.outcome("e-2"))["status"] == "succeeded"
    assert wrong_calls(at) == before
    assert (await second.health())["hosts"]["demo"]["host"] == f"127.0.0.1:{at.partner.sandbox.places.ports['demo']}"


async def test_a_host_that_is_gone_is_left(stage: Stages) -> None:
    """Nobody listens at the old host: one renewal finds out where the organization is now."""
    at = await stage()
    worker = at.process()
    await worker.ready()
    gone = at.partner.move()
    await at.buy(purchase(1))
    await at.outcome("e-1")
    at.partner.move()
    at.partner.close_port(gone)
    await at.buy(purchase(2))
    assert (await at.outcome("e-2"))["status"] == "succeeded"


async def test_with_fixed_hosts_calls_wait_and_are_few(stage: Stages) -> None:
    """TRADOVATE_FOLLOW_HOSTS=off: no event fails for it, health names it, and when the gateway is right again all goes
    on.
    """
    at = await stage()
    worker = at.process(TRADOVATE_FOLLOW_HOSTS="off")
    await worker.ready()
    at.partner.move()
    await at.buy(*(purchase(number) for number in range(30)))

    async def named() -> bool:
        trouble = (await worker.health()).get("hosts", {}).get("demo", {}).get("trouble")
        return trouble is not None and "one at a time" in trouble

    await eventually(named)
    await eventually(lambda: wrong_calls(at) >= 3, 30)
    assert not [each for each in at.wire.outcomes if each["status"] == "failed"]
    assert at.state["sessions"]["renewals"] == 0
    at.partner.move(port=at.partner.port)
    outcomes = await at.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert wrong_calls(at) <= IN_FLIGHT


@pytest.mark.parametrize("wrong_host", ["421", "404"])
async def test_a_move_without_a_sign_fails_no_event(stage: Stages, wrong_host: Any) -> None:
    """Neither hosts nor a redirect: purchases wait, calls are few, and all end well when a renewal returns the host."""
    at = await stage(SandboxConfig(api_hosts="never", wrong_host=wrong_host))
    worker = at.process(RETRY_CAP_SECONDS="2")
    await worker.ready()
    at.partner.move()
    await at.buy(*(purchase(number) for number in range(30)))
    await eventually(lambda: wrong_calls(at) >= 3, 30)
    assert not [each for each in at.wire.outcomes if each["status"] == "failed"]
    assert at.state["sessions"]["renewals"] == 1
    at.partner.sandbox.control.switch({"api_hosts": "always"})
    await at.rows("update host set ask_at = clock_timestamp()")  # five, or fifteen, minutes later
    outcomes = await at.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert wrong_calls(at) <= IN_FLIGHT


async def test_a_server_that_restarts_behind_empty_404s_ends_nothing(stage: Stages) -> None:
    """Purchases and revocations that are answered 404 or 405 without a body for a while are retried, all of them."""
    at = await stage()
    worker = at.process()
    await worker.ready()
    await at.buy(purchase(1))
    done = await at.outcome("e-1")
    for operation in ("createEvaluationUsers", "createEvaluationAccounts", "revokeTradingPermissions"):
        at.fault(
            "status_before", f"/user/{operation}", status=404 if operation != "createEvaluationUsers" else 405, times=3
        )
    await at.buy(*(purchase(number) for number in range(2, 12)))
    await at.wire.send({"eventId": "f-1", "traderId": "cust-1", "accountId": done["accountId"]}, topic="trader.failed")
    outcomes = await at.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert (await at.outcome("f-1"))["status"] == "succeeded"


async def test_three_replicas_that_start_while_tradovate_answers_502_log_in_once(stage: Stages) -> None:
    """However many logins had no result, the next one follows with the back-off, and is the only session."""
    at = await stage(RETRY_CAP_SECONDS="1")
    at.fault("status_before", "/auth/accesstokenrequest", status=502, times=3)
    replicas = [at.process() for _ in range(3)]
    await at.buy(purchase(1))
    assert (await at.outcome("e-1", 60))["status"] == "succeeded"
    assert at.count("/auth/accesstokenrequest") == 4
    assert at.state["sessions"]["logins"] == 1
    assert all(replica.returncode is None for replica in replicas)


@pytest.mark.parametrize("fault", [{"action": "cut_after"}, {"action": "status_after", "status": 504}])
async def test_logins_that_opened_a_session_without_a_token_keep_nobody_waiting(stage: Stages, fault: Any) -> None:
    """Two sessions are open whose tokens never arrived: the third login follows with the back-off all the same."""
    at = await stage()
    at.fault(operation="/auth/accesstokenrequest", times=2, **fault)
    at.process()
    await at.buy(purchase(1))
    assert (await at.outcome("e-1", 60))["status"] == "succeeded"
    assert at.state["sessions"]["logins"] == 3


@pytest.mark.parametrize("status", [429, 423, 408, 500, 404])
async def test_a_renewal_that_fails_after_a_lock_out_is_followed_by_one_login(stage: Stages, status: int) -> None:
    """No second lock-out, no call between the two, and the work goes on."""
    at = await stage()
    worker = at.process()
    await worker.ready()
    await at.buy(purchase(1))
    await at.outcome("e-1")
    at.partner.sandbox.control.close_sessions()
    at.fault("status_before", "/user/createEvaluationUsers", status=429, times=1)
    at.fault("status_before", "/auth/renewaccesstoken", status=status)
    await at.buy(purchase(2))
    assert (await at.outcome("e-2"))["status"] == "succeeded"
    asked = [each["path"] for each in at.calls()]
    after = asked[asked.index("/auth/renewaccesstoken") :]
    assert after[:2] == ["/auth/renewaccesstoken", "/auth/accesstokenrequest"]
    assert asked.count("/auth/renewaccesstoken") == 1
    assert asked.count("/auth/accesstokenrequest") == 2
