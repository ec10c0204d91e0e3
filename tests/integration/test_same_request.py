"""Two events ask for the same, and Tradovate would carry out both: one of them is, whatever happens in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.oracle import never_together
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.ledger import holds
from worker.sandbox import SandboxConfig

ENTITLEMENT = "userPlugin/addEntitlementSubscription"
PERMISSION = "user/createTradingPermission"


def entitlements(firm: Firm, user_id: int) -> int:
    """How many the user has."""
    return len(list(firm.stage.partner.sandbox.core.world.plugins.of(user_id)))


def active(firm: Firm, user_id: int) -> int:
    """Trading permissions of the user that let somebody trade."""
    rows = firm.stage.partner.sandbox.core.world.permissions.of(user_id)
    return len([row for row in rows if row["status"] in ("Accepted", "Approved", "Requested")])


async def unknown(firm: Firm, operation: str) -> None:
    """Returns when a call has been sent whose result is not known."""
    query = "select 1 from step where operation like $1 and state = 'unknown' and attempts = 1"
    await eventually(lambda: firm.stage.rows(query, f"{operation}%"), 20)


async def test_an_entitlement_whose_call_takes_effect_late_is_there_once(stage: Stages) -> None:
    """A signature's call has no answer, and its effect comes seconds later. Another signature of the same user waits
    for what becomes of it.
    """
    firm = Firm(await stage(SandboxConfig(entitlement_again="second"), TRADOVATE_SETTLE_SECONDS="4"))
    await firm.stage.replica()
    await firm.stage.buy(purchase(1, contact=True))
    (bought,) = await firm.stage.all_ended()
    firm.sign(bought["userId"])
    late = {"action": "late", "operation": ENTITLEMENT, "seconds": 2, "answer": "504", "nth": 1}
    firm.stage.partner.sandbox.core.faults.add(late)
    first = await firm.send("md.signed", userId=bought["userId"])
    await unknown(firm, "addEntitlementSubscription")
    second = await firm.outcome("md.signed", userId=bought["userId"], timeout=40)
    assert (await firm.ended(first, 40))["status"] == second["status"] == "succeeded"
    assert entitlements(firm, bought["userId"]) == 1


async def test_a_permission_whose_call_takes_effect_late_is_there_once(stage: Stages) -> None:
    """The same of an account that is assigned twice."""
    config = SandboxConfig(same_permission_again="second")
    firm = Firm(await stage(config, TRADOVATE_SETTLE_SECONDS="4", TRADOVATE_MAINTENANCE="off"))
    await firm.stage.replica()
    ((user, account, _),) = firm.seed(1, permission=None)
    late = {"action": "late", "operation": PERMISSION, "seconds": 2, "answer": "504", "nth": 1}
    firm.stage.partner.sandbox.core.faults.add(late)
    first = await firm.send("account.assigned", accountId=account, userId=user)
    await unknown(firm, "createTradingPermission")
    second = await firm.outcome("account.assigned", accountId=account, userId=user, timeout=40)
    one = await firm.ended(first, 40)
    assert one["tradingPermissionId"] == second["tradingPermissionId"]
    assert active(firm, user) == 1


async def test_what_waits_for_its_ticket_is_looked_up_when_another_was_sent(stage: Stages) -> None:
    """A call is answered with a penalty ticket. Another event gets what it asks for meanwhile: the ticket is not used
    to ask for it again.
    """
    firm = Firm(await stage(SandboxConfig(entitlement_again="second")))
    await firm.stage.replica()
    await firm.stage.buy(purchase(1, contact=True))
    (bought,) = await firm.stage.all_ended()
    ticket = {"action": "ticket", "operation": ENTITLEMENT, "seconds": 3, "nth": 2}
    firm.stage.partner.sandbox.core.faults.add(ticket)
    first = await firm.send("md.signed", userId=bought["userId"])
    await eventually(lambda: firm.stage.rows("select 1 from hold where ticket is not null"), 30)
    firm.sign(bought["userId"])
    second = await firm.outcome("md.signed", userId=bought["userId"], timeout=40)
    assert (await firm.ended(first, 40))["status"] == second["status"] == "succeeded"
    assert entitlements(firm, bought["userId"]) == 1


@pytest.mark.parametrize("old", [True, False])
async def test_an_old_look_up_is_made_again(stage: Stages, *, old: bool) -> None:
    """An assignment was looked up, found nothing, and was then held up. Meanwhile somebody has made the permission in
    the dashboard: after five minutes that is found. Before, what the look-up said is acted upon.
    """
    config = SandboxConfig(same_permission_again="second")
    firm = Firm(await stage(config, TRADOVATE_MAINTENANCE="off"))
    here = await firm.stage.replica()
    ((user, account, _),) = firm.seed(1, permission=None)
    async with here.replica.database.transaction() as connection:
        held = holds.endpoint_scope("createTradingPermission")  # sends only: look-ups read elsewhere
        await holds.put(connection, held, "a test", lasts=timedelta(seconds=4))
    event = await firm.send("account.assigned", accountId=account, userId=user)
    due = "select 1 from step where operation = 'createTradingPermission' and state = 'due' and memory ? 'before'"
    await eventually(lambda: firm.stage.rows(due), 20)
    world = firm.stage.partner.sandbox.core.world
    world.permissions.add({"accountId": account, "userId": user, "status": "Accepted"})
    if old:
        async with here.replica.database.transaction() as connection:
            await connection.execute("update step set arrived = arrived - interval '6 minutes' where state = 'due'")
    assert (await firm.ended(event, 30))["status"] == "succeeded"
    assert active(firm, user) == (1 if old else 2)


async def test_who_holds_an_assigned_account_is_one_trader_under_either_name(stage: Stages) -> None:
    """An account that is no order's was assigned to a user. A call that names the account is not in flight beside one
    that names the user.
    """
    config = SandboxConfig(partner_ms=300, entitlement_needs_contact=False)
    firm = Firm(await stage(config, TRADOVATE_MAINTENANCE="off"))
    await firm.stage.replica()
    ((user, account, _),) = firm.seed(1, permission=None)
    firm.sign(user)
    assert (await firm.outcome("account.assigned", accountId=account, userId=user))["status"] == "succeeded"
    ended = await asyncio.gather(
        firm.outcome("account.locked", accountId=account, action="lock", reason="a test"),
        firm.outcome("md.signed", userId=user),
    )
    assert [each["status"] for each in ended] == ["succeeded", "succeeded"]
    never_together(firm.stage)
