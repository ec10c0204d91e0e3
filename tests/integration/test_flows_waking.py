"""Flows that wait for another flow go on as soon as they can, and not when their next look is due."""

from __future__ import annotations

from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.ledger import holds


async def paused(firm: Firm, operation: str) -> None:
    """Starts a replica with one operation paused."""
    replica = (await firm.stage.replica()).replica
    async with replica.database.transaction() as connection:
        await holds.pause(connection, operation, "a test")


async def test_a_failure_that_came_first_revokes_while_contact_data_wait(stage: Stages) -> None:
    """A purchase that only waits for its contact data keeps its trader in no longer than it takes to revoke."""
    firm = Firm(await stage())
    await paused(firm, "updateContactInfo")
    early = await firm.send("trader.failed", traderId="cust-1", orderId="100001")
    await eventually(lambda: firm.stage.steps("state = 'waiting' and waits_for is not null"))
    await firm.stage.buy(purchase(1, contact=True))
    outcome = await firm.ended(early)
    assert (outcome["status"], outcome["accountName"]) == ("succeeded", "EVAL100001")
    assert firm.permission(outcome["tradingPermissionIds"][0])["status"] == "Revoked"
    assert firm.stage.final("e-1") is None


async def test_a_failure_waits_no_longer_than_for_a_permission_of_its_own(stage: Stages) -> None:
    """An account that came without its permission is waited for until it has one."""
    firm = Firm(await stage())
    firm.switch(permission_with_account=False)
    await paused(firm, "updateContactInfo")
    early = await firm.send("trader.failed", traderId="cust-1", orderId="100001")
    await firm.stage.buy(purchase(1, contact=True))
    outcome = await firm.ended(early)
    assert firm.permission(outcome["tradingPermissionIds"][0])["status"] == "Revoked"


async def test_a_reset_by_order_goes_on_while_contact_data_wait(stage: Stages) -> None:
    """An account is reset as soon as its order has it."""
    firm = Firm(await stage())
    await paused(firm, "updateContactInfo")
    early = await firm.send("account.reset", orderId="100001", tradeDate="2026-11-20")
    await firm.stage.buy(purchase(1, contact=True))
    assert (await firm.ended(early))["status"] == "succeeded"
    assert firm.stage.final("e-1") is None
