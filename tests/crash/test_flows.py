"""A replica is killed in the middle of the firm's other calls, and another one finishes what it left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.crash.test_points import GOES_ON_WITHIN, STARTS_WITHIN, at_once
from tests.support.firm import Firm, application
from tests.support.oracle import never_together, nothing_stuck, one_outcome_an_event
from tests.support.spine import Stages
from tests.support.waiting import together

IN_TIME = GOES_ON_WITHIN + STARTS_WITHIN

POINTS = ("before_call:1", "after_call:1", "after_record:1")


async def _killed(real_stage: Stages, point: str, topic: str, event: Mapping[str, Any]) -> tuple[Firm, dict[str, Any]]:
    """Kills a replica at a point of the event's flow; another one ends it."""
    on = await real_stage(TRADOVATE_TIMEOUT_SECONDS="1")
    firm = Firm(on)
    user, account, permission = firm.seed()[0]
    firm.sign(user)
    known = {"userId": user, "accountId": account, "tradingPermissionIds": [permission]}
    asked = {name: known.get(name, value) if value is None else value for name, value in event.items()}
    victim = on.process(crash=point)
    await victim.ready()
    event_id = await firm.send(topic, **asked)
    assert await victim.ended() == -9, point
    on.process()
    outcome = await firm.ended(event_id, IN_TIME)
    return firm, outcome


@pytest.mark.crash
@at_once
async def test_a_kill_in_a_revocation_leaves_nobody_trading(real_stage: Stages) -> None:
    """Whatever point a replica is killed at, the failed trader is out, and there is one outcome."""

    async def one(point: str) -> None:
        event = {"traderId": "t", "tradingPermissionIds": None}
        firm, outcome = await _killed(real_stage, point, "trader.failed", event)
        assert outcome["status"] == "succeeded", point
        assert firm.permission(outcome["tradingPermissionIds"][0])["status"] == "Revoked"
        one_outcome_an_event(firm.stage)
        await nothing_stuck(firm.stage)
        never_together(firm.stage)

    await together({point: one(point) for point in POINTS})


@pytest.mark.crash
@at_once
async def test_a_kill_in_a_lock_or_a_change_of_limits_loses_neither(real_stage: Stages) -> None:
    """Killed between the call and its record, the account is locked all the same, and its limits are the event's."""

    async def one(topic: str, point: str, **event: Any) -> None:
        firm, outcome = await _killed(real_stage, point, topic, {"accountId": None, **event})
        assert outcome["status"] == "succeeded", point
        world, account = firm.stage.partner.sandbox.core.world, outcome["accountId"]
        if topic == "account.locked":
            assert world.risk_statuses.rows[account]["adminAction"] == "LockTradingImmediately"
        else:
            assert world.auto_liqs.rows[account]["dailyLossAutoLiq"] == 900
        one_outcome_an_event(firm.stage)
        await nothing_stuck(firm.stage)
        never_together(firm.stage)

    lock = {"action": "lock", "reason": "r"}
    await together(
        {
            "locked before": one("account.locked", "before_call:1", **lock),
            "locked after": one("account.locked", "after_call:1", **lock),
            "changed after": one("risk.changed", "after_call:1", postTradeRisk={"dailyLossAutoLiq": 900}),
        }
    )


@pytest.mark.crash
@at_once
async def test_a_kill_in_an_entitlement_buys_it_once(real_stage: Stages) -> None:
    """The entitlement is there once, whatever point a replica is killed at."""

    async def one(point: str) -> None:
        firm, outcome = await _killed(real_stage, point, "md.signed", {"userId": None})
        assert outcome["status"] == "succeeded", point
        assert set(firm.stage.effects["entitlements"].values()) == {1}, point
        await nothing_stuck(firm.stage)

    await together({point: one(point) for point in POINTS})


@pytest.mark.crash
@at_once
async def test_a_kill_in_a_request_that_moves_money_is_in_doubt(real_stage: Stages) -> None:
    """A subaccount request whose answer nobody heard is never sent again: the outcome is in doubt, an operator
    decides.
    """

    async def one(point: str) -> None:
        event = {"userId": None, "traderId": "t", "orderId": "F-1", "application": application()}
        firm, outcome = await _killed(real_stage, point, "trader.passed", event)
        assert (outcome["status"], outcome["errorCode"]) == ("in_doubt", "in_doubt"), point
        made = sum(firm.stage.effects["subaccount_requests"].values())
        assert made == (0 if point.startswith("before") else 1), point
        await nothing_stuck(firm.stage)

    # The first call asks for duplicates, the second one moves the money.
    await together({point: one(point) for point in ("before_call:2", "after_call:2")})


@pytest.mark.crash
@at_once
async def test_a_kill_in_a_departure_ends_both_domains(real_stage: Stages) -> None:
    """A replica killed between the two domains leaves a departure that another one carries to its end."""

    async def one(point: str) -> None:
        event = {"userId": None, "immediate": True}
        firm, outcome = await _killed(real_stage, point, "trader.left", event)
        assert outcome["status"] == "succeeded", point
        await nothing_stuck(firm.stage)

    await together({point: one(point) for point in ("after_call:1", "after_record:1", "after_call:2")})
