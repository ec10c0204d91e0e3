"""The purchase from end to end in fair weather, and what it makes of events that repeat or contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.sandbox import SandboxConfig

IDS = ("userId", "accountId", "accountName", "tradingPermissionId", "tradingPermissionIds")


def ids(outcome: dict[str, Any]) -> dict[str, Any]:
    return {name: outcome[name] for name in IDS}


async def test_a_purchase_makes_one_user_one_account_and_tells_it(stage: Stages) -> None:
    """A purchase ends in one outcome with the ids of one user, one account and one permission."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1, contact=True), purchase(2))
    outcomes = await on.all_ended()
    assert [outcome["status"] for outcome in outcomes] == ["succeeded", "succeeded"]
    assert outcomes[0]["accountName"] == "EVAL100001"
    assert outcomes[0]["warnings"] == []
    published = next(record for record in on.wire.heard if record.key == b"cust-1")
    assert published.header["ce_id"] == outcomes[0]["outcomeId"].encode()
    await oracle.holds_all(on)


async def test_the_same_event_again_changes_nothing(stage: Stages) -> None:
    """An event that is delivered five times is carried out and answered once."""
    on = await stage()
    await on.replica()
    await on.buy(*[purchase(1)] * 5)
    await on.all_ended()
    await on.buy(purchase(1), purchase(2))
    await on.all_ended()
    assert on.count("/user/createevaluationaccounts") <= 2
    await oracle.holds_all(on)


async def test_the_same_order_again_gets_the_same_ids_without_a_call(stage: Stages) -> None:
    """Another event for an order that was placed gets the ids that the first one got, and nobody is called."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1))
    (first,) = await on.all_ended()
    before = on.state["calls"]["total"]
    other_words = {**purchase(1)["user"], "firstName": "Somebody", "email": "other.mail@example.com"}
    await on.buy(purchase(1, eventId="again", user=other_words))
    _, again = await on.all_ended()
    assert again["status"] == "succeeded"
    assert ids(again) == ids(first)
    assert on.state["calls"]["total"] == before
    await oracle.holds_all(on)


async def test_the_same_order_at_the_same_moment_is_placed_once(stage: Stages) -> None:
    """Two events that name one order at once end with the same ids."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1), purchase(1, eventId="twin"), purchase(1, eventId="triplet"))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert ids(outcomes[0]) == ids(outcomes[1]) == ids(outcomes[2])
    await oracle.holds_all(on)


@pytest.mark.parametrize("placed", ["before", "while"])
async def test_an_order_with_other_details_is_a_conflict(stage: Stages, placed: str) -> None:
    """An order that comes again with another balance is a conflict, and the first stays as it was."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1))
    if placed == "before":
        await on.all_ended()
    await on.buy(purchase(1, eventId="other", account={"templateAccountId": 11, "initialBalance": 100_000}))
    first, other = await on.all_ended()
    assert first["status"] == "succeeded"
    assert (other["status"], other["errorCode"]) == ("failed", "conflict")
    await oracle.holds_all(on)


async def test_a_failed_order_may_be_placed_again(stage: Stages) -> None:
    """After an order failed, a new event places it with its own details, with the user that the first left behind."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1, account={"templateAccountId": 99, "initialBalance": 50_000}))
    (failed,) = await on.all_ended()
    assert (failed["status"], failed["errorCode"]) == ("failed", "rejected")
    assert failed["userId"] is not None
    await on.buy(purchase(1, eventId="again"))
    _, second = await on.all_ended()
    assert second["status"] == "succeeded"
    assert second["userId"] == failed["userId"]
    await oracle.holds_all(on)


async def test_two_first_orders_of_one_trader_make_one_user(stage: Stages) -> None:
    """Orders of a trader who is new arrive together, and one user has all their accounts."""
    on = await stage()
    await on.replica()
    await on.buy(*(purchase(number, trader=1) for number in range(6)))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert len({outcome["userId"] for outcome in outcomes}) == 1
    assert len({outcome["accountId"] for outcome in outcomes}) == 6
    await oracle.holds_all(on)


async def test_a_trader_is_named_by_one_call_at_a_time(stage: Stages) -> None:
    """An order of a trader whom a call in flight names waits until that call has ended; other traders do not."""
    on = await stage(TRADOVATE_TIMEOUT_SECONDS="10")
    await on.replica()
    await on.buy(purchase(1))
    await on.all_ended()
    on.fault("delay", "/user/createEvaluationAccounts", seconds=1.5, times=1)
    await on.buy(purchase(2, trader=1))
    await eventually(lambda: on.count("/user/createevaluationaccounts") == 2)
    await on.buy(purchase(3, trader=1), purchase(4))
    await on.outcome("e-4")
    assert on.final("e-2") is None
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await oracle.holds_all(on)


async def test_a_first_order_that_fails_leaves_the_user_to_the_next(stage: Stages) -> None:
    """When the order that makes the user is refused, the trader's waiting order makes it instead."""
    on = await stage(SandboxConfig(partner_ms=100))
    await on.replica()
    on.fault("poison", "/user/createEvaluationUsers", contains="refused1")
    bad = {**purchase(1)["user"], "name": "refused1"}
    await on.buy(purchase(1, user=bad))
    await eventually(lambda: on.count("/user/createevaluationusers"))
    await on.buy(purchase(2, trader=1))
    first, second = await on.all_ended()
    assert (first["status"], second["status"]) == ("failed", "succeeded")
    await oracle.holds_all(on)


async def test_a_known_trader_keeps_their_user(stage: Stages) -> None:
    """A known trader needs no user in the event; one that comes with another login name or id is a conflict."""
    on = await stage()
    await on.replica()
    await on.buy(purchase(1))
    (first,) = await on.all_ended()
    bare = {name: value for name, value in purchase(2, trader=1).items() if name != "user"}
    await on.buy(
        bare,
        purchase(3, trader=1, user={"userId": first["userId"]}),
        purchase(4, trader=1, user={"userId": first["userId"] + 1}),
        purchase(5, trader=1, user={**purchase(1)["user"], "name": "another77"}),
    )
    outcomes = await on.all_ended()
    assert [outcome["status"] for outcome in outcomes] == ["succeeded"] * 3 + ["failed"] * 2
    assert {outcome["userId"] for outcome in outcomes[:3]} == {first["userId"]}
    assert {outcome["errorCode"] for outcome in outcomes[3:]} == {"conflict"}
    assert on.count("/user/createevaluationusers") == 1
    await oracle.holds_all(on)


async def test_an_event_waits_for_a_trader_not_yet_seen(stage: Stages) -> None:
    """A purchase without a user waits for the trader's first one; who never comes is not found in the end."""
    on = await stage(UNKNOWN_WAIT_SECONDS="3")
    await on.replica()
    lone = {name: value for name, value in purchase(1, trader=8).items() if name != "user"}
    early = {name: value for name, value in purchase(2, trader=9).items() if name != "user"}
    await on.buy(lone, early)
    await eventually(lambda: on.steps("state = 'waiting'"))
    await on.buy(purchase(3, trader=9))
    lone_outcome, early_outcome, _ = await on.all_ended()
    assert (lone_outcome["status"], lone_outcome["errorCode"]) == ("failed", "not_found")
    assert early_outcome["status"] == "succeeded"
    await oracle.holds_all(on)


async def test_a_restricted_country_never_reaches_the_partner(stage: Stages) -> None:
    """A trader in a country on the exchange's list gets an outcome that says so, and the partner no call."""
    on = await stage()
    await on.replica()
    contact = {**purchase(1, contact=True)["contactInfo"], "country": "CU", "state": "Habana"}
    await on.buy(purchase(1, contactInfo=contact))
    (outcome,) = await on.all_ended()
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "restricted_country")
    assert on.count("/user/createevaluationusers") == 0
    await oracle.holds_all(on)


async def test_refused_contact_data_does_not_spoil_the_purchase(stage: Stages) -> None:
    """Contact data that the partner refuses are a warning, in words that name nobody."""
    on = await stage()
    await on.replica()
    on.fault("error_text", "/contactInfo/updateContactInfo", body="Nobody lives at 1 Streetname1x, Cityname1x")
    await on.buy(purchase(1, contact=True))
    (outcome,) = await on.all_ended()
    assert outcome["status"] == "succeeded"
    assert outcome["warnings"] == ["Contact data: Nobody lives at ***, ***"]
    await oracle.holds_all(on)


async def test_the_partners_words_are_reported_without_personal_values(stage: Stages) -> None:
    """A refusal that repeats what was sent is reported with the personal values taken out."""
    on = await stage()
    await on.replica()
    user = purchase(1)["user"]
    on.fault(
        "poison",
        "/user/createEvaluationUsers",
        contains=user["name"],
        body=f"User {user['name'].upper()} <{user['email']}> {user['firstName']} {user['lastName']} is not wanted",
    )
    await on.buy(purchase(1))
    (outcome,) = await on.all_ended()
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "rejected")
    assert "is not wanted" in outcome["errorText"]
    assert user["name"].upper() not in outcome["errorText"]
    await oracle.holds_all(on)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_thousand_purchases_travel_in_full_calls(stage: Stages) -> None:
    """A burst of a thousand purchases takes about twenty calls, and every promise holds for each of them."""
    on = await stage(SandboxConfig(partner_ms=20), BATCH_LINGER_MS="50")
    await on.replica()
    await on.buy(*(purchase(number) for number in range(1000)))
    outcomes = await on.all_ended(90)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    creations = on.count("/user/createevaluationusers") + on.count("/user/createevaluationaccounts")
    assert creations <= 30
    await oracle.holds_all(on)
