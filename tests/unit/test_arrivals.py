"""Whether more events are on their way, judged by those that came."""

from __future__ import annotations

import pytest

from worker.intake.arrivals import CROWD, CROWD_SECONDS, Arrivals

WAIT = 0.005


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def after(records: int, seconds: float) -> Arrivals:
    """What is known so long after a batch of so many records was in."""
    clock = Clock()
    arrivals = Arrivals(clock)
    arrivals.begin(records)
    arrivals.accepted()
    arrivals.end()
    clock.now += seconds
    return arrivals


def test_before_the_first_nothing_comes() -> None:
    """A replica that has just started waits for nobody."""
    arrivals = Arrivals(Clock())
    assert not arrivals.following(WAIT)
    assert not arrivals.coming(WAIT)


def test_while_a_batch_is_taken_it_comes() -> None:
    """Events that are on their way into the ledger surely come, one alone as well."""
    arrivals = Arrivals(Clock())
    arrivals.begin(1)
    assert arrivals.coming(WAIT)


@pytest.mark.parametrize(("records", "coming"), [(1, False), (2, True)])
def test_behind_a_crowd_comes_more(records: int, coming: bool) -> None:
    """Once in the ledger a lone event has nobody behind it; several together have, from then on."""
    arrivals = Arrivals(Clock())
    arrivals.begin(records)
    arrivals.accepted()
    assert arrivals.coming(WAIT) is coming
    arrivals.end()
    assert arrivals.coming(WAIT) is coming


@pytest.mark.parametrize(
    ("records", "wait", "seconds"),
    [(2, WAIT, 2 * WAIT), (5, WAIT, 5 * WAIT), (CROWD, WAIT, CROWD_SECONDS), (500, WAIT, CROWD_SECONDS), (9, 0.2, 0.2)],
)
def test_more_is_waited_for_by_their_number(records: int, wait: float, seconds: float) -> None:
    """The more came together, the longer more is awaited; never beyond a pause's length or what the wait itself is."""
    assert after(records, seconds * 0.99).coming(wait)
    assert not after(records, seconds * 1.01).coming(wait)


@pytest.mark.parametrize(("gap", "later", "following"), [(0.99, 0.5, True), (1.01, 0.5, False), (0.5, 1.01, False)])
def test_events_that_follow_each_other_bring_another(gap: float, later: float, following: bool) -> None:
    """Of two single events, close enough that the first could have shared its call, another is expected as soon."""
    clock = Clock()
    arrivals = Arrivals(clock)
    arrivals.begin(1)
    assert not arrivals.following(WAIT), "a lone event says nothing of others"
    clock.now += gap * WAIT
    arrivals.begin(1)
    clock.now += later * WAIT
    assert arrivals.following(WAIT) is following
