"""What the console says: the top line, why a flow waits, the chart, a flow's life."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import utc_text
from worker.engine.rows import Found
from worker.ledger.browse import FlowState, Summary
from worker.ledger.call_log import result_name
from worker.ledger.holds import Hold
from worker.ledger.story import CallSeen, Held, NoteSeen, OutcomeSeen, StepSeen, Story
from worker.operate.console.chart import HEIGHT, MINUTES, chart, minute, nice
from worker.operate.console.first_page import KAFKA_EVERY, Kafka, Offsets, left
from worker.operate.console.headline import HeadlineFacts, Level, headline
from worker.operate.console.throttle import MOST, WITHIN, Throttle
from worker.operate.console.why import CallConditions, Step, why
from worker.operate.flow_timeline import FOUND, RESULTS, ids, timeline
from worker.operate.quantities import number, span
from worker.operate.wait_words import waited
from worker.replies import Answer, Misdirected, NotSent, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def hold(scope: str, until: datetime | None = NOW + timedelta(minutes=5)) -> Hold:
    """Something that keeps calls back."""
    return Hold(1, scope, "a reason", until, NOW)


def test_all_is_well_in_one_line() -> None:
    """With nothing wrong the top line says so."""
    said = headline(HeadlineFacts(NOW, bridges=2))
    assert (said.level, said.text, list(said.more)) == (Level.GOOD, "Nothing is wrong.", [])


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (HeadlineFacts(NOW, held=[hold("all")]), Level.BAD, "All calls are silent until 2026-11-20T12:05:00.000Z"),
        (HeadlineFacts(NOW, held=[hold("login", None)]), Level.BAD, "Nobody logs in until an operator ends it"),
        (HeadlineFacts(NOW, kafka="KafkaConnectionError"), Level.BAD, "Kafka cannot be reached"),
        (HeadlineFacts(NOW, workers=0), Level.BAD, "No worker replica is running."),
        (HeadlineFacts(NOW, wrong_hosts=["DEMO's calls wait: HTTP 421"]), Level.BAD, "DEMO's calls wait: HTTP 421."),
        (HeadlineFacts(NOW, in_doubt=1), Level.BAD, "1 flow is in doubt"),
        (HeadlineFacts(NOW, bridges=0), Level.BAD, "No bridge is at work"),
        (
            HeadlineFacts(NOW, risk_waits=timedelta(minutes=3)),
            Level.NOTICE,
            "Changes of risk statuses have waited for 3 min",
        ),
        (HeadlineFacts(NOW, bridges=2, bridge_leads=False), Level.BAD, "No bridge is at work"),
        (
            HeadlineFacts(NOW, held=[hold("pause:all", None)]),
            Level.NOTICE,
            "All calls are paused until an operator ends it",
        ),
        (HeadlineFacts(NOW, held=[hold("pause:x", None)]), Level.NOTICE, "x is paused"),
        (HeadlineFacts(NOW, held=[hold("endpoint:x")]), Level.NOTICE, "x is held back until"),
        (HeadlineFacts(NOW, budget_left=0, budget_free_at=NOW), Level.NOTICE, "The hour's budget is used up"),
        (HeadlineFacts(NOW, oldest=timedelta(hours=2, seconds=7)), Level.NOTICE, "waited for 2 h."),
        (HeadlineFacts(NOW, missing=["w-1"]), Level.NOTICE, "w-1 does not answer any more"),
        (HeadlineFacts(NOW, dead_letters=2), Level.NOTICE, "2 dead letters wait"),
    ],
)
def test_each_trouble_has_its_line(facts: HeadlineFacts, level: Level, words: str) -> None:
    """One sentence that names what is wrong, until when, how bad it is, and leads to where that is to be seen."""
    said = headline(facts)
    assert said.level is level
    assert words in said.text
    assert said.first.link.startswith("/")
    assert said.state == ("1 problem" if level is Level.BAD else "1 notice")


def test_the_worst_comes_first() -> None:
    """The top line is the worst trouble; the others follow it."""
    said = headline(HeadlineFacts(NOW, held=[hold("endpoint:x"), hold("all")], in_doubt=3, dead_letters=1))
    assert said.text.startswith("All calls are silent")
    assert [line.text.split()[0] for line in said.more] == ["3", "x", "1"]


LATER = NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("step", "world", "words"),
    [
        (None, CallConditions(NOW), "between two steps"),
        (Step("op", "in_flight", NOW), CallConditions(NOW), "under way"),
        (Step("op", "parked", NOW), CallConditions(NOW), "an operator must look"),
        (Step("plan", "waiting", LATER, ["trader:t-1"]), CallConditions(NOW), "the user of trader t-1, until"),
        (Step("plan", "waiting", LATER, ["order:purchased:7:8"]), CallConditions(NOW), "It waits for order 7:8"),
        (Step("plan", "waiting", LATER), CallConditions(NOW), "waits for its time"),
        (Step("op", "due", LATER, attempts=3), CallConditions(NOW), "tried 3 times and is tried again at"),
        (Step("op", "due", LATER), CallConditions(NOW), "op is due at"),
        (Step("op", "unknown", LATER), CallConditions(NOW), "not known; it is looked up at"),
        (
            Step("op", "due", NOW),
            CallConditions(NOW, [hold("all")]),
            "held back until 2026-11-20T12:05:00.000Z: a reason",
        ),
        (Step("op", "due", NOW), CallConditions(NOW, [hold("pause:op", None)]), "until an operator ends it"),
        (Step("op", "due", NOW), CallConditions(NOW, [hold("pause:other")]), "waits for its turn"),
        (Step("op", "due", NOW), CallConditions(NOW, windows={"op": LATER}), "maintenance, until"),
        (
            Step("op", "due", NOW),
            CallConditions(NOW, budget_left=0, budget_free_at=LATER),
            "free at 2026-11-20T12:01:00.000Z",
        ),
        (Step("op", "due", NOW), CallConditions(NOW, minute_left=0), "free again within a minute"),
        (
            Step("revokeTradingPermissions", "due", NOW),
            CallConditions(NOW, budget_left=0, minute_left=0),
            "ready to be sent",
        ),
        (Step("op", "unknown", NOW), CallConditions(NOW), "ready to be looked up"),
    ],
)
def test_every_wait_is_explained(step: Step | None, world: CallConditions, words: str) -> None:
    """One sentence says what the flow waits for, and until when, if that is known."""
    assert words in why(step, world)


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 120), st.sampled_from(["succeeded", "failed", "pending", "in_doubt"])),
        st.integers(0, 10_000_000),
    )
)
def test_the_chart_fits_its_frame_and_counts_the_hour_alone(counts: dict[tuple[int, str], int]) -> None:
    """No bar leaves the drawing, and the totals are those of the last sixty minutes."""
    drawn = chart({(minute(NOW) - timedelta(minutes=ago), status): n for (ago, status), n in counts.items()}, NOW)
    assert drawn.total == sum(n for (ago, _), n in counts.items() if ago < MINUTES)
    assert all(-0.1 <= bar.y <= bar.y + bar.height <= HEIGHT + 0.1 for bar in drawn.bars)
    assert all(0 <= bar.x <= bar.x + bar.width <= drawn.width for bar in drawn.bars)
    assert drawn.marks[0] >= drawn.busiest


@given(st.integers(0, 10**9))
def test_a_scale_is_never_below_its_value_nor_far_above(value: int) -> None:
    """At most two and a half times as high as needed."""
    assert value <= nice(value) <= max(1, value * 2.5)


@given(st.lists(st.integers(0, 1200).map(lambda quarters: quarters / 4), max_size=40))
def test_an_address_is_shut_out_exactly_while_ten_are_within_a_minute(times: list[float]) -> None:
    """Whatever the times of its wrong tokens."""
    throttle = Throttle()
    noted: list[float] = []
    for now in sorted(times):
        recent = [at for at in noted if at > now - WITHIN]
        assert (throttle.wait("a", now) > 0) == (len(recent) >= MOST)
        if len(recent) < MOST:
            throttle.wrong("a", now)
            noted.append(now)


async def test_an_old_reading_of_kafka_is_not_shown() -> None:
    """After a pause without visitors the console shows the dead letters of now, not those of the last reading."""
    now, there = [100.0], [Offsets(dead={("a", 0): range(0)})]

    async def read() -> Offsets:
        return there[0]

    kafka = Kafka(read, clock=lambda: now[0])
    assert (await kafka()).dead == {("a", 0): range(0)}
    there[0] = Offsets(dead={("a", 0): range(1)})
    now[0] += 3 * KAFKA_EVERY
    assert (await kafka()).dead == {("a", 0): range(1)}


def test_what_was_replayed_is_not_open_any_more() -> None:
    """Dead letters are counted by offsets, less those that are noted as replayed and still there."""
    dead = {("a", 0): range(5, 10), ("a", 1): range(2), ("b", 0): range(7, 7)}
    assert left(dead, {("a", 0): [1, 5, 6], ("a", 1): [0, 1], ("b", 0): [3]}) == {"a": 3}


def test_numbers_and_spans_are_read_at_a_glance() -> None:
    """Thousands apart, two units at most."""
    assert number(1234567) == "1\u202f234\u202f567"
    assert [span(each) for each in (0.25, 3.14, 59, 60, 3661, 90000)] == [
        "250 ms", "3.1 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h",
    ]  # fmt: skip


def iso(seconds: float) -> str:
    """A moment as a step's history keeps it."""
    return (NOW + seconds * SECOND).isoformat()


def lived(operation: str, state: str, *history: Mapping[str, Any], attempts: int = 1, **result: Any) -> Story:
    """A flow with one step that began with the flow and ended nine seconds later."""
    step = StepSeen(1, operation, state, attempts, NOW, (), NOW, NOW + 9 * SECOND, (1, 2), result, history)
    calls = [
        CallSeen(1, operation, operation, "live", "send", 1, "w-1", NOW, NOW + SECOND, "unclear", None, "timeout"),
        CallSeen(2, operation, "user/find", "live", "look_up", 1, "w-1", NOW + 5 * SECOND, NOW + 6 * SECOND,
                 "not_executed", 404, "HTTP 404"),
    ]  # fmt: skip
    return replace(story(), steps=[step], calls=calls[: None if attempts else 0], outcomes=[], notes=[])


def lines(of: Story) -> str:
    """All that is shown of a life."""
    return "\n".join(f"{entry.title}. {' '.join(entry.texts)}" for entry in timeline(of))


def test_a_look_up_says_what_it_found() -> None:
    """A look-up that found nothing is never shown as an effect; a 404 to its read is an answer, and no error."""
    sent = {"at": iso(1), "state": "unknown", "due": iso(4)}
    again = {"at": iso(6), "found": "nothing", "state": "due", "due": iso(8)}
    shown = lines(lived("createEvaluationUsers", "done", sent, again, attempts=2))
    assert "Whether createEvaluationUsers took effect is not known. It is looked up 3 s later" in shown
    assert "by w-1: nothing there after 1 s, HTTP 404." in shown
    assert "found nothing. The call had not taken effect. It is sent again 2 s later." in shown
    for found, result, words in (
        ("there", {}, "Look-up for revokeTradingPermissions found: nothing"),
        ("there", {"found": [[1, 2, 3, "Active"]], "accounts": [3]}, "found: 1 trading permission, 1 account"),
        ("unclear", {}, "found out nothing"),
        ("not_made", {}, "could not be made"),
    ):
        of = lived("revokeTradingPermissions@find", "done", {"at": iso(2), "found": found}, attempts=0, **result)
        assert words in lines(of)
        assert "took effect" not in lines(of)
    assert set(Found) == set(FOUND)


def test_an_operation_that_only_asks_shows_what_the_partner_said() -> None:
    """A duplicate check or a status poll has no effect: its end says what Tradovate answered."""
    of = lived("getPartnerSubaccountRequestStatus", "done", requestStatus="InReview")
    assert "getPartnerSubaccountRequestStatus found: the request is InReview" in lines(of)
    assert "checkDuplicate found: no duplicate" in lines(lived("checkDuplicate", "done"))
    assert "checkDuplicate was refused" in lines(lived("checkDuplicate", "refused"))


def test_no_finished_step_is_next() -> None:
    """Only the step that is not sent yet and not over is called next."""
    for state in ("done", "refused", "parked", "in_flight", "unknown"):
        assert "is next" not in lines(lived("createEvaluationUsers", state))
    of = lived("createEvaluationUsers", "due", attempts=0)
    assert "is next" in lines(replace(of, steps=[replace(of.steps[0], ended_at=None)]))


@pytest.mark.parametrize(
    ("operation", "held", "sent", "words"),
    [
        ("a", [], 0.05, ""),
        ("a", [], 3, "Waited 3 s for its turn"),
        (
            "a",
            [Held("pause:a", "wrong template", NOW, NOW + SECOND)],
            3,
            "(wrong template, since 2026-11-20T12:00:00.0",
        ),
        ("a", [Held("pause:b", "wrong template", NOW, None)], 3, "for its turn"),
        ("a", [Held("all", "locked out", NOW - SECOND, NOW + 9 * SECOND)], 3, "for the end of a hold (locked out, "),
        ("a", [Held("all", "locked out", NOW - 9 * SECOND, NOW - SECOND)], 3, "for its turn"),
    ],
)
def test_a_call_says_what_its_step_waited_for(operation: str, held: list[Held], sent: float, words: str) -> None:
    """A hold in the time between ready and sent is named; a moment needs no reason."""
    said = waited(operation, NOW, NOW + sent * SECOND, held, 1, utc_text)
    assert words in said
    assert bool(said) == bool(words)


def test_a_call_in_maintenance_says_so() -> None:
    """What became ready within a maintenance window waited for its end; what does not wait for these did not."""
    inside = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
    after = inside + timedelta(hours=1)
    assert "maintenance at 2026-11-19T23:15:00.000Z" in waited("createEvaluationUsers", inside, after, (), 1, utc_text)
    assert "maintenance" not in waited("revokeTradingPermissions", inside, after, (), 1, utc_text)


def test_every_result_of_a_call_has_its_words() -> None:
    """No result of a call is left out of the words, nor of the filter that finds calls by them."""
    names = {result_name(each) for each in _REPLIES}
    assert names | {"none"} == set(RESULTS)
    assert {type(each) for each in _REPLIES} == set(get_args(Reply))


_REPLIES: list[Reply] = [
    Answer({}), Refusal(""), Ticket("", timedelta(0)), Silence(429), Unauthorized(), NotSent(""), Misdirected("", 404),
    Unclear(""),
]  # fmt: skip


def story(**changes: Any) -> Story:
    """A purchase that was refused, retried, and succeeded."""
    flow = Summary(
        uuid.UUID(int=7), "e-1", "trader.purchased", FlowState.SUCCEEDED, "100", "cust-1", 5, 9, 1, 2, None, None,
        NOW, NOW + 9 * SECOND, 3, 41, False, None, None, (),
    )  # fmt: skip
    steps = [
        StepSeen(1, "plan", "done", 0, NOW + SECOND, ["trader:cust-1"], NOW - SECOND / 9, NOW + SECOND, (), {}),
        StepSeen(2, "createUsers", "refused", 1, NOW, (), NOW + SECOND, NOW + 2 * SECOND, (1,), {}),
        StepSeen(
            3,
            "createUsers",
            "done",
            0,
            NOW,
            (),
            NOW + 5 * SECOND,
            NOW + 8 * SECOND,
            (2,),
            {"userId": 5},
            [{"at": iso(7.8), "found": "there"}],
        ),
    ]
    calls = [
        CallSeen(1, "createUsers", "createUsers", "live", "send", 4, "w-1", NOW + SECOND * 1.5, NOW + 2 * SECOND,
                 "answer", 200, None),
        CallSeen(2, "createUsers", "/user/find", "live", "look_up", 1, "w-1", NOW + 6 * SECOND, None, None, None, None),
    ]  # fmt: skip
    outcomes = [
        OutcomeSeen("abc", "failed", "rejected", "Name *** is taken", None, NOW + SECOND * 1.9, NOW + 2 * SECOND),
        OutcomeSeen("def", "succeeded", None, None, None, NOW + SECOND * 7.9, None),
    ]
    notes = [NoteSeen(NOW + 5 * SECOND, "retry", "Ada", "the name is free now")]
    return Story(flow, {"userId": 5, "warnings": ["careful"], **changes}, steps, calls, outcomes, notes, [])


def test_a_flows_life_is_shown_in_its_order() -> None:
    """Accepted, waits, steps, calls, look-ups, outcomes and what people did, with the partner's own words."""
    entries = timeline(story())
    assert [entry.title for entry in entries] == [
        "Accepted",
        "Waited for the user of trader cust-1",
        "createUsers planned",
        "Call createUsers",
        "createUsers did not take effect",
        "Outcome abc",
        "Ada retried it",
        "createUsers planned",
        "Look-up reads /user/find",
        "Look-up for createUsers found it",
        "createUsers was there already",
        "Outcome def",
    ]
    assert [entry.said for entry in entries if entry.said] == ["Name *** is taken", "the name is free now"]
    assert dict(ids(story()))["warning 1"] == "careful"
