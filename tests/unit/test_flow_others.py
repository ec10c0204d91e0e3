"""The other flows decide: departures, signatures, graduations, assignments, requests, resets."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import EVENTS
from schemas.outcomes import ErrorCode, Status
from tests.support.firm import application
from tests.support.views import NOW, RULES, known, learn, order, plan, sent, view
from worker.engine.flows import FLOWS
from worker.engine.flows.base import SUCCEEDED, End, Planned, Send, TraderView, Wait
from worker.engine.flows.passed import poll_after
from worker.engine.flows.passed_facts import PassedFacts
from worker.results import NotExecuted, Rejected, Succeeded

LEFT, SIGNED, PASSED, RESET = "trader.left", "md.signed", "trader.passed", "account.reset"
LIVE, DEMO = "cancelEverything", "cancelEverything@demo"


def end_of(planned: Planned) -> End:
    assert isinstance(planned.decision, End), planned.decision
    return planned.decision


def wait_of(planned: Planned) -> Wait:
    assert isinstance(planned.decision, Wait), planned.decision
    return planned.decision


# -- trader.left


def test_a_departure_waits_pending_for_the_days_end_unless_immediate() -> None:
    """Ten in the morning in Chicago: until a quarter past five, and the outcome says so; immediate goes at once."""
    waiting = wait_of(plan(LEFT, {"userId": 5}))
    assert waiting.pending
    assert waiting.until == datetime(2026, 11, 18, 23, 15, tzinfo=UTC)
    assert sent(plan(LEFT, {"userId": 5, "immediate": True})).operation == LIVE
    assert sent(plan(LEFT, {"userId": 5}, after=timedelta(hours=7, minutes=15))).operation == LIVE


def test_a_domain_that_is_away_lets_the_other_go_first() -> None:
    """The flow turns to the other domain, comes back, and ends when both are done."""
    asked = {"userId": 5, "immediate": True}
    first = plan(LEFT, asked)
    away = learn(LEFT, asked, first.facts, LIVE, NotExecuted("silent"))
    assert sent(away).operation == DEMO
    back = learn(LEFT, asked, away.facts, DEMO, Succeeded({}))
    assert sent(back).operation == LIVE
    assert learn(LEFT, asked, back.facts, LIVE, Succeeded({})).decision == SUCCEEDED


def test_a_domain_that_stays_away_is_given_up_after_a_day() -> None:
    """RETRY_FOR_SECONDS of tries on one domain, with the other done long since."""
    asked = {"userId": 5, "immediate": True}
    planned = plan(LEFT, asked)
    rounds = 0
    while not isinstance(planned.decision, End):
        rounds += 1
        operation = sent(planned).operation
        end: Any = Succeeded({}) if operation == DEMO else NotExecuted("silent")
        planned = learn(LEFT, asked, planned.facts, operation, end)
    assert rounds == 289  # 24 h of five minutes each, and DEMO's one
    assert (end_of(planned).error_code, end_of(planned).error_text) == (
        ErrorCode.GAVE_UP,
        "LIVE: silent DEMO is done.",
    )


# -- md.signed


def test_a_signature_wakes_the_others_of_its_user_once() -> None:
    """Only when it is new: two that wait would wake each other for ever."""
    first = plan(SIGNED, {"userId": 5})
    assert list(first.wakes) == ["signed:5"]
    assert (sent(first).look_first, sent(first).alike, known(first)["entitlementId"]) == (True, "5:31", 31)
    again = learn(SIGNED, {"userId": 5}, first.facts, sent(first).operation, REFUSED)
    assert list(wait_of(again).keys) == ["signed:5"]
    assert not again.wakes


REFUSED = Rejected("Live account is required")


def test_the_back_off_grows_to_an_hour_and_ends_after_a_day() -> None:
    """Never longer than twelve times RETRY_CAP_SECONDS, until RETRY_FOR_SECONDS are spent."""
    asked, now = {"userId": 5}, timedelta(0)
    planned = plan(SIGNED, asked)
    longest = timedelta(0)
    for _ in range(2000):
        operation = sent(planned).operation
        planned = learn(SIGNED, asked, planned.facts, operation, REFUSED, after=now)
        if isinstance(planned.decision, End):
            break
        delay = wait_of(planned).until - NOW - now
        longest = max(longest, delay)
        now += delay
        planned = plan(SIGNED, asked, planned.facts, after=now)
    assert end_of(planned).error_code is ErrorCode.GAVE_UP
    assert end_of(planned).error_text == "Live account is required"
    assert timedelta(minutes=30) < longest <= timedelta(hours=1)
    assert timedelta(hours=23, minutes=59) < now <= timedelta(days=1)
    assert known(planned)["sent"] > 20


def test_time_in_a_lock_out_does_not_count() -> None:
    """A try that could not be made for two days uses up no more than was meant to be waited."""
    asked = {"userId": 5}
    planned = learn(SIGNED, asked, plan(SIGNED, asked).facts, "addEntitlementSubscription", REFUSED)
    planned = plan(SIGNED, asked, planned.facts, after=timedelta(days=2))
    planned = learn(SIGNED, asked, planned.facts, sent(planned).operation, REFUSED, after=timedelta(days=2))
    assert isinstance(planned.decision, Wait)


def test_tries_that_come_due_by_themselves_are_less_urgent() -> None:
    """One that was woken goes with the one that woke it; one that only waited goes after all other work."""
    asked = {"userId": 5}
    waiting = learn(SIGNED, asked, plan(SIGNED, asked).facts, "addEntitlementSubscription", REFUSED)
    assert sent(plan(SIGNED, asked, waiting.facts)).operation == "addEntitlementSubscription"
    late = plan(SIGNED, asked, waiting.facts, after=wait_of(waiting).until - NOW)
    assert sent(late).operation == "addEntitlementSubscription@again"


def test_the_events_own_entitlement_wins() -> None:
    """The setting is a default."""
    assert plan(SIGNED, {"userId": 5, "entitlementId": 99}).facts.entitlement_id == 99


# -- trader.passed


def passed(**changes: Any) -> dict[str, Any]:
    return {"userId": 5, "orderId": "F-1", "application": application(), **changes}


def test_a_first_request_is_checked_and_a_second_is_not() -> None:
    """Only for a trader of whom this ledger knows no request."""
    assert sent(plan(PASSED, passed())).operation == "checkDuplicate"
    before = order("F-0", kind="passed", facts={"requestId": 3})
    assert sent(plan(PASSED, passed(), known=[before])).operation == "createPartnerSubaccountRequest"
    unknown = order("F-0", kind="passed", state="in_doubt", facts={})
    assert sent(plan(PASSED, passed(), known=[unknown])).operation == "checkDuplicate"


def test_an_operator_who_saw_no_request_lets_it_go() -> None:
    """A retry with `--not-made` asks nobody again."""
    facts = {"ended": True, "notMade": True, "userId": 5}
    assert sent(plan(PASSED, passed(), facts)).operation == "createPartnerSubaccountRequest"


def test_a_new_owner_of_an_order_takes_on_the_request_that_was_made() -> None:
    """A request that is under review is followed, never made a second time; a denied one is requested again."""
    left = {"userId": 5, "requestId": 3, "requestStatus": "InReview", "requestedAt": NOW.isoformat()}
    assert sent(plan(PASSED, passed(), {"left": left})).operation == "getPartnerSubaccountRequestStatus"
    denied = {"left": {**left, "requestStatus": "Denied"}}
    assert sent(plan(PASSED, passed(), denied)).operation == "checkDuplicate"


def test_a_request_for_another_user_is_not_taken_on() -> None:
    """An order whose request was made for another trader is a conflict, not a second request and not theirs."""
    left = {"userId": 6, "requestId": 3, "requestStatus": "InReview", "requestedAt": NOW.isoformat()}
    assert end_of(plan(PASSED, passed(), {"left": left})).error_code is ErrorCode.CONFLICT


def test_a_request_with_other_terms_is_taken_on_with_a_warning() -> None:
    """An order has one request; that it was made with other terms is said."""
    left = {"userId": 5, "requestId": 3, "requestStatus": "InReview", "requestedAt": NOW.isoformat(), "terms": "x"}
    planned = plan(PASSED, passed(), {"left": left})
    assert sent(planned).operation == "getPartnerSubaccountRequestStatus"
    assert "other terms" in known(planned)["warnings"][0]


def test_pending_is_reported_once_for_each_status() -> None:
    """When the request is made and at each change; not for a look that found the same, nor for the end."""
    asked = passed()
    made = Succeeded({"requestId": 3, "requestStatus": "Preapproved"})
    planned = learn(PASSED, asked, {"cleared": True}, "createPartnerSubaccountRequest", made)
    reported = [sent(planned).pending]
    for status in ("Preapproved", "InReview", "InReview", "Approved", "Approved", "Approved"):
        end = Succeeded({"requestStatus": status})
        planned = learn(PASSED, asked, planned.facts, "getPartnerSubaccountRequestStatus", end)
        if not isinstance(planned.decision, End):
            reported.append(sent(planned).pending)
    assert reported == [True, False, True, False, False, False]
    assert planned.decision == SUCCEEDED


POLL = "getPartnerSubaccountRequestStatus"


@pytest.mark.parametrize(("says_it_at", "account"), [(1, 4242), (3, 4242), (4, None)])
def test_an_approval_after_a_long_review_is_asked_for_its_account(says_it_at: int, account: int | None) -> None:
    """Three polls a minute apart, counted from the approval; then it ends without the id, and says so."""
    asked = passed()
    facts = {"userId": 5, "requestId": 3, "requestStatus": "InReview", "requestedAt": NOW.isoformat(), "polls": 90}
    planned, polls = plan(PASSED, asked, facts, after=timedelta(days=2)), 0
    while not isinstance(planned.decision, End):
        polls += 1
        end = Succeeded({"requestStatus": "Approved", **({"accountId": 4242} if polls == says_it_at else {})})
        planned = learn(PASSED, asked, planned.facts, POLL, end, after=timedelta(days=2))
        if isinstance(planned.decision, Send):
            at = planned.decision.at
            assert at is not None
            assert at - NOW - timedelta(days=2) <= timedelta(minutes=1)
    assert (planned.decision, planned.facts.account_id, polls) == (SUCCEEDED, account, min(says_it_at, 3))
    none = ["Tradovate approved the request and gave no account id."]
    assert list(planned.facts.warnings) == ([] if account else none)


@given(st.integers(0, 20_000), st.floats(0, 3 * 86_400))
def test_the_rhythm_of_the_polls(polls: int, age: float) -> None:
    """Thirty to sixty seconds in the first ten minutes, then ever more seldom, never beyond fifteen minutes."""
    facts = PassedFacts(requested_at=NOW, polls=polls)
    seconds = poll_after(view(PASSED, passed(), after=timedelta(seconds=age)), facts).total_seconds()
    if age < 600:
        assert 30 <= seconds <= 60
    else:
        assert 45 <= seconds <= 900
        assert seconds >= min(age / 10, 900) * 0.75 - 0.001


def test_an_unreadable_review_is_in_doubt() -> None:
    """The request is made and moves money: it does not fail because nobody can read its review."""
    facts = {"userId": 5, "requestId": 3, "requestStatus": "InReview"}
    failure = Rejected("Access is denied")
    end = end_of(learn(PASSED, passed(), facts, "getPartnerSubaccountRequestStatus", failure))
    assert (end.status, end.error_code) == (Status.IN_DOUBT, ErrorCode.IN_DOUBT)


def test_personal_data_do_not_make_a_conflict() -> None:
    """The terms of an order and its trader do; a corrected address does not."""
    flow, kind = FLOWS[PASSED], type(view(PASSED, passed()).event)

    def details(**changes: Any) -> bytes:
        return flow.details(kind.model_validate_json(json.dumps(passed(application=application(**changes)))))

    assert details() == details(streetAddress1="elsewhere")
    assert details() != details(transferAmount=2.0)


def test_the_request_has_the_vendors_form() -> None:
    """The birth date as a trade date, the document ids by their odd names."""
    item = FLOWS[PASSED].item(
        view(PASSED, passed(documents=[1, 2, 3]), {"userId": 5}), "createPartnerSubaccountRequest", RULES
    )
    assert (item["birthDate"], item["ctaUserId"]) == ({"year": 1987, "month": 6, "day": 5}, 5)
    assert [item[name] for name in ("pOAFormDocId", "governmentDocId", "addressDocId")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("data:application/pdf;base64,QUJD", "poa-form.pdf"),
        ("data:text/plain;base64,QUJD", "poa-form.txt"),
        ("data:image/jpeg;base64,QUJD", "poa-form.jpg"),
        ("data:image/png;base64,QUJD", "poa-form.png"),
    ],
)
def test_files_are_named_by_what_they_are(uri: str, name: str) -> None:
    """Five to sixty-four characters, and the end says the type."""
    asked = passed(documents=[uri] * 3)
    item = FLOWS[PASSED].item(view(PASSED, asked, {"requestId": 3}), "submitPartnerSubaccountDocument", RULES)
    assert (item["filename"], item["documentType"]) == (name, "POAForm")


# -- whose user it is


def test_a_known_trader_keeps_their_user() -> None:
    """Another user, or a user who is another's, is a conflict; a user being made is waited for."""
    asked = {"traderId": "t", "userId": 6, "immediate": True}
    assert end_of(plan(LEFT, asked, user=5)).error_code is ErrorCode.CONFLICT
    taken = TraderView("t", taken_by="other")
    assert end_of(plan(LEFT, asked, trader=taken)).error_code is ErrorCode.CONFLICT
    making = TraderView("t", maker=uuid.UUID(int=9))
    assert list(wait_of(plan(LEFT, {"traderId": "t"}, trader=making)).keys) == ["trader:t"]


# -- account.reset


def test_resets_share_a_call_by_their_day() -> None:
    """And name the account of the order, when the event names an order."""
    step = plan(RESET, {"accountId": 11, "tradeDate": "2026-11-20"})
    assert sent(step).alike == "2026-11-20"
    by_order = plan(RESET, {"orderId": "100", "tradeDate": "2026-11-20"}, known=[order()])
    assert (known(by_order)["accountId"], known(by_order)["traderId"]) == (11, "t")


def test_a_reset_of_an_order_without_an_account_is_not_found() -> None:
    """An order that failed has none, and an order that nobody placed neither."""
    asked = {"orderId": "100", "tradeDate": "2026-11-20"}
    failed = order(state="failed", account_id=None)
    assert end_of(plan(RESET, asked, known=[failed])).error_code is ErrorCode.NOT_FOUND
    assert isinstance(plan(RESET, asked).decision, Wait)
    assert end_of(plan(RESET, asked, after=timedelta(minutes=15))).error_code is ErrorCode.NOT_FOUND


def test_a_retry_resets_again() -> None:
    """What ended before is retried when an operator says so."""
    asked = {"accountId": 11, "tradeDate": "2026-11-20"}
    assert sent(plan(RESET, asked, {"ended": True, "accountId": 11})).operation == "resetDemoAccountState"


# -- account.assigned on LIVE


@pytest.mark.parametrize(
    ("domain", "operation"),
    [({}, "createTradingPermission"), ({"domain": "DEMO"}, "createTradingPermission"),
     ({"domain": "LIVE"}, "createTradingPermission@live")],
)  # fmt: skip
def test_an_account_is_assigned_on_its_domain(domain: dict[str, str], operation: str) -> None:
    """DEMO unless the event says LIVE; it is looked for before it is made on both."""
    planned = plan("account.assigned", {"accountId": 11, "userId": 5, **domain})
    assert (sent(planned).operation, sent(planned).look_first) == (operation, True)
    assert known(planned).get("domain") == ("LIVE" if operation.endswith("@live") else None)


def test_an_account_of_live_is_an_order_of_trader_passed() -> None:
    """Its number may be that of another trader's account on DEMO, which it must not be taken for."""
    event = EVENTS["account.assigned"].model_validate({"accountId": 11, "userId": 5, "domain": "LIVE"})
    names = FLOWS["account.assigned"].names(event)
    assert (names.order_kind, names.on_live, names.gives) == ("passed", True, True)


def test_a_departure_is_verified_by_permissions_that_were_made_on_live() -> None:
    """If the ledger has one of the trader's; what is not there is not read."""
    asked = {"userId": 5, "immediate": True}
    for on_live in ((), (21,)):
        planned = plan(LEFT, asked, on_live=on_live)
        shown = view(LEFT, asked, planned.facts)
        assert FLOWS[LEFT].item(shown, LIVE, RULES)["_permitted_on_live"] is bool(on_live)
