"""When a departure is executed: the trading day's end, and a month's end, held to Chicago's clocks."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chicago import CHICAGO
from tests.support.views import known, learn, plan
from worker.engine.facts import changed
from worker.engine.flows.base import Wait
from worker.engine.flows.days import day_end, departure_due, renewal_after
from worker.results import Succeeded

END = time(17, 15)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2034, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
ENDS = st.times(time(0, 0), time(23, 59))


def chicago(text: str) -> datetime:
    """A wall-clock time in Chicago."""
    return datetime.fromisoformat(text).replace(tzinfo=CHICAGO)


@pytest.mark.parametrize(
    ("came", "due"),
    [
        ("2026-11-30T10:00", "2026-11-30T17:15"),  # a Monday, the last day: as on any day
        ("2026-11-30T17:14", "2026-11-30T17:15"),
        ("2026-11-30T17:15", "2026-11-30T18:00"),  # December's first trading day is under way
        ("2026-11-30T17:20", "2026-11-30T18:00"),  # the example
        ("2026-11-30T18:29", "2026-11-30T18:29"),  # at once
        ("2026-11-30T18:59", "2026-11-30T18:59"),
        ("2026-11-30T19:00", "2026-12-01T17:15"),  # December is billed, whatever happens
        ("2026-05-31T16:00", "2026-05-31T16:00"),  # a Sunday before the open
        ("2026-05-31T17:30", "2026-05-31T18:00"),  # a Sunday evening: Monday's day is under way
        ("2026-05-29T12:00", "2026-05-29T17:15"),  # the last trading day before
        ("2026-01-31T12:00", "2026-01-31T12:00"),  # a Saturday
        ("2026-02-27T17:20", "2026-02-27T17:20"),  # a Friday evening, the last day a Saturday
        ("2028-02-29T17:20", "2028-02-29T18:00"),  # a leap year
        ("2026-12-31T17:20", "2026-12-31T18:00"),
    ],
)
def test_departures_of_a_months_last_days(came: str, due: str) -> None:
    """The trading day's end counts only as far as it lies before the renewal."""
    assert departure_due(chicago(came).astimezone(UTC), END) == chicago(due)


def test_a_day_that_ends_late_does_not_reach_into_the_renewal() -> None:
    """Whatever DAY_END says, 18:00 of the last day is the latest."""
    assert departure_due(chicago("2026-11-30T10:00"), time(18, 45)) == chicago("2026-11-30T18:00")
    assert departure_due(chicago("2026-11-30T10:00"), time(23, 30)) == chicago("2026-11-30T18:00")
    assert departure_due(chicago("2026-11-30T17:30"), time(2, 0)) == chicago("2026-11-30T18:00")


@given(MOMENTS, ENDS)
def test_every_departure_is_executed_before_the_renewal(came: datetime, end: time) -> None:
    """It is due before 19:00 of a month's last day if it came before, and by 18:30, or at once."""
    renewal, due = renewal_after(came), departure_due(came, end)
    assert came <= due < renewal
    assert due <= max(came, renewal - timedelta(minutes=30))


@given(MOMENTS, ENDS)
def test_on_all_other_days_the_trading_day_decides(came: datetime, end: time) -> None:
    """Nothing is executed before its trading day ends, but for a month's end."""
    due, ends = departure_due(came, end), day_end(came, end) or came
    assert due == ends or due == max(came, renewal_after(came) - timedelta(hours=1))


@given(MOMENTS)
def test_a_renewal_is_at_seven_in_the_evening_of_a_months_last_day(at: datetime) -> None:
    """The next one lies ahead, and there is one in every month of Chicago's calendar."""
    renewal = renewal_after(at)
    here = renewal.astimezone(CHICAGO)
    assert at < renewal <= at + timedelta(days=31, hours=1)
    assert (here.hour, here.minute) == (19, 0)
    assert (here + timedelta(days=1)).day == 1


LEFT = "trader.left"
LIVE, DEMO = "cancelEverything", "cancelEverything@demo"


def test_the_flow_waits_until_the_months_end() -> None:
    """The wait of a departure that came at 17:20 on 30 November ends at 18:00."""
    waiting = plan(LEFT, {"userId": 5}, at=chicago("2026-11-30T17:20")).decision
    assert isinstance(waiting, Wait)
    assert (waiting.until, waiting.pending) == (chicago("2026-11-30T18:00"), True)


@pytest.mark.parametrize(("done", "warned"), [("18:59", False), ("19:00", True), ("19:30", True)])
def test_what_is_done_after_the_renewal_is_said(done: str, warned: bool) -> None:
    """A departure that could be done only after 19:00 tells the shop that the user is billed for another month."""
    asked, came = {"userId": 5, "immediate": True}, chicago("2026-11-30T18:40")
    after = chicago(f"2026-11-30T{done}") - came
    planned = plan(LEFT, asked, at=came)
    planned = learn(LEFT, asked, planned.facts, LIVE, Succeeded({}), at=came, after=after)
    assert [("30 November 2026" in each) for each in known(planned).get("warnings", ())] == [True] * warned


def test_a_retry_does_not_wait_for_another_days_end() -> None:
    """What came on a day that has ended is executed at once when an operator asks for it again."""
    failed = plan(LEFT, {"traderId": "t"}, at=chicago("2026-11-18T10:00"), after=timedelta(days=1))
    again = plan(LEFT, {"traderId": "t"}, changed(failed.facts, ended=True), user=5, after=timedelta(days=2))
    assert not isinstance(again.decision, Wait)
