"""One Tradovate user for each trader, and one trader for each user, in whatever order the events come."""

from __future__ import annotations

from typing import Any

from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.ledger import holds

CREATE = "createEvaluationUsers"
ACCOUNT = {"templateAccountId": 11, "initialBalance": 50000}


def conflict(outcome: dict[str, Any]) -> bool:
    """Whether the outcome says that somebody else has it."""
    return (outcome["status"], outcome["errorCode"]) == ("failed", "conflict")


async def test_a_user_of_another_trader_is_nobodys_to_name(stage: Stages) -> None:
    """A purchase that names the user of another trader is a conflict, and nothing of that user changes hands."""
    firm = Firm(await stage())
    await firm.stage.replica()
    await firm.stage.buy(purchase(1))
    (bought,) = await firm.stage.all_ended()
    named = await firm.outcome(
        "trader.purchased", orderId="200", traderId="bob", user={"userId": bought["userId"]}, account=ACCOUNT
    )
    assert conflict(named)
    left = await firm.outcome("trader.left", traderId="bob", userId=bought["userId"], immediate=True)
    assert conflict(left)
    assert firm.permission(bought["tradingPermissionId"])["status"] == "Approved"


async def test_a_user_of_another_trader_is_not_adopted(stage: Stages) -> None:
    """Two traders of the shop have one login name and one e-mail: the first one keeps the user."""
    firm = Firm(await stage())
    await firm.stage.replica()
    await firm.stage.buy(purchase(1))
    (bought,) = await firm.stage.all_ended()
    same = await firm.outcome(
        "trader.purchased", orderId="200", traderId="bob", user=purchase(1)["user"], account=ACCOUNT
    )
    assert conflict(same)
    ((owner,),) = await firm.stage.rows("select trader_id from trader where user_id = $1", bought["userId"])
    assert owner == "cust-1"


async def test_two_traders_of_one_login_get_one_user_between_them(stage: Stages) -> None:
    """The same at once: both ask for the login in one call, and one of them gets it."""
    firm = Firm(await stage())
    here = await firm.stage.replica()
    async with here.replica.database.transaction() as connection:
        await holds.pause(connection, CREATE, "a test")
    first, second = purchase(1), {**purchase(2), "user": purchase(1)["user"]}
    await firm.stage.buy(first, second)
    await eventually(lambda: firm.stage.rows("select 1 from step where operation = $1 offset 1", CREATE))
    async with here.replica.database.transaction() as connection:
        await holds.resume(connection, CREATE)
    outcomes = await firm.stage.all_ended()
    assert sorted(each["status"] for each in outcomes) == ["failed", "succeeded"]
    assert sum(conflict(each) for each in outcomes) == 1
    assert len(await firm.stage.rows("select 1 from trader where user_id is not null")) == 1


async def test_who_names_a_user_waits_for_the_one_that_is_being_made(stage: Stages) -> None:
    """While a purchase makes the trader's user, another event names a user for the same trader: it waits, and is a
    conflict. What the first one made is the trader's.
    """
    firm = Firm(await stage())
    here = await firm.stage.replica()
    ((other, _, _),) = firm.seed(1)
    async with here.replica.database.transaction() as connection:
        await holds.pause(connection, CREATE, "a test")
    await firm.stage.buy(purchase(1))
    await eventually(lambda: firm.stage.rows("select 1 from step where operation = $1", CREATE))
    second = await firm.send(
        "trader.purchased", orderId="200", traderId="cust-1", user={"userId": other}, account=ACCOUNT
    )
    third = await firm.send("trader.left", traderId="cust-1", userId=other, immediate=True)
    waiting = "select 1 from step where operation = 'plan' and state = 'waiting' offset 1"
    await eventually(lambda: firm.stage.rows(waiting))
    async with here.replica.database.transaction() as connection:
        await holds.resume(connection, CREATE)
    (bought,) = await firm.stage.all_ended()
    assert bought["status"] == "succeeded"
    assert conflict(await firm.ended(second))
    assert conflict(await firm.ended(third))
    ((user,),) = await firm.stage.rows("select user_id from trader where trader_id = 'cust-1'")
    assert user == bought["userId"]
    left = await firm.outcome("trader.left", traderId="cust-1", immediate=True)
    assert left["userId"] == bought["userId"]
    assert firm.permission(bought["tradingPermissionId"])["status"] == "Revoked"
