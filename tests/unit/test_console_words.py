"""What the console says: the top line, why a flow waits, the chart, a flow's life."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.console.chart import HEIGHT, MINUTES, chart, minute, nice
from worker.console.headline import Facts, Level, headline
from worker.console.overview import left
from worker.console.throttle import MOST, WITHIN, Throttle
from worker.console.timeline import ids, timeline
from worker.console.why import Step, World, why
from worker.console.words import number, span
from worker.ledger.browse import CallSeen, FlowState, NoteSeen, OutcomeSeen, StepSeen, Story, Summary
from worker.ledger.holds import Hold

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def hold(scope: str, until: datetime | None = NOW + timedelta(minutes=5)) -> Hold:
    """Something that keeps calls back."""
    return Hold(1, scope, "a reason", until, NOW)


def test_all_is_well_in_one_line() -> None:
    """With nothing wrong the top line says so."""
    said = headline(Facts(NOW, bridges=2))
    assert (said.level, said.text, list(said.more)) == (Level.GOOD, "Nothing is wrong.", [])


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (Facts(NOW, held=[hold("all")]), Level.BAD, "All calls are silent until 2026-11-20 12:05:00 UTC"),
        (Facts(NOW, held=[hold("login", None)]), Level.BAD, "Nobody logs in until a person ends it"),
        (Facts(NOW, kafka="KafkaConnectionError"), Level.BAD, "Kafka cannot be reached"),
        (Facts(NOW, workers=0), Level.BAD, "No worker replica is running."),
        (Facts(NOW, wrong_hosts=["DEMO's calls wait: HTTP 421"]), Level.BAD, "DEMO's calls wait: HTTP 421."),
        (Facts(NOW, in_doubt=1), Level.BAD, "1 flow is in doubt"),
        (Facts(NOW, bridges=0), Level.BAD, "No bridge is at work"),
        (Facts(NOW, bridges=2, bridge_leads=False), Level.BAD, "No bridge is at work"),
        (Facts(NOW, held=[hold("pause:all", None)]), Level.NOTICE, "All calls are paused until a person ends it"),
        (Facts(NOW, held=[hold("pause:x", None)]), Level.NOTICE, "x is paused"),
        (Facts(NOW, held=[hold("endpoint:x")]), Level.NOTICE, "x is held back until"),
        (Facts(NOW, budget_left=0, budget_free_at=NOW), Level.NOTICE, "The hour's budget is used up"),
        (Facts(NOW, oldest=timedelta(hours=2, seconds=7)), Level.NOTICE, "waited for 2 h."),
        (Facts(NOW, missing=["w-1"]), Level.NOTICE, "w-1 does not answer any more"),
        (Facts(NOW, dead_letters=2), Level.NOTICE, "2 dead letters wait"),
    ],
)
def test_each_trouble_has_its_line(facts: Facts, level: Level, words: str) -> None:
    """One sentence that names what is wrong, until when, and how bad it is."""
    said = headline(facts)
    assert said.level is level
    assert words in said.text


def test_the_worst_comes_first() -> None:
    """The top line is the worst trouble; the others follow it."""
    said = headline(Facts(NOW, held=[hold("endpoint:x"), hold("all")], in_doubt=3, dead_letters=1))
    assert said.text.startswith("All calls are silent")
    assert [text.split()[0] for text in said.more] == ["3", "x", "1"]


LATER = NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("step", "world", "words"),
    [
        (None, World(NOW), "between two steps"),
        (Step("op", "in_flight", NOW), World(NOW), "under way"),
        (Step("op", "parked", NOW), World(NOW), "a person must look"),
        (Step("plan", "waiting", LATER, ["trader:t-1"]), World(NOW), "the user of trader t-1, until"),
        (Step("plan", "waiting", LATER, ["order:purchased:7:8"]), World(NOW), "It waits for order 7:8"),
        (Step("plan", "waiting", LATER), World(NOW), "waits for its time"),
        (Step("op", "due", LATER, attempts=3), World(NOW), "tried 3 times and is tried again at"),
        (Step("op", "due", LATER), World(NOW), "op is due at"),
        (Step("op", "unknown", LATER), World(NOW), "not known; it is looked up at"),
        (Step("op", "due", NOW), World(NOW, [hold("all")]), "held back until 2026-11-20 12:05:00 UTC: a reason"),
        (Step("op", "due", NOW), World(NOW, [hold("pause:op", None)]), "until a person ends it"),
        (Step("op", "due", NOW), World(NOW, [hold("pause:other")]), "waits for its turn"),
        (Step("op", "due", NOW), World(NOW, windows={"op": LATER}), "maintenance, until"),
        (Step("op", "due", NOW), World(NOW, budget_left=0, budget_free_at=LATER), "the next call is free at 12:01:00"),
        (Step("op", "due", NOW), World(NOW, minute_left=0), "free again within a minute"),
        (Step("revokeTradingPermissions", "due", NOW), World(NOW, budget_left=0, minute_left=0), "ready to be sent"),
        (Step("op", "unknown", NOW), World(NOW), "ready to be looked up"),
    ],
)
def test_every_wait_is_explained(step: Step | None, world: World, words: str) -> None:
    """One sentence says what the flow waits for, and until when as far as anybody knows."""
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


def test_what_was_put_back_does_not_wait_any_more() -> None:
    """Dead letters are counted by offsets, less those that are noted as put back and still there."""
    dead = {("a", 0): range(5, 10), ("a", 1): range(2), ("b", 0): range(7, 7)}
    assert left(dead, {("a", 0): [1, 5, 6], ("a", 1): [0, 1], ("b", 0): [3]}) == {"a": 3}


def test_numbers_and_spans_are_read_at_a_glance() -> None:
    """Thousands apart, two units at most."""
    assert number(1234567) == "1\u202f234\u202f567"
    assert [span(each) for each in (0.25, 3.14, 59, 60, 3661, 90000)] == [
        "250 ms", "3.1 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h",
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
        StepSeen(3, "createUsers", "done", 2, NOW, (), NOW + 5 * SECOND, NOW + 8 * SECOND, (2,), {"userId": 5}),
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


def test_a_flows_life_is_told_in_its_order() -> None:
    """Accepted, waits, steps, calls, look-ups, outcomes and what people did, with the partner's own words."""
    told = timeline(story())
    assert [entry.title for entry in told] == [
        "Accepted",
        "Waits for the user of trader cust-1",
        "createUsers is next",
        "Call createUsers",
        "createUsers did not take effect",
        "Outcome abc",
        "Ada retried it",
        "createUsers is next",
        "Look-up /user/find for createUsers",
        "createUsers took effect",
        "Outcome def",
    ]
    assert [entry.said for entry in told if entry.said] == ["Name *** is taken", "the name is free now"]
    assert dict(ids(story()))["warning 1"] == "careful"
