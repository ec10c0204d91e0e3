"""A result needs proof: what the partner does not say is neither success nor the event's fault (README, "What happens
when").
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.spine import Stages
from tests.support.waiting import eventually, together
from worker.sandbox import SandboxConfig

USERS = "/user/createevaluationusers"
ACCOUNTS = "/user/createevaluationaccounts"
CONTACT = "/contactinfo/updatecontactinfo"
ADD = "/userplugin/addentitlementsubscription"
REVOKE = "/user/revoketradingpermissions"
RESET = "/account/resetdemoaccountstate"
CANCEL = "/user/canceleverything"

FORMS: list[dict[str, Any]] = [
    *({"action": "garbage", "form": form, "effect": False} for form in ("object", "error", "failure", "penalty")),
    *({"action": "garbage", "form": form, "effect": True} for form in ("object", "error", "failure", "penalty")),
    *({"action": "status_before", "status": status} for status in (404, 405, 307, 421, 410, 402, 400)),
    {"action": "status_before", "status": 404, "body": "<html>not found</html>"},
    {"action": "status_before", "status": 400, "body": '{"error": "bad gateway"}'},
]


def name(fault: dict[str, Any]) -> str:
    return "-".join(str(value) for value in fault.values())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", range(3))
async def test_what_says_nothing_blames_no_event(stage: Stages, part: int) -> None:
    """A purchase, an entitlement, a revocation and a reset that are answered twice with something that proves nothing
    end as they would have without it, and each took effect once.
    """
    await together({name(fault): _blames_nobody(stage, fault) for fault in FORMS[part::3]})


async def _blames_nobody(stage: Stages, fault: dict[str, Any]) -> None:
    firm = Firm(await stage())
    on = firm.stage
    await on.replica()
    for path in (USERS, ACCOUNTS, CONTACT, ADD, REVOKE, RESET):
        on.fault(operation=path, times=2, **fault)
    await on.buy(*(purchase(number, contact=number == 0) for number in range(3)))
    outcomes = await on.all_ended()
    assert {(outcome["status"], outcome["errorCode"]) for outcome in outcomes} == {("succeeded", None)}
    assert outcomes[0]["warnings"] == []
    oracle.once_in_effect(on)
    firm.sign(outcomes[0]["userId"])
    signed = await firm.outcome("md.signed", userId=outcomes[0]["userId"])
    assert signed["status"] == "succeeded"
    assert set(on.effects["entitlements"].values()) == {1}
    reset = await firm.outcome("account.reset", accountId=outcomes[1]["accountId"], tradeDate="2026-11-20")
    assert reset["status"] == "succeeded"
    failed = await firm.outcome("trader.failed", traderId="cust-2", orderId="100002")
    assert failed["tradingPermissionIds"] == [outcomes[2]["tradingPermissionId"]]
    assert firm.permission(outcomes[2]["tradingPermissionId"])["status"] == "Revoked"
    assert on.effects["twice"] == {}
    oracle.never_together(on)


async def test_an_entitlement_that_was_not_added_is_no_success(stage: Stages) -> None:
    """`{"error": "invalid_token"}` for ever: the event waits, and no outcome says that it succeeded."""
    firm = Firm(await stage(RETRY_FOR_SECONDS="3"))
    await firm.stage.replica()
    ((user, _, _),) = firm.seed()
    firm.sign(user)
    firm.stage.fault("garbage", ADD, form="error", effect=False)
    outcome = await firm.outcome("md.signed", userId=user)
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "gave_up")
    assert firm.stage.effects["entitlements"] == {}


EVERYTHING: list[dict[str, Any]] = [
    {"action": "status_before", "status": 404},
    {"action": "garbage", "form": "hollow", "effect": False},
]


@pytest.mark.parametrize("fault", EVERYTHING, ids=name)
async def test_a_host_that_says_the_same_to_everything_proves_nothing_absent(
    stage: Stages, fault: dict[str, Any]
) -> None:
    """The answer to a call is lost, and from then on DEMO answers an empty 404, or `[{}]`, to all: no second account is
    made, though Tradovate would make one.
    """
    on = await stage(SandboxConfig(account_names_unique=False))
    await on.replica()
    on.fault("cut_after", ACCOUNTS, times=1)
    on.fault(domain="demo", after=1, **fault)
    async with on.gathered("createEvaluationUsers", "createEvaluationAccounts"):
        await on.buy(*(purchase(number) for number in range(3)))
    demo = [call["path"] for call in on.calls() if call["domain"] == "demo"]
    await eventually(lambda: len([call for call in on.calls() if call["domain"] == "demo"]) >= len(demo) + 4)
    assert on.wire.outcomes == []
    assert on.count(ACCOUNTS) == 1, [(call["path"], call["status"]) for call in on.calls()]
    on.partner.sandbox.core.faults.clear()
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert on.count(ACCOUNTS) == 1, [(call["path"], call["status"], call["items"]) for call in on.calls()]
    await oracle.holds_all(on)


async def test_an_empty_404_is_not_found_only_if_the_entity_is_not_there(stage: Stages) -> None:
    """A reset of an account that nobody has, answered 404, ends as not_found; beside it one that is there is retried
    until it is done, and a trader without a user likewise.
    """
    firm = Firm(await stage())
    on = firm.stage
    ((_, account, _),) = firm.seed()
    for contains in ("999999", str(account)):
        on.fault("status_before", RESET, status=404, contains=contains, times=0 if contains == "999999" else 4)
    on.fault("status_before", CANCEL, status=404, contains="888888")
    await on.replica()
    there = await firm.send("account.reset", accountId=account, tradeDate="2026-11-20")
    nowhere = await firm.outcome("account.reset", accountId=999_999, tradeDate="2026-11-20")
    assert (nowhere["status"], nowhere["errorCode"]) == ("failed", "not_found")
    assert "999999" in nowhere["errorText"]
    assert (await firm.ended(there))["status"] == "succeeded"
    left = await firm.outcome("trader.left", userId=888_888, immediate=True)
    assert (left["status"], left["errorCode"]) == ("failed", "not_found")


async def test_a_missing_permission_of_the_key_fails_no_event(stage: Stages) -> None:
    """A call that is answered 401 with a good token waits until an operator has set the key right."""
    on = await stage()
    await on.replica()
    on.fault("status_before", ACCOUNTS, status=401, body="Access is denied")
    await on.buy(purchase(1), purchase(2))
    await eventually(lambda: on.count(ACCOUNTS) >= 4)
    assert on.wire.outcomes == []
    on.partner.sandbox.core.faults.clear()
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert on.state["sessions"]["logins"] == 1
    await oracle.holds_all(on)


async def test_one_text_with_a_nul_spoils_nothing(stage: Stages) -> None:
    """The item whose errorText holds a NUL is rejected with the rest of it; the others of its call succeed, and the
    call is made once.
    """
    on = await stage()
    await on.replica()
    on.fault("poison", ACCOUNTS, contains='"EVAL100001"', form="item", body="Not \x00 welcome")
    async with on.gathered("createEvaluationUsers", "createEvaluationAccounts"):
        await on.buy(*(purchase(number) for number in range(5)))
    outcomes = await on.all_ended()
    assert [outcome["status"] for outcome in outcomes] == ["succeeded", "failed", "succeeded", "succeeded", "succeeded"]
    assert (outcomes[1]["errorCode"], outcomes[1]["errorText"]) == ("rejected", "Not  welcome")
    assert on.count(ACCOUNTS) == 1
    await oracle.holds_all(on)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", [{"action": "status_before", "status": 502}, {"action": "cut_before"}], ids=name)
@pytest.mark.parametrize("path", [USERS, ACCOUNTS])
async def test_an_item_that_makes_its_batch_fail_is_isolated(stage: Stages, path: str, fault: dict[str, Any]) -> None:
    """One of a hundred makes the partner fail whenever it is in the call: the others succeed at the cost of some
    fifteen calls more, and it is given up alone.
    """
    on = await stage(RETRY_FOR_SECONDS="20")
    await on.replica()
    wanted = "login42x" if path == USERS else "EVAL100042"
    on.fault(operation=path, contains=f'"{wanted}"', **fault)
    async with on.gathered("createEvaluationUsers" if path == USERS else "createEvaluationAccounts"):
        await on.buy(*(purchase(number) for number in range(100)))
    good = [event for event in on.events if event["eventId"] != "e-42"]
    for event in good:
        assert (await on.outcome(event))["status"] == "succeeded"
    together = [call for call in on.calls(path) if call["items"] > 1]
    assert len(together) <= 15, [call["items"] for call in together]
    alone = [call for call in on.calls(path) if call["items"] == 1]
    bad = await on.outcome("e-42")
    assert (bad["status"], bad["errorCode"]) == ("failed", "gave_up")
    assert len(alone) <= 12
    await oracle.holds_all(on)


async def test_one_permission_that_makes_tradovate_fail_keeps_no_other_alive(stage: Stages) -> None:
    """Of three in one event the other two are revoked, long before that one is given up."""
    firm = Firm(await stage(RETRY_FOR_SECONDS="12"))
    await firm.stage.replica()
    ids = [row[2] for row in firm.seed(3)]
    firm.stage.fault("status_before", REVOKE, status=502, contains=str(ids[0]))
    event = await firm.send("trader.failed", traderId="t", tradingPermissionIds=ids)
    await eventually(lambda: {firm.permission(good)["status"] for good in ids[1:]} == {"Revoked"})
    outcome = await firm.ended(event, 40)
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "gave_up")
    assert sorted(outcome["tradingPermissionIds"]) == ids[1:]
