"""A flow's story as an operator reads it, line by line."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from schemas.times import local_text, utc_text
from worker.cli._flow_rows import as_json, head, row, rows_of
from worker.ledger.browse import FlowState, Summary
from worker.ledger.holds import Hold
from worker.ledger.story import CallSeen, NoteSeen, OutcomeSeen, StepSeen, Story, shown

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

FLOW = Summary(
    flow_id=uuid.UUID(int=7),
    event_id="e-1",
    topic="trader.purchased",
    state=FlowState.WAITING,
    order_id="100001",
    trader_id="cust-1",
    user_id=None,
    account_id=None,
    round=0,
    attempts=0,
    error_code=None,
    error_text=None,
    created_at=NOON,
    ended_at=None,
    partition=2,
    offset=5,
    kept=True,
    operation="plan",
    due=NOON + timedelta(minutes=15),
    waits_for=["order:purchased:100001", "trader:cust-1"],
)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def step(operation: str, state: str, begun: float, ended: float | None = None, attempts: int = 1) -> StepSeen:
    end = None if ended is None else at(ended)
    return StepSeen(1, operation, state, attempts, at(begun), (), at(begun), end, (), {})


def entries_of(story: Story) -> list[tuple[str, str]]:
    return [(kind, text) for _, kind, text in rows_of(story)]


def test_a_wait_says_what_it_is_for() -> None:
    """A flow that waits says for which order or trader, and the list says the same."""
    waits = replace(step("plan", "waiting", 0), waits_for=FLOW.waits_for, due=FLOW.due or NOON)
    story = Story(FLOW, {}, [waits], [], [], [], [])
    assert entries_of(story)[1][0] == "wait"
    assert entries_of(story)[1][1] == (
        "Waits for order 100001 or the user of trader cust-1. Until 2026-11-20T12:15:00.000Z at the latest."
    )
    assert row(FLOW)[-1] == "waits for order 100001 or the user of trader cust-1"


def test_everything_stands_in_the_order_of_time() -> None:
    """Steps, calls, an operator's action and the outcome that came of it stand one below the other as they happened."""
    call = CallSeen(
        3,
        "createEvaluationUsers",
        "createEvaluationUsers",
        "live",
        "send",
        2,
        "r",
        at(1),
        at(3.5),
        "refusal",
        200,
        "Rejected",
    )
    look = replace(call, id=4, endpoint="user/find", kind="look_up", items=1, at=at(3.55), finished_at=None)
    look = replace(look, result=None, http_status=None, error=None)
    story = Story(
        replace(FLOW, state=FlowState.FAILED, error_code="cancelled", error_text="no more"),
        {},
        [replace(step("createEvaluationUsers", "refused", 0.95, 5), call_ids=(3, 4))],
        [look, call],
        [OutcomeSeen("abc", "failed", "cancelled", "no more", None, at(6), None)],
        [NoteSeen(at(6), "cancel", "ann", "no more")],
        [],
    )
    assert entries_of(story) == [
        ("accepted", "Accepted. Event e-1, trader.purchased, partition 2, offset 5."),
        ("step", "createEvaluationUsers planned. Sent 1 time."),
        (
            "call",
            "Call createEvaluationUsers. On LIVE, with 2 items, by r: refused as a whole after 2.5 s. Rejected.",
        ),
        (
            "look-up",
            "Look-up reads user/find. On LIVE, by r: no answer yet.",
        ),
        ("step", "createEvaluationUsers did not take effect."),
        ("operator", 'ann cancelled it. "no more"'),
        ("outcome", 'Outcome abc: failed. cancelled. Not published yet. "no more"'),
    ]
    assert ("state", "failed (cancelled: no more)") in head(story)


def test_what_holds_a_flow_back_now_comes_last() -> None:
    """A lock-out under which a flow waits is shown with its end, below all that has happened."""
    hold = Hold(1, "all", "locked out: Tradovate answered 429", None, at(2))
    story = Story(FLOW, {}, [step("createEvaluationUsers", "due", 1, attempts=0)], [], [], [], [hold])
    assert entries_of(story)[-1] == ("held", "locked out: Tradovate answered 429, until an operator clears it")


def test_a_step_that_nobody_can_look_up_asks_for_an_operator() -> None:
    """A step in doubt says that an operator must look."""
    story = Story(
        replace(FLOW, state=FlowState.IN_DOUBT, ended_at=at(9)),
        {},
        [step("createPartnerSubaccountRequest", "parked", 1)],
        [],
        [],
        [],
        [],
    )
    assert entries_of(story)[-1] == ("step", "createPartnerSubaccountRequest is in doubt: an operator must look.")


def test_every_time_has_milliseconds_and_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are UTC, or with `--local` this machine's; both forms have milliseconds and name their zone."""
    waits = replace(step("plan", "waiting", 0), waits_for=FLOW.waits_for, due=FLOW.due or NOON)
    story = Story(FLOW, {}, [waits], [], [], [], [Hold(1, "all", "429", at(3), at(2))])
    monkeypatch.setenv("TZ", "America/Chicago")
    time.tzset()
    try:
        utc, local = (
            [*map(str, rows_of(story, clock)), str(row(FLOW, clock)), str(head(story, clock))]
            for clock in (utc_text, local_text)
        )
    finally:
        monkeypatch.undo()
        time.tzset()
    found = [re.findall(r"\d\d:\d\d[^ ,)']*", " ".join(lines)) for lines in (utc, local)]
    assert len(found[0]) == len(found[1]) >= 6
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}Z", each) for each in found[0])
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}-06:00", each) for each in found[1])


def test_only_what_an_outcome_tells_is_shown_of_the_facts() -> None:
    """Facts that no outcome tells, which may hold anything, are not shown."""
    facts = {"accountId": 5, "userFrom": "made", "application": {"firstName": "Jane"}, "warnings": []}
    assert shown(facts) == {"accountId": 5}


def test_json_has_utc_times_and_the_outcomes_names() -> None:
    """JSON of a flow has the contract's names, and times in UTC with milliseconds."""
    found = as_json(FLOW)
    assert {"flowId", "eventId", "topic", "state", "due", "attempts"} <= found.keys()
    assert (found["due"], found["state"]) == ("2026-11-20T12:15:00.000Z", "waiting")
