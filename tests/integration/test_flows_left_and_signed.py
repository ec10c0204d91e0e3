"""`trader.left` and `md.signed` from Kafka to the partner and back."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.events import purchase
from tests.support.firm import Firm
from tests.support.oracle import never_together, nothing_stuck
from tests.support.spine import Stages
from tests.support.waiting import eventually
from worker.ledger import holds

CANCEL = "/user/cancelEverything"
ADD = "/userPlugin/addEntitlementSubscription"


def domains(firm: Firm) -> list[str]:
    """Where everything was cancelled, in the order of the calls."""
    return [call["domain"] for call in firm.stage.calls(CANCEL)]


async def test_a_departure_ends_everything_on_both_domains(stage: Stages) -> None:
    """Membership, entitlement, market data and permissions are gone, and that has been looked at."""
    firm = Firm(await stage())
    await firm.stage.replica()
    await firm.stage.buy(purchase(1, contact=True))
    (bought,) = await firm.stage.all_ended()
    firm.sign(bought["userId"])
    await firm.outcome("md.signed", userId=bought["userId"])
    outcome = await firm.outcome("trader.left", traderId="cust-1", immediate=True, reason="moved on")
    assert (outcome["status"], outcome["userId"]) == ("succeeded", bought["userId"])
    assert sorted(domains(firm)) == ["demo", "live"]
    assert firm.permission(bought["tradingPermissionId"])["status"] == "Revoked"
    looked = {call["path"] for call in firm.stage.calls() if call["path"].endswith("/deps")}
    assert {"/tradovatesubscription/deps", "/userplugin/deps", "/marketdatasubscription/deps"} <= looked
    never_together(firm.stage)


async def test_a_departure_by_user_waits_for_the_traders_account(stage: Stages) -> None:
    """An account that is being made for the trader whose user leaves is there before everything is cancelled."""
    firm = Firm(await stage(RETRY_CAP_SECONDS="30"))  # how long a departure lets what is being made finish
    on = firm.stage
    replica = (await on.replica()).replica
    async with replica.database.transaction() as connection:
        await holds.pause(connection, "createEvaluationAccounts", "a look")
    await on.buy(purchase(1))
    (trader,) = await eventually(lambda: on.rows("select user_id from trader where user_id is not null"))
    event = await firm.send("trader.left", userId=trader["user_id"], immediate=True)
    await eventually(lambda: on.rows("select 1 from step join flow f on f.id = flow_id where f.event_id = $1", event))
    assert on.count(CANCEL) == 0
    async with replica.database.transaction() as connection:
        await holds.resume(connection, "createEvaluationAccounts")
    assert (await firm.ended(event))["status"] == "succeeded"
    (made,) = on.calls("/user/createEvaluationAccounts")
    assert on.calls(CANCEL)[0]["at"] > made["ended_at"]


async def test_departures_share_calls(stage: Stages) -> None:
    """Forty traders who leave at once take a call on each domain, or two."""
    firm = Firm(await stage())
    rows = firm.seed(40)
    ids = [await firm.send("trader.left", userId=user, immediate=True) for user, _, _ in rows]
    await firm.stage.replica()
    outcomes = await asyncio.gather(*(firm.ended(each) for each in ids))
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert firm.stage.count(CANCEL) <= 8
    assert {firm.permission(row[2])["status"] for row in rows} == {"Revoked"}


@pytest.mark.parametrize("domain", ["live", "demo"])
async def test_one_domain_that_is_cut_is_mended_and_the_other_is_done(stage: Stages, domain: str) -> None:
    """A domain that answers nothing for a while costs the trader nothing on the other one, and is done later."""
    firm = Firm(await stage())
    firm.stage.fault("cut_before", CANCEL, domain=domain, times=3)
    await firm.stage.replica()
    await firm.stage.buy(purchase(1))
    (bought,) = await firm.stage.all_ended()
    outcome = await firm.outcome("trader.left", traderId="cust-1", immediate=True, timeout=30)
    assert (outcome["status"], outcome["attempts"]) == ("succeeded", 4)
    assert firm.permission(bought["tradingPermissionId"])["status"] == "Revoked"
    await nothing_stuck(firm.stage)


@pytest.mark.parametrize("domain", ["live", "demo"])
async def test_a_domain_that_stays_away_is_named_and_the_other_is_done(stage: Stages, domain: str) -> None:
    """The outcome says which domain is done and which is not, and the one that could be done is."""
    firm = Firm(await stage(RETRY_FOR_SECONDS="2", UNKNOWN_WAIT_SECONDS="1"))
    firm.stage.fault("cut_before", CANCEL, domain=domain)
    await firm.stage.replica()
    await firm.stage.buy(purchase(1))
    (bought,) = await firm.stage.all_ended()
    outcome = await firm.outcome("trader.left", traderId="cust-1", immediate=True, timeout=40)
    other = {"live": "DEMO", "demo": "LIVE"}[domain]
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "gave_up")
    assert f"{domain.upper()}: " in outcome["errorText"]
    assert f"{other} is done" in outcome["errorText"]
    assert firm.stage.effects["cancels"] == {f"{other.lower()}:{bought['userId']}": 1}


async def test_a_departure_of_nobody_is_not_found(stage: Stages) -> None:
    """A trader that the ledger does not know is waited for, and then not found."""
    firm = Firm(await stage(UNKNOWN_WAIT_SECONDS="1"))
    await firm.stage.replica()
    outcome = await firm.outcome("trader.left", traderId="nobody", immediate=True)
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "not_found")


async def test_trader_and_user_given_together_are_learned(stage: Stages) -> None:
    """The pair is known from then on; another user for that trader, or that user for another trader, is a conflict."""
    firm = Firm(await stage())
    await firm.stage.replica()
    (one, _, _), (two, _, _) = firm.seed(2)
    await firm.outcome("trader.left", traderId="pair", userId=one, immediate=True)
    by_trader = await firm.outcome("trader.left", traderId="pair", immediate=True)
    assert (by_trader["status"], by_trader["userId"]) == ("succeeded", one)
    another_user = await firm.outcome("trader.left", traderId="pair", userId=two, immediate=True)
    another_trader = await firm.outcome("trader.left", traderId="other", userId=one, immediate=True)
    assert [another_user["errorCode"], another_trader["errorCode"]] == ["conflict", "conflict"]
    assert not any(key.endswith(f":{two}") for key in firm.stage.effects["cancels"])


async def signable(firm: Firm) -> int:
    """A trader with contact data who has not signed yet."""
    await firm.stage.buy(purchase(1, contact=True))
    (bought,) = await firm.stage.all_ended()
    return int(bought["userId"])


async def test_a_signature_brings_the_entitlement(stage: Stages) -> None:
    """The entitlement of the settings is added to the user, and reported."""
    firm = Firm(await stage())
    await firm.stage.replica()
    user = await signable(firm)
    firm.sign(user)
    outcome = await firm.outcome("md.signed", userId=user, signalId=5)
    assert (outcome["status"], outcome["entitlementId"], outcome["traderId"]) == ("succeeded", 31, "cust-1")
    assert firm.stage.effects["entitlements"] == {f"{user}:31": 1}


async def test_not_yet_signed_is_tried_again(stage: Stages) -> None:
    """`Live account is required` means not yet: the entitlement comes when the signature does."""
    firm = Firm(await stage())
    await firm.stage.replica()
    user = await signable(firm)
    event = await firm.send("md.signed", userId=user)
    await eventually(lambda: firm.stage.count(ADD) >= 3)
    firm.sign(user)
    outcome = await firm.ended(event)
    assert outcome["status"] == "succeeded"
    assert outcome["attempts"] >= 4
    assert firm.stage.effects["entitlements"] == {f"{user}:31": 1}


async def test_never_signed_is_given_up(stage: Stages) -> None:
    """After RETRY_FOR_SECONDS the outcome says so, in the partner's words."""
    firm = Firm(await stage(RETRY_FOR_SECONDS="1", UNKNOWN_WAIT_SECONDS="1"))
    await firm.stage.replica()
    user = await signable(firm)
    outcome = await firm.outcome("md.signed", userId=user)
    assert (outcome["errorCode"], outcome["errorText"]) == ("gave_up", "Live account is required")


@pytest.mark.parametrize("again", ["both", "text", "second"])
async def test_another_signature_tries_at_once(stage: Stages, again: str) -> None:
    """A second event of a user wakes the first; both succeed, and the entitlement is there once whatever the partner
    says to a second one.
    """
    firm = Firm(await stage(RETRY_BASE_SECONDS="300", RETRY_CAP_SECONDS="300"))
    firm.switch(entitlement_again=again)
    await firm.stage.replica()
    user = await signable(firm)
    first = await firm.send("md.signed", userId=user)
    await eventually(lambda: firm.stage.count(ADD) >= 1)
    await eventually(lambda: firm.stage.steps("state = 'waiting'"))
    firm.sign(user)
    second = await firm.send("md.signed", userId=user)
    assert (await firm.ended(second))["status"] == "succeeded"
    assert (await firm.ended(first))["status"] == "succeeded"
    assert firm.stage.effects["entitlements"] == {f"{user}:31": 1}
    never_together(firm.stage)


async def test_a_penalty_holds_back_every_way_to_its_endpoint(stage: Stages) -> None:
    """A ticket that came to the second try of one signature keeps the first try of another waiting too."""
    firm = Firm(await stage(RETRY_BASE_SECONDS="0.1", RETRY_CAP_SECONDS="0.2"))
    await firm.stage.replica()
    await firm.stage.buy(purchase(1, contact=True), purchase(2, contact=True))
    early, late = [outcome["userId"] for outcome in await firm.stage.all_ended()]
    firm.stage.fault("ticket", ADD, after=1, times=1, seconds=2)
    await firm.send("md.signed", userId=early)
    await eventually(lambda: firm.stage.state["tickets"]["issued"])
    issued = [call["at"] for call in firm.stage.calls(ADD)][-1]
    await firm.send("md.signed", userId=late)
    await eventually(lambda: firm.stage.count(ADD) > 2)
    assert [call["at"] for call in firm.stage.calls(ADD)][2] - issued > 1.9


@pytest.mark.parametrize("again", ["both", "code", "text", "second"])
async def test_an_entitlement_that_is_there_is_success(stage: Stages, again: str) -> None:
    """Signed twice, or an empty ledger: the user has it once, whatever the partner says to a second one."""
    firm = Firm(await stage())
    firm.switch(entitlement_again=again)
    await firm.stage.replica()
    user = await signable(firm)
    firm.sign(user)
    await firm.outcome("md.signed", userId=user)
    outcome = await firm.outcome("md.signed", userId=user)
    assert outcome["status"] == "succeeded"
    assert firm.stage.effects["entitlements"] == {f"{user}:31": 1}


async def test_missing_contact_data_is_refused_word_by_word(stage: Stages) -> None:
    """The partner's own words say what the shop has to do."""
    firm = Firm(await stage())
    await firm.stage.replica()
    await firm.stage.buy(purchase(1))
    (bought,) = await firm.stage.all_ended()
    outcome = await firm.outcome("md.signed", userId=bought["userId"])
    assert (outcome["errorCode"], outcome["errorText"]) == ("rejected", "Contact info is required")


async def test_an_unclear_entitlement_is_looked_up(stage: Stages) -> None:
    """An answer that was lost after the effect is found, and nothing is added again."""
    firm = Firm(await stage())
    firm.switch(entitlement_again="second")
    await firm.stage.replica()
    user = await signable(firm)
    firm.sign(user)
    firm.stage.fault("cut_after", ADD, times=1)
    assert (await firm.outcome("md.signed", userId=user))["status"] == "succeeded"
    assert firm.stage.effects["entitlements"] == {f"{user}:31": 1}


async def test_without_an_entitlement_id_the_outcome_says_so(stage: Stages) -> None:
    """Neither the event nor the settings name one: the outcome says so in a sentence, and nothing is called."""
    firm = Firm(await stage(TRADOVATE_TPROP_ENTITLEMENT_ID=""))
    await firm.stage.replica()
    outcome = await firm.outcome("md.signed", userId=5)
    assert (outcome["status"], outcome["errorCode"]) == ("failed", "invalid")
    assert "TRADOVATE_TPROP_ENTITLEMENT_ID" in outcome["errorText"]
    assert firm.stage.count(ADD) == 0
