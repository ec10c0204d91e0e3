"""The linger: how long, and that it makes the budget of the hour and of the minute last."""

from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.day import burst, changing, poisson, steady
from tests.bench.lanes import ACCOUNTS, USERS, Lanes
from worker.dispatch.pacing import FULL, HOUR, MINUTE, MINUTE_FRESH, WINDOW, BudgetLeft, Pace, Stream

SHORTEST, LONGEST = 0.005, 60.0
CARRIED = 4380 / 2 / HOUR * FULL
"""Purchases a second that full calls carry on a budget of 4,500, two calls each."""

PACE = Pace(SHORTEST, LONGEST, 540)
PLENTY = BudgetLeft(4380, 540)

lefts = st.builds(BudgetLeft, st.integers(-10, 10_000), st.integers(-10, 10_000))
paces = st.builds(Pace, st.floats(0.0, 1.0), st.floats(1.0, 300.0), st.integers(1, 10_000))
streams = st.dictionaries(
    st.sampled_from([USERS, ACCOUNTS, "another"]),
    st.builds(Stream, st.integers(1, 100_000), st.floats(0.0, 100.0), st.floats(0.0, 5_000.0), st.integers(0, 1_000)),
)


@given(paces, lefts, streams)
def test_linger_stays_between_the_shortest_and_the_longest(
    pace: Pace, left: BudgetLeft, seen: dict[str, Stream]
) -> None:
    """A step never lingers for less than the shortest time nor for more than the longest."""
    assert pace.shortest <= pace.linger(left, seen, USERS) <= pace.longest


@given(paces, lefts, lefts, streams)
def test_linger_never_grows_with_the_budget(
    pace: Pace, left: BudgetLeft, other: BudgetLeft, seen: dict[str, Stream]
) -> None:
    """The more calls are left in the hour and in the minute, the shorter the linger."""
    less = BudgetLeft(min(left.hour, other.hour), min(left.minute, other.minute))
    more = BudgetLeft(max(left.hour, other.hour), max(left.minute, other.minute))
    assert pace.linger(more, seen, USERS) <= pace.linger(less, seen, USERS) + 1e-9


@given(paces, lefts, streams, st.floats(0.0, 5_000.0), st.integers(0, 1_000))
def test_linger_never_shrinks_with_waste(
    pace: Pace, left: BudgetLeft, seen: dict[str, Stream], waste: float, more: int
) -> None:
    """The more has been spent on speed of late, the longer the linger."""
    worse = {
        name: Stream(each.items, each.quickest, each.wasted + waste, each.part_filled + more)
        for name, each in seen.items()
    }
    assert pace.linger(left, worse, USERS) >= pace.linger(left, seen, USERS) - 1e-9


@given(st.integers(0, int(540 * MINUTE_FRESH)), st.integers(0, 540))
def test_half_a_minutes_budget_is_spent_on_speed_before_anything_lingers(calls: int, left: int) -> None:
    """A burst of single events within half of the minute's budget is not slowed, however little others have left."""
    assert PACE.linger(BudgetLeft(4380, left), {USERS: Stream(300, 0.0, 0.0, calls)}, USERS) == SHORTEST


def test_paced_lanes_make_as_many_calls_a_minute_as_are_left() -> None:
    """Once single events have cost more than half of a minute's budget, the lingers make the rest last a minute."""
    seen = {USERS: Stream(300, 0.0, 0.0, 170), ACCOUNTS: Stream(300, 0.0, 0.0, 160)}
    assert 2 * MINUTE / PACE.linger(BudgetLeft(4380, 60), seen, USERS) == 60


def test_fresh_budget_lingers_for_the_shortest_time() -> None:
    """While the budget is fresh a step lingers for BATCH_LINGER_MS."""
    assert PACE.linger(PLENTY, {}, USERS) == SHORTEST


def test_spent_budget_lingers_for_the_longest_time() -> None:
    """When nothing is left a step lingers for BATCH_LINGER_MAX_SECONDS."""
    assert PACE.linger(BudgetLeft(0, 540), {}, USERS) == LONGEST


def test_paced_lanes_make_as_many_calls_an_hour_as_are_left() -> None:
    """Once too much was spent on speed, the waits of all lanes make the calls that are left last for the hour."""
    seen = {USERS: Stream(600, 0.0, 300.0), ACCOUNTS: Stream(600, 0.0, 300.0)}
    wait = PACE.linger(BudgetLeft(2000, 540), seen, USERS)
    assert 2 * HOUR / wait == 2000


def test_rate_is_known_before_the_window_is_full() -> None:
    """A stream's rate is what its first calls showed, until the mean of ten minutes is higher."""
    assert Stream(10, quickest=20.0).rate == 20.0
    assert Stream(int(30 * WINDOW), quickest=20.0).rate == 30.0


def test_lone_events_in_a_row_go_at_once() -> None:
    """Fifty events one after the other within ten seconds wait for nobody on a fresh budget."""
    report = Lanes().run(steady(5.0, 0, 10), until=HOUR)
    assert len(report.latencies) == 50
    assert report.quantile(1.0) < 2 * Lanes().call + 4 * SHORTEST


@given(st.integers(1, 20_000))
@settings(max_examples=25)
def test_tail_of_a_burst_does_not_wait_long(size: int) -> None:
    """What a burst leaves over after its full calls goes right behind them, and costs two calls at most."""
    report = Lanes().run(burst(size, 0), until=HOUR)
    turns = 2 * -(-size // FULL) / 12 + 2  # twelve calls at a time
    assert report.calls <= 2 * -(-size // FULL) + 2
    assert report.quantile(1.0) < turns * (Lanes().call + 4 * SHORTEST)


def test_lone_event_after_a_burst_goes_at_once() -> None:
    """After five thousand purchases at once a lone one, half a minute later, waits for nobody."""
    report = Lanes().run(itertools.chain(burst(5000, 0), [30.0]), until=HOUR)
    assert report.latencies[-1] < 2 * Lanes().call + 4 * SHORTEST


def test_small_budget_carries_a_stream_of_minutes() -> None:
    """On a budget of 100 calls, 150 purchases at two a second are all done within four minutes."""
    report = Lanes(100).run(steady(2.0, 0, 75), until=HOUR)
    assert len(report.latencies) == 150
    assert report.quantile(1.0) < 240
    assert report.calls < 90


@given(st.sampled_from([20, 60, 200]), st.floats(0.01, 0.3))
@settings(max_examples=15)
def test_small_minute_budget_carries_a_stream_in_fuller_calls(minute: int, rate: float) -> None:
    """A stream of up to a third of what full calls carry in a minute's budget never finds the minute spent, and nine
    of ten purchases are done within a minute.
    """
    carried = minute / 2 / MINUTE * FULL  # purchases a second, two calls each
    report = Lanes(minute=minute).run(steady(rate * carried, 0, 600), until=HOUR)
    assert report.minute_dry == 0
    assert report.busiest_minute <= minute
    assert report.quantile(0.9) < MINUTE


@given(st.sampled_from([10, 20, 60]), st.floats(0.3, 0.7))
@settings(max_examples=15)
def test_minute_budget_is_kept_at_any_rate(minute: int, rate: float) -> None:
    """A faster stream spends what there is and no more, and no purchase waits for longer than two minutes."""
    report = Lanes(minute=minute).run(steady(rate * minute / 2 / MINUTE * FULL, 0, 600), until=HOUR)
    assert report.busiest_minute <= minute
    assert report.quantile(1.0) < 2 * MINUTE


def test_burst_within_the_minutes_budget_is_not_slowed() -> None:
    """A hundred and thirty single purchases within twenty seconds, two calls each, go at once one by one."""
    report = Lanes().run(steady(6.5, 0, 20), until=HOUR)
    assert report.quantile(1.0) < 2 * Lanes().call + 4 * SHORTEST
    assert report.minute_dry == 0


@given(st.floats(0.001, CARRIED * 0.98), st.booleans(), st.integers(0, 1000))
@settings(max_examples=8)
def test_steady_stream_never_runs_the_budget_dry(rate: float, even: bool, seed: int) -> None:
    """A stream at any rate that full calls carry is carried from a cold start on, hour after hour."""
    arrivals = steady(rate, 0, 1.4 * HOUR) if even else poisson(rate, 0, 1.4 * HOUR, seed)
    assert Lanes().run(arrivals, until=2 * HOUR).dry == 0


def test_fastest_stream_never_runs_the_budget_dry() -> None:
    """Sixty purchases a second need 4,320 of 4,380 calls an hour, and get them from a cold start on."""
    report = Lanes().run(steady(60.0, 0, 1.2 * HOUR), until=2 * HOUR)
    assert report.dry == 0
    assert report.busiest <= 4380


@given(st.lists(st.floats(0.01, CARRIED * 0.8), min_size=2, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=6)
def test_changes_of_rate_never_run_the_budget_dry(rates: list[float], dice: random.Random) -> None:
    """A stream that changes its rate, up to four fifths of what full calls carry, never finds the budget spent."""
    ends = sorted(dice.uniform(0, 1.5 * HOUR) for _ in rates)
    parts = [(rate, start, end) for rate, start, end in zip(rates, [0.0, *ends], ends, strict=False)]
    assert Lanes().run(changing(*parts), until=3 * HOUR).dry == 0
