"""`trader.failed` from Kafka to the partner and back: who is out, who is not, and how many calls that took."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.oracle import never_together, nothing_stuck
from tests.support.spine import Stages
from tests.support.waiting import eventually

REVOKE = "/user/revokeTradingPermissions"


async def test_a_failed_order_loses_every_permission_on_its_account(stage: Stages) -> None:
    """What the ledger knows goes with the first call; what else is on the account is found and follows."""
    firm = Firm(await stage())
    await firm.stage.replica()
    await firm.stage.buy(purchase(1))
    (bought,) = await firm.stage.all_ended()
    ((user, _, _),) = firm.seed()
    given = await firm.outcome("account.assigned", accountId=bought["accountId"], userId=user)
    outcome = await firm.outcome("trader.failed", traderId="cust-1", orderId="100001", reason="drawdown")
    both = {bought["tradingPermissionId"], given["tradingPermissionId"]}
    assert (outcome["status"], set(outcome["tradingPermissionIds"])) == ("succeeded", both)
    assert (outcome["userId"], outcome["accountId"]) == (bought["userId"], bought["accountId"])
    assert {firm.permission(each)["status"] for each in both} == {"Revoked"}
    assert firm.stage.calls(REVOKE)[0]["number"] < firm.stage.calls("/user/getAccountTradingPermissions")[-1]["number"]
    never_together(firm.stage)


async def test_by_account_and_by_permission_at_once(stage: Stages) -> None:
    """An account that the ledger never saw and permissions by their ids are revoked, revoked ones count as done."""
    firm = Firm(await stage())
    await firm.stage.replica()
    one, two, three = firm.seed(3)
    await firm.outcome("trader.failed", traderId="t", tradingPermissionIds=[three[2]])
    outcome = await firm.outcome(
        "trader.failed", traderId="t", accountId=one[1], tradingPermissionIds=[two[2], three[2]]
    )
    assert (outcome["status"], set(outcome["tradingPermissionIds"])) == ("succeeded", {one[2], two[2], three[2]})
    assert set(firm.stage.effects["revocations"].values()) == {1}


async def test_what_is_not_there_spoils_nothing_else(stage: Stages) -> None:
    """A permission and an account of nobody are reported as not found; what is there is revoked all the same."""
    firm = Firm(await stage())
    await firm.stage.replica()
    ((_, _, permission),) = firm.seed()
    outcome = await firm.outcome(
        "trader.failed", traderId="t", accountId=999_999, tradingPermissionIds=[permission, 888_888]
    )
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "not_found")
    assert outcome["tradingPermissionIds"] == [permission]
    assert "888888" in outcome["errorText"]
    assert "999999" in outcome["errorText"]
    assert firm.permission(permission)["status"] == "Revoked"


async def test_another_traders_is_a_conflict_and_untouched(stage: Stages) -> None:
    """Order, account and permission of another trader are left alone, the own one is revoked."""
    firm = Firm(await stage())
    await firm.stage.replica()
    await firm.stage.buy(purchase(1), purchase(2))
    own, other = await firm.stage.all_ended()
    outcome = await firm.outcome(
        "trader.failed",
        traderId="cust-1",
        orderId="100002",
        accountId=own["accountId"],
        tradingPermissionIds=[other["tradingPermissionId"]],
    )
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "conflict")
    assert outcome["tradingPermissionIds"] == [own["tradingPermissionId"]]
    assert firm.permission(other["tradingPermissionId"])["status"] == "Approved"
    assert firm.permission(own["tradingPermissionId"])["status"] == "Revoked"


async def test_a_permission_of_a_user_who_is_known_as_anothers_is_a_conflict(stage: Stages) -> None:
    """An account that the ledger does not know stays untouched when its user is known to be another trader's."""
    firm = Firm(await stage())
    await firm.stage.replica()
    await firm.stage.buy(purchase(1))
    (bought,) = await firm.stage.all_ended()
    seed = firm.stage.partner.sandbox.control.seed
    account = seed({"accounts": [{"name": "ELSEWHERE1"}]})["accountIds"][0]
    permission = seed({"permissions": [{"accountId": account, "userId": bought["userId"]}]})["tradingPermissionIds"][0]
    outcome = await firm.outcome("trader.failed", traderId="stranger", accountId=account)
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "conflict")
    assert firm.permission(permission)["status"] == "Accepted"


async def test_a_failure_that_overtakes_its_purchase_waits_for_it(stage: Stages) -> None:
    """Sent before the purchase, it revokes the permission that the purchase makes, and waits no longer than that."""
    firm = Firm(await stage())
    firm.stage.fault("delay", "/user/createEvaluationAccounts", seconds=1.0)
    await firm.stage.replica()
    early = await firm.send("trader.failed", traderId="cust-1", orderId="100001")
    await eventually(lambda: firm.stage.count("/account/find") >= 1)
    await firm.stage.buy(purchase(1))
    outcome = await firm.ended(early)
    (bought,) = await firm.stage.all_ended()
    assert (outcome["status"], outcome["tradingPermissionIds"]) == ("succeeded", [bought["tradingPermissionId"]])
    assert firm.permission(bought["tradingPermissionId"])["status"] == "Revoked"
    await nothing_stuck(firm.stage)


async def test_an_order_that_nobody_placed_is_not_found_after_a_while(stage: Stages) -> None:
    """UNKNOWN_WAIT_SECONDS later the outcome says so."""
    firm = Firm(await stage(UNKNOWN_WAIT_SECONDS="1"))
    await firm.stage.replica()
    outcome = await firm.outcome("trader.failed", traderId="t", orderId="777")
    assert (outcome["status"], outcome["errorCode"], outcome["tradingPermissionIds"]) == ("failed", "not_found", [])


async def test_an_order_that_only_tradovate_knows_is_found_by_its_name(stage: Stages) -> None:
    """With an empty ledger the account name follows from the order, and the purchase read again makes nothing new."""
    firm = Firm(await stage())
    seed = firm.stage.partner.sandbox.control.seed
    user = seed({"users": [{"name": "login1x", "email": "mail1x@example.com"}]})["userIds"][0]
    account = seed({"accounts": [{"name": "EVAL100001"}]})["accountIds"][0]
    permission = seed({"permissions": [{"accountId": account, "userId": user}]})["tradingPermissionIds"][0]
    await firm.stage.replica()
    outcome = await firm.outcome("trader.failed", traderId="cust-1", orderId="100001")
    assert (outcome["status"], outcome["tradingPermissionIds"]) == ("succeeded", [permission])
    await firm.stage.buy(purchase(1))
    (bought,) = await firm.stage.all_ended()
    assert (bought["status"], bought["accountId"]) == ("succeeded", account)
    assert [row["status"] for row in firm.stage.partner.sandbox.core.world.permissions_on(account)] == ["Revoked"]


async def test_many_failures_share_a_call_and_a_refused_one_only_spoils_itself(stage: Stages) -> None:
    """A hundred revocations go together; one that the partner refuses costs its neighbours nothing but a few calls."""
    firm = Firm(await stage())
    seeded = firm.seed(60)
    bad = seeded[17][2]
    firm.stage.fault("error_text", REVOKE, contains=str(bad), body="Permission is on hold")
    ids = [
        await firm.send("trader.failed", traderId=f"t{n}", tradingPermissionIds=[row[2]])
        for n, row in enumerate(seeded)
    ]
    await firm.stage.replica()
    outcomes = await asyncio.gather(*(firm.ended(each, 30) for each in ids))
    wrong = [outcome for outcome in outcomes if outcome["status"] != "succeeded"]
    assert [(each["errorCode"], each["errorText"]) for each in wrong] == [
        ("rejected", f"Permission {bad}: Permission is on hold")
    ]
    assert firm.stage.count(REVOKE) <= 25
    never_together(firm.stage)


@pytest.mark.parametrize("action", ["cut_after", "cut_before", "status_after"])
async def test_an_unclear_revocation_is_looked_up(stage: Stages, action: str) -> None:
    """After a cut or a 5xx the permission's state decides, and the trader is out in the end."""
    firm = Firm(await stage())
    ((_, _, permission),) = firm.seed()
    firm.stage.fault(action, REVOKE, times=1)
    await firm.stage.replica()
    outcome = await firm.outcome("trader.failed", traderId="t", tradingPermissionIds=[permission])
    assert (outcome["status"], outcome["tradingPermissionIds"]) == ("succeeded", [permission])
    assert firm.permission(permission)["status"] == "Revoked"
    assert firm.stage.count(REVOKE) == (2 if action == "cut_before" else 1)


@pytest.mark.parametrize(
    "switches",
    [
        {"items_max_ids": 10, "items_reversed": True},
        {"revoked_again": "error_text"},
        {"foreign_revoke": "ignored"},
        {"foreign_revoke": "404", "revoke_atomic": False},
    ],
)
async def test_whatever_the_partner_leaves_open(stage: Stages, switches: dict[str, object]) -> None:
    """Short answers, refusals of what is revoked, foreign ids that pass in silence: the outcome is the same."""
    firm = Firm(await stage())
    firm.switch(**switches)
    rows = firm.seed(12)
    await firm.stage.replica()
    await firm.outcome("trader.failed", traderId="t", tradingPermissionIds=[rows[0][2]])
    wanted = [row[2] for row in rows]
    outcome = await firm.outcome("trader.failed", traderId="t", tradingPermissionIds=[*wanted, 888_888])
    assert (outcome["errorCode"], sorted(outcome["tradingPermissionIds"])) == ("not_found", sorted(wanted))


async def test_a_revocation_leaves_within_one_call_of_a_full_queue(stage: Stages) -> None:
    """With a thousand purchases queued and a budget of twenty calls, a failed trader is out at once: no operation is
    begun twice before it.
    """
    firm = Firm(await stage(TRADOVATE_HOURLY_BUDGET="20"))
    ((_, _, permission),) = firm.seed()
    firm.stage.fault("delay", "/user/createEvaluationUsers", seconds=0.3)
    await firm.stage.replica()
    await firm.stage.buy(*(purchase(n) for n in range(1, 1001)))
    await eventually(lambda: firm.stage.count("/user/createEvaluationUsers") >= 3)
    outcome = await firm.outcome("trader.failed", traderId="t", tradingPermissionIds=[permission])
    assert outcome["status"] == "succeeded"
    # From the moment at which the revocation could go: its look-up was a call of its own, beside which others begin.
    # What one look at the ledger had chosen before that moment is begun in turn, each operation once.
    overtaken = await firm.stage.rows(
        "select c.operation, count(distinct c.at) as times from call c, step s"
        " where s.operation = 'revokeTradingPermissions'"
        " and c.at > s.created_at and c.kind = 'send' and c.at < ("
        " select min(at) from call where operation = 'revokeTradingPermissions') group by c.operation"
    )
    assert all(row["times"] == 1 for row in overtaken), [dict(row) for row in overtaken]
