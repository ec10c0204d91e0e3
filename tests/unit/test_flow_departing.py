"""What a departure means for everything that gives its trader something, and what the departure waits for."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import ErrorCode
from tests.support.firm import application
from tests.support.views import NOW, known, learn, order, plan, sent
from worker.engine.facts import changed
from worker.engine.flows.base import SUCCEEDED, DepartureView, End, Planned, Wait
from worker.engine.flows.departing import COMES_BACK, GIVES, DepartureVerdict, verdict
from worker.partner.operations import OPERATIONS
from worker.results import Rejected, Succeeded

OTHER = uuid.UUID(int=99)
LEFT = "trader.left"
LIVE, DEMO = "cancelEverything", "cancelEverything@demo"
MINUTE = timedelta(minutes=1)

GIVING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "trader.purchased": (
        {
            "orderId": "100",
            "traderId": "t",
            "user": {"userId": 5},
            "account": {"templateAccountId": 11, "initialBalance": 1},
        },
        {},
    ),
    "md.signed": ({"userId": 5}, {}),
    "account.assigned": ({"accountId": 11, "userId": 5}, {}),
    "permission.requested": ({"accountId": 11, "ctaContact": "C", "ctaEmail": "c@example.com"}, {}),
    "trader.passed": ({"userId": 5, "application": application()}, {}),
}
"""Events that give a trader something, ready to be sent."""


def leaving(*, since: timedelta = timedelta(0), begun: timedelta | None = None, ended: bool = False) -> DepartureView:
    return DepartureView(OTHER, NOW + since, None if begun is None else NOW + begun, ended)


def end_of(planned: Planned) -> End:
    assert isinstance(planned.decision, End), planned.decision
    return planned.decision


def test_the_operations_that_give_are_on_the_domain_that_is_said() -> None:
    """A departure is done on a domain only when nothing that was sent to it may still appear."""
    assert {name: OPERATIONS[name].domain.value.upper() for name in GIVES} == dict(GIVES)


@pytest.mark.parametrize("topic", GIVING)
def test_until_it_is_executed_a_departure_changes_nothing(topic: str) -> None:
    """A trader who leaves at the end of the day trades until then."""
    event, facts = GIVING[topic]
    assert sent(plan(topic, event, facts, departures=[leaving(since=MINUTE)])).operation in GIVES


@pytest.mark.parametrize("topic", GIVING)
@pytest.mark.parametrize("ended", [False, True])
def test_what_was_asked_for_before_is_cancelled(topic: str, ended: bool) -> None:
    """From the moment a departure is executed, and after its end too."""
    event, facts = GIVING[topic]
    departure = leaving(since=MINUTE, begun=2 * MINUTE, ended=ended)
    assert end_of(plan(topic, event, facts, departures=[departure])).error_code is ErrorCode.CANCELLED


@pytest.mark.parametrize("topic", GIVING)
def test_what_is_asked_for_after_the_end_is_done(topic: str) -> None:
    """The trader has come back, or an operator retries."""
    event, facts = GIVING[topic]
    past = leaving(since=-3 * MINUTE, begun=-2 * MINUTE, ended=True)
    assert sent(plan(topic, event, facts, departures=[past])).operation in GIVES


def test_a_purchase_that_came_later_waits_for_the_end() -> None:
    """It would be cancelled otherwise: cancelEverything knows no exceptions."""
    event, _ = GIVING[COMES_BACK]
    for begun in (None, -MINUTE, MINUTE):
        waiting = plan(COMES_BACK, event, departures=[leaving(since=-2 * MINUTE, begun=begun)]).decision
        assert isinstance(waiting, Wait)
        assert list(waiting.keys) == [f"departure:{OTHER}"]


def test_a_purchase_that_has_its_permission_goes_on() -> None:
    """Contact data gives nothing: the purchase ends with its ids, and the departure takes the permission away."""
    event, _ = GIVING[COMES_BACK]
    facts = {"userId": 5, "accountId": 11, "tradingPermissionId": 21}
    departure = leaving(since=MINUTE, begun=2 * MINUTE)
    assert plan(COMES_BACK, event, facts, departures=[departure]).decision == SUCCEEDED


TIMES = st.integers(-50, 50).map(lambda seconds: NOW + timedelta(seconds=seconds))


@given(TIMES, TIMES, st.none() | TIMES, st.booleans(), st.booleans())
def test_nothing_of_before_is_ever_let_through_again(
    asked: datetime, since: datetime, begun: datetime | None, ended: bool, comes_back: bool
) -> None:
    """Once a departure has begun, what was asked for before its `since` is stopped for good."""
    if begun is not None and begun < since:
        begun = since
    found = verdict(DepartureView(OTHER, since, begun, ended), asked, comes_back=comes_back)
    if begun is not None and asked <= since:
        assert found is DepartureVerdict.STOP
    if begun is not None and not ended:
        assert found is not DepartureVerdict.GO
    assert found is not DepartureVerdict.WAIT or not ended


# -- the departure itself


def test_a_purchase_that_came_before_may_finish_for_a_moment() -> None:
    """It is waited for, half a minute at most; then everything is cancelled, and it gets nothing more."""
    asked = {"traderId": "t", "immediate": True}
    for unfinished in (
        order(state="open", account_id=None, permission_id=None),
        order(state="open", permission_id=None),
    ):
        waiting = plan(LEFT, asked, user=5, known=[unfinished])
        assert isinstance(waiting.decision, Wait)
        assert list(waiting.decision.keys) == ["order:purchased:100"]
        assert "begun" not in known(waiting)
        begun = plan(LEFT, asked, waiting.facts, user=5, known=[unfinished], after=timedelta(seconds=30))
        assert sent(begun).operation == LIVE
        assert known(begun)["begun"] == "2026-11-18T16:00:30Z"


def test_a_purchase_that_came_later_is_not_waited_for() -> None:
    """It waits for the departure."""
    later = order(state="open", account_id=None, permission_id=None, asked=NOW + MINUTE)
    asked = {"traderId": "t", "immediate": True}
    assert sent(plan(LEFT, asked, user=5, known=[later], after=2 * MINUTE)).operation == LIVE


def test_a_domain_is_done_when_no_result_is_unknown() -> None:
    """What was sent before and may still take effect is waited for, and the domain is looked at once more."""
    asked = {"userId": 5, "immediate": True}
    planned = learn(LEFT, asked, plan(LEFT, asked).facts, LIVE, Succeeded({}))
    assert known(planned)["live"]["done"]
    unproven = ["createEvaluationAccounts", "addEntitlementSubscription"]
    planned = learn(LEFT, asked, planned.facts, DEMO, Succeeded({}), unproven=unproven)
    assert isinstance(planned.decision, Wait)
    assert ("done" in known(planned)["demo"], planned.decision.until) == (False, NOW + timedelta(seconds=15))
    again = plan(LEFT, asked, planned.facts)
    assert (sent(again).operation, sent(again).look_first) == (DEMO, True)
    assert learn(LEFT, asked, again.facts, DEMO, Succeeded({})).decision == SUCCEEDED


def test_a_result_that_is_unknown_on_one_domain_does_not_keep_the_other() -> None:
    """LIVE is cancelled and done while DEMO's creations are not known."""
    asked = {"userId": 5, "immediate": True}
    unproven = ["createEvaluationAccounts"]
    first = plan(LEFT, asked, unproven=unproven)
    planned = learn(LEFT, asked, first.facts, LIVE, Succeeded({}), unproven=unproven)
    assert known(planned)["live"]["done"]
    assert sent(planned).operation == DEMO


def test_a_trader_who_is_seen_later_was_overtaken() -> None:
    """What makes the trader known came before the departure, in whatever order the topics were read."""
    asked = {"traderId": "t", "immediate": True}
    waiting = plan(LEFT, asked)
    assert "since" not in known(waiting)
    seen = plan(LEFT, asked, waiting.facts, user=5, after=MINUTE)
    assert known(seen)["since"] == "2026-11-18T16:01:00Z"


def test_a_retry_keeps_what_is_done() -> None:
    """A domain that was cancelled stays so; one that was refused is tried again."""
    asked = {"userId": 5, "immediate": True}
    planned = learn(LEFT, asked, plan(LEFT, asked).facts, LIVE, Succeeded({}))
    ended = learn(LEFT, asked, planned.facts, DEMO, Rejected("no"))
    assert end_of(ended).error_code is ErrorCode.REJECTED
    again = plan(LEFT, asked, changed(ended.facts, ended=True), after=MINUTE)
    assert (sent(again).operation, known(again)["since"]) == (DEMO, "2026-11-18T16:00:00Z")
