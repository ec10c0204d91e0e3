"""A batch that fails again and again is halved until the item that is to blame is alone, and only then."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.halving import Simulation
from worker.backoff import Schedule
from worker.engine.steps.splitting import patience
from worker.replies import Misdirected, Refusal, Reply, Unauthorized, Unclear

HOUR = 3600.0


def poison(*bad: int) -> Callable[[Sequence[int], float], bool]:
    """The call fails when one of these is in it."""
    return lambda numbers, _at: not set(bad).isdisjoint(numbers)


def outage(until: float) -> Callable[[Sequence[int], float], bool]:
    """Every call fails until then."""
    return lambda _numbers, at: at < until


@pytest.mark.parametrize("bad", [0, 42, 99])
def test_one_bad_item_of_a_hundred_costs_about_fifteen_calls(bad: int) -> None:
    """Two calls of all of them, then halves: the good ones are done within minutes, the bad one is given up alone."""
    run = Simulation(poison(bad))
    run.arrive(100)
    run.run(86_400 * 2)
    assert set(run.done) == set(range(100)) - {bad}
    assert list(run.given_up) == [bad]
    together = [numbers for _, numbers in run.calls if len(numbers) > 1]
    assert len(together) + len({number for _, numbers in run.calls for number in numbers if numbers == [number]}) <= 16
    assert max(run.done.values()) < 300
    assert run.given_up[bad] >= 86_400 * 0.9
    alone = [at for at, numbers in run.calls if numbers == [bad]]
    assert len(alone) < 700  # its schedule's own: every two and a half minutes on average


@pytest.mark.parametrize(
    "reply", [Unclear("the connection broke"), Misdirected("HTTP 405", 405), Refusal("Not this one")]
)
def test_whatever_the_failure_is_the_good_ones_go_through(reply: Reply) -> None:
    """A dropped connection, an empty 405 and a refusal of the whole are isolated by the same halves."""
    run = Simulation(poison(42), reply=reply)
    run.arrive(100)
    run.run(HOUR)
    assert set(run.done) == set(range(100)) - {42}


def test_several_bad_items_are_isolated_each() -> None:
    """Three of a hundred, in both halves."""
    run = Simulation(poison(7, 40, 81))
    run.arrive(100)
    run.run(HOUR)
    assert set(run.done) == set(range(100)) - {7, 40, 81}
    assert max(run.done.values()) < 600


def test_a_bad_item_in_every_quarter_is_isolated_in_time() -> None:
    """No part succeeds for long, and all good ones do in the end."""
    bad = (3, 30, 60, 90)
    run = Simulation(poison(*bad))
    run.arrive(100)
    run.run(6 * HOUR)
    assert set(run.done) == set(range(100)) - set(bad)


def test_a_bad_item_does_not_spoil_those_that_come_later() -> None:
    """New steps share at most one call with it."""
    run = Simulation(poison(42))
    run.arrive(100)
    for minute in range(20):
        run.arrive(10, 20.0 * minute)
    run.run(HOUR)
    assert set(run.done) == set(range(300)) - {42}
    assert all(run.sent_with[number] <= 2 for number in range(100, 300))


@pytest.mark.parametrize(("minutes", "most"), [(5, 350), (10, 500), (30, 850), (60, 1600)])
def test_an_outage_of_one_endpoint_stays_within_the_budget(minutes: int, most: int) -> None:
    """A thousand steps whose every call fails, while their look-ups work: a fraction of the hour's 4,500 calls, and as
    soon as the endpoint is back all of them are done.
    """
    run = Simulation(outage(60 * minutes))
    run.arrive(1000)
    run.run(86_400)
    assert len(run.done) == 1000
    assert len(run.calls) + 2 * run.looks <= most, (len(run.calls), run.looks)
    assert max(run.done.values()) < 60 * minutes + 320


def test_without_a_sign_the_parts_are_split_ever_more_seldom() -> None:
    """A whole after its second failure, its halves after theirs, then after 8, 32, ... failures."""
    assert [patience(depth) for depth in range(5)] == [2, 2, 8, 32, 128]
    assert [patience(depth, failed=3) for depth in range(4)] == [8, 8, 32, 128]
    assert [patience(depth, size=4) for depth in range(5)] == [2, 2, 8, 8, 8]


def test_a_good_step_does_not_share_the_day_of_a_bad_one() -> None:
    """The last pair of a batch is split within the hour, though no other call shows that the endpoint works."""
    run = Simulation(poison(3, 5))
    run.arrive(21)
    run.run(HOUR)
    assert set(run.done) == set(range(21)) - {3, 5}


@settings(max_examples=25)
@given(st.sets(st.integers(0, 39), max_size=6), st.integers(1, 40))
def test_every_good_item_is_done_and_no_bad_one_is(bad: set[int], count: int) -> None:
    """Whichever items make their calls fail, and however many there are."""
    run = Simulation(poison(*bad), schedule=Schedule(1, 60, 7200))
    run.arrive(count)
    run.run(86_400)
    assert set(run.done) == set(range(count)) - bad
    assert set(run.given_up) == {number for number in bad if number < count}


def test_a_missing_permission_of_the_key_is_distinguished_from_another_firms_item() -> None:
    """401 whenever one item is in the call: the others go through; 401 for all: all wait, and none is rejected."""
    for fails, done in ((poison(42), set(range(100)) - {42}), (outage(2 * HOUR), set[int]())):
        settled = Simulation(fails, reply=Unauthorized("Access is denied"))
        settled.arrive(100)
        settled.run(HOUR)
        assert set(settled.done) == done
        assert not settled.given_up


def test_a_step_that_fails_by_itself_and_asks_for_several_things_is_divided() -> None:
    """After its second failure its flow may ask for them one by one; a step that asks for one thing is retried."""
    run = Simulation(poison(0), operation="revokeTradingPermissions", item={"tradingPermissionIds": [1, 2]})
    run.arrive(1)
    run.run(HOUR)
    assert len(run.calls) == 2
    assert list(run.given_up) == [0]
    alone = Simulation(poison(0), operation="revokeTradingPermissions", item={"tradingPermissionIds": [1]})
    alone.arrive(1)
    alone.run(HOUR)
    assert not alone.given_up
