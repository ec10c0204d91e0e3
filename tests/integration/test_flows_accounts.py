"""`account.assigned`, `permission.requested` and `account.reset` from Kafka to the partner and back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.events import purchase
from tests.support.firm import Firm, application
from tests.support.oracle import never_together
from tests.support.spine import Stages
from tests.support.waiting import eventually

CREATE = "/user/createTradingPermission"
REQUEST = "/user/requestTradingPermission"
RESET = "/account/resetDemoAccountState"


async def test_an_assigned_account_gets_its_permission(stage: Stages) -> None:
    """One permission for the pair, and its id in the outcome."""
    firm = Firm(await stage())
    await firm.stage.replica()
    ((user, account, _),) = firm.seed(permission=None)
    outcome = await firm.outcome("account.assigned", accountId=account, userId=user)
    assert (outcome["status"], outcome["accountId"], outcome["userId"]) == ("succeeded", account, user)
    assert firm.permission(outcome["tradingPermissionId"])["accountId"] == account


@pytest.mark.parametrize("again", ["error_text", "existing", "second"])
async def test_the_same_pair_at_once_gets_one_permission(stage: Stages, again: str) -> None:
    """Two events of one pair get the same id, whatever the partner would say to a second permission."""
    firm = Firm(await stage())
    firm.switch(same_permission_again=again)
    ((user, account, _),) = firm.seed(permission=None)
    ids = [await firm.send("account.assigned", accountId=account, userId=user) for _ in range(2)]
    await firm.stage.replica()
    one, two = await asyncio.gather(*(firm.ended(each) for each in ids))
    later = await firm.outcome("account.assigned", accountId=account, userId=user)
    assert {each["status"] for each in (one, two, later)} == {"succeeded"}
    assert one["tradingPermissionId"] == two["tradingPermissionId"] == later["tradingPermissionId"]
    assert firm.stage.effects["permissions"] == {f"{account}:{user}": 1}


async def test_an_unclear_assignment_is_looked_up(stage: Stages) -> None:
    """An answer that was lost after the effect is found, and no second permission is made."""
    firm = Firm(await stage())
    firm.switch(same_permission_again="second")
    firm.stage.fault("cut_after", CREATE, times=1)
    await firm.stage.replica()
    ((user, account, _),) = firm.seed(permission=None)
    outcome = await firm.outcome("account.assigned", accountId=account, userId=user)
    assert outcome["status"] == "succeeded"
    assert firm.stage.effects["permissions"] == {f"{account}:{user}": 1}


async def test_a_refused_assignment_says_why(stage: Stages) -> None:
    """The partner's words come through."""
    firm = Firm(await stage())
    await firm.stage.replica()
    outcome = await firm.outcome("account.assigned", accountId=999_999, userId=888_888)
    assert (outcome["status"], outcome["errorCode"], outcome["errorText"]) == (
        "failed",
        "rejected",
        "Account not found",
    )


async def graduated(firm: Firm) -> tuple[int, int]:
    """A trader whose subaccount is approved: the user, and the account on LIVE."""
    ((user, _, _),) = firm.seed()
    request = await firm.send("trader.passed", userId=user, application=application())
    made = await firm.outcome_with(request, "pending")
    firm.review(made["requestId"], "Approved")
    account: int = firm.stage.partner.sandbox.core.world.requests.rows[made["requestId"]]["accountId"]
    return user, account


def on_live(firm: Firm, permission_id: int) -> dict[str, Any]:
    """A permission of LIVE as the partner has it."""
    row: dict[str, Any] = firm.stage.partner.sandbox.core.world.live_permissions.rows[permission_id]
    return row


@pytest.mark.parametrize("fault", ["", "cut_after", "late"])
async def test_a_graduates_account_is_assigned_on_live(stage: Stages, fault: str) -> None:
    """One permission on LIVE and none on DEMO, also when the answer is lost; the same pair again gets the same id."""
    firm = Firm(await stage())
    firm.switch(same_permission_again="second")
    await firm.stage.replica()
    user, account = await graduated(firm)
    if fault:
        more = {"seconds": 0.3, "answer": "504"} if fault == "late" else {}
        firm.stage.fault(fault, CREATE, times=1, domain="live", **more)
    outcome = await firm.outcome("account.assigned", accountId=account, userId=user, domain="LIVE")
    again = await firm.outcome("account.assigned", accountId=account, userId=user, domain="LIVE")
    assert (outcome["status"], outcome["accountId"], outcome["userId"]) == ("succeeded", account, user)
    assert again["tradingPermissionId"] == outcome["tradingPermissionId"]
    assert on_live(firm, outcome["tradingPermissionId"])["accountId"] == account
    assert firm.stage.effects["permissions"] == {f"live:{account}:{user}": 1}
    assert {call["domain"] for call in firm.stage.calls(CREATE)} == {"live"}


async def test_an_account_that_is_not_on_that_domain_is_refused(stage: Stages) -> None:
    """An account of LIVE is unknown on DEMO, and the other way around."""
    firm = Firm(await stage())
    await firm.stage.replica()
    user, live = await graduated(firm)
    ((_, demo, _),) = firm.seed(permission=None)
    for account, domain in ((live, "DEMO"), (demo, "LIVE")):
        outcome = await firm.outcome("account.assigned", accountId=account, userId=user, domain=domain)
        assert (outcome["status"], outcome["errorCode"]) == ("failed", "rejected")
    assert firm.stage.effects["permissions"] == {}


async def test_a_permission_of_live_is_left_by_a_failure_and_ended_by_a_departure(stage: Stages) -> None:
    """Revocations are on DEMO, where another permission has the same number; cancelEverything ends it on LIVE."""
    firm = Firm(await stage())
    await firm.stage.replica()
    user, account = await graduated(firm)
    given = await firm.outcome("account.assigned", accountId=account, userId=user, domain="LIVE")
    permission = given["tradingPermissionId"]
    strangers = firm.permission(permission)
    assert strangers["userId"] == user  # the numbers of the two domains are equal here
    failed = await firm.outcome("trader.failed", traderId="grace", tradingPermissionIds=[permission])
    assert (failed["status"], failed["errorCode"], failed["tradingPermissionIds"]) == ("failed", "not_found", [])
    assert f"Permission {permission} is on LIVE" in failed["errorText"]
    assert firm.permission(permission)["status"] == "Accepted"
    before = len(firm.stage.calls())
    left = await firm.outcome("trader.left", userId=user, immediate=True)
    assert left["status"] == "succeeded"
    assert on_live(firm, permission)["status"] == "Revoked"
    read = {call["path"] for call in firm.stage.calls()[before:] if call["domain"] == "live"}
    assert {"/tradingpermission/deps", "/tradingpermission/ldeps"} & read


@pytest.mark.parametrize("again", ["error_text", "existing"])
async def test_a_requested_permission_is_requested_once(stage: Stages, again: str) -> None:
    """One already requested or accepted is success, with the same id."""
    firm = Firm(await stage())
    firm.switch(same_request_again=again)
    await firm.stage.replica()
    (_, account, _), (user, _, _) = firm.seed(2)
    email = firm.stage.partner.sandbox.core.world.users.rows[user]["email"]
    asked = {"accountId": account, "ctaContact": "Some Contactx", "ctaEmail": email}
    first, second = [await firm.outcome("permission.requested", **asked) for _ in range(2)]
    assert (first["status"], second["status"]) == ("succeeded", "succeeded")
    assert first["tradingPermissionId"] == second["tradingPermissionId"]
    assert firm.stage.count(REQUEST) == 1


async def test_a_refused_request_is_reported_with_personal_values_masked(stage: Stages) -> None:
    """The partner's words come through, but for the contact's name and e-mail."""
    firm = Firm(await stage())
    firm.stage.fault("error_text", REQUEST, body="No CTA secretly@example.com is known")
    await firm.stage.replica()
    ((_, account, _),) = firm.seed()
    outcome = await firm.outcome(
        "permission.requested", accountId=account, ctaContact="Secret Person", ctaEmail="secretly@example.com"
    )
    assert (outcome["errorCode"], outcome["errorText"]) == ("rejected", "No CTA *** is known")
    for table in ("flow", "step", "outcome"):
        for row in await firm.stage.rows(f"select t::text as line from {table} t"):  # noqa: S608 - names of ours
            assert "secretly@example.com" not in row["line"]


async def test_resets_of_one_day_share_a_call_and_days_do_not(stage: Stages) -> None:
    """Accounts go together when they go back to the same day."""
    firm = Firm(await stage())
    rows = firm.seed(20)
    ids = [
        await firm.send("account.reset", accountId=row[1], tradeDate=f"2026-11-{19 + n % 2}")
        for n, row in enumerate(rows)
    ]
    await firm.stage.replica()
    outcomes = await asyncio.gather(*(firm.ended(each) for each in ids))
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert firm.stage.effects["resets"] == {f"{row[1]}:2026-11-{19 + n % 2}": 1 for n, row in enumerate(rows)}
    assert firm.stage.count(RESET) <= 6
    never_together(firm.stage)


async def test_a_reset_by_order_waits_for_its_account(stage: Stages) -> None:
    """Sent before the purchase, it resets the account that the purchase makes."""
    firm = Firm(await stage())
    await firm.stage.replica()
    early = await firm.send("account.reset", orderId="100001", tradeDate="2026-11-20")
    await eventually(lambda: firm.stage.steps("state = 'waiting'"))
    await firm.stage.buy(purchase(1))
    outcome = await firm.ended(early)
    (bought,) = await firm.stage.all_ended()
    assert (outcome["status"], outcome["accountId"]) == ("succeeded", bought["accountId"])
    assert (outcome["traderId"], outcome["userId"]) == ("cust-1", bought["userId"])


async def test_what_the_ledger_knows_of_an_account_is_reported(stage: Stages) -> None:
    """By the account alone the outcome names its order and its name, for the trader whose account it is."""
    firm = Firm(await stage())
    await firm.stage.replica()
    await firm.stage.buy(purchase(1))
    (bought,) = await firm.stage.all_ended()
    account = bought["accountId"]
    outcomes = [
        await firm.outcome("account.reset", accountId=account, tradeDate="2026-11-20"),
        await firm.outcome("trader.failed", traderId="cust-1", accountId=account),
        await firm.outcome("trader.failed", traderId="cust-1", orderId=bought["orderId"]),
    ]
    for outcome in outcomes:
        reported = {name: outcome[name] for name in ("orderId", "accountId", "accountName")}
        assert reported == {name: bought[name] for name in reported}
    other = await firm.outcome("trader.failed", traderId="another", accountId=account)
    assert (other["errorCode"], other["orderId"], other["accountName"]) == ("conflict", None, None)


async def test_an_account_that_is_not_the_orders_is_a_conflict(stage: Stages) -> None:
    """An order and another account beside it reset neither."""
    firm = Firm(await stage())
    await firm.stage.replica()
    await firm.stage.buy(purchase(1))
    await firm.stage.all_ended()
    outcome = await firm.outcome("account.reset", orderId="100001", accountId=5, tradeDate="2026-11-20")
    assert outcome["errorCode"] == "conflict"
    assert firm.stage.count(RESET) == 0


async def test_a_refused_reset_only_spoils_itself(stage: Stages) -> None:
    """An account without a permission refuses its whole call; its neighbours are reset all the same."""
    firm = Firm(await stage())
    rows = firm.seed(11)
    ((_, bare, _),) = firm.seed(permission=None)
    ids = [await firm.send("account.reset", accountId=row[1], tradeDate="2026-11-20") for row in rows]
    wrong = await firm.send("account.reset", accountId=bare, tradeDate="2026-11-20")
    await firm.stage.replica()
    outcomes = await asyncio.gather(*(firm.ended(each) for each in ids))
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    refused = await firm.ended(wrong)
    assert (refused["errorCode"], refused["errorText"]) == ("rejected", "Account has no active trading permission")


async def test_an_unclear_reset_is_sent_again(stage: Stages) -> None:
    """Nothing tells whether it was carried out, and the same again is harmless."""
    firm = Firm(await stage())
    firm.stage.fault("cut_after", RESET, times=1)
    await firm.stage.replica()
    ((_, account, _),) = firm.seed()
    outcome = await firm.outcome("account.reset", accountId=account, tradeDate="2026-11-20")
    assert (outcome["status"], outcome["attempts"]) == ("succeeded", 2)
