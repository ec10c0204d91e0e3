"""The trading day's calendar, held to Chicago's clocks."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chicago import CHICAGO
from worker.engine.flows.days import day_end

END = time(17, 15)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


def chicago(text: str) -> datetime:
    """A wall-clock time in Chicago."""
    return datetime.fromisoformat(text).replace(tzinfo=CHICAGO)


@pytest.mark.parametrize(
    ("at", "ends"),
    [
        ("2026-11-18T10:00", "2026-11-18T17:15"),  # Wednesday morning
        ("2026-11-18T17:05", "2026-11-18T17:15"),  # Thursday's session is open already, Wednesday's day is not over
        ("2026-11-18T17:15", "2026-11-19T17:15"),
        ("2026-11-20T17:14", "2026-11-20T17:15"),  # Friday, the last minute
        ("2026-11-20T17:15", None),
        ("2026-11-21T12:00", None),  # Saturday
        ("2026-11-22T16:59", None),  # Sunday before the open
        ("2026-11-22T17:00", "2026-11-23T17:15"),
        ("2026-03-08T17:00", "2026-03-09T17:15"),  # the night in which an hour is missing
        ("2026-11-01T18:00", "2026-11-02T17:15"),  # the night with an hour twice
    ],
)
def test_the_day_under_way(at: str, ends: str | None) -> None:
    """A trading day runs from the evening before to DAY_END; at weekends none is under way."""
    found = day_end(chicago(at).astimezone(UTC), END)
    assert found == (chicago(ends).astimezone(UTC) if ends else None)


@given(MOMENTS, st.times(time(0, 0), time(23, 59)))
def test_an_end_is_ahead_and_near(at: datetime, end: time) -> None:
    """Whatever DAY_END is, it lies ahead, within a day and a third, on a weekday, at that time of Chicago's clocks."""
    found = day_end(at, end)
    if found is not None:
        here = found.astimezone(CHICAGO)
        assert at < found <= at + timedelta(hours=32)
        assert here.weekday() <= 4
        assert here.time() == end.replace(microsecond=end.microsecond)


@given(MOMENTS)
def test_nothing_is_under_way_only_at_weekends(at: datetime) -> None:
    """From Friday's end to Sunday's open a departure is carried out at once, and at no other time."""
    here = at.astimezone(CHICAGO)
    weekend = (
        here.weekday() == 5
        or (here.weekday() == 4 and here.time() >= END)
        or (here.weekday() == 6 and here.time() < time(17))
    )
    assert (day_end(at, END) is None) == weekend


@given(MOMENTS)
def test_waiting_until_the_end_is_enough(at: datetime) -> None:
    """Within one trading day every moment has the same end."""
    ends = day_end(at, END)
    if ends is not None:
        assert day_end(ends - timedelta(microseconds=1), END) == ends
