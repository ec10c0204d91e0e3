"""The purchase from end to end in fair weather, and what it makes of events that repeat or contradict each other."""

from __future__ import annotations

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages


async def test_a_purchase_makes_one_user_one_account_and_tells_it(stage: Stages) -> None:
    """A purchase ends in one outcome with the ids of one user, one account and one permission."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1, contact=True), purchase(2))
    outcomes = await on.all_ended()
    assert [outcome["status"] for outcome in outcomes] == ["succeeded", "succeeded"]
    assert outcomes[0]["accountName"] == "EVAL100001"
    await oracle.holds_all(on)
