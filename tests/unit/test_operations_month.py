"""A departed user's market data is judged by the month that it is in Chicago, whatever month it is elsewhere."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chicago import CHICAGO
from tests.support.reader import FakeReader, look
from worker.partner.operations.cancellations import CANCEL_LIVE as LIVE
from worker.results import NotExecuted, Succeeded, Unknown


async def judged(at: datetime, **row: Any) -> Any:
    """What a look-up finds of a user with this row of market data."""
    reader = FakeReader({"/marketDataSubscription/deps": [{"id": 1, "userId": 5, **row}]}, at=at)
    (found,) = await look(LIVE, reader, {"userId": 5})
    return found


def chicago(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=CHICAGO)


@pytest.mark.parametrize(
    ("at", "month", "expired", "gone"),
    [
        ("2026-11-30T17:15", (2026, 11), False, False),
        ("2026-11-30T20:00", (2026, 11), False, False),  # in London it is December
        ("2026-11-30T23:59:59", (2026, 11), False, False),
        ("2026-12-01T00:00", (2026, 11), False, True),  # the month has ended while the look-up waited
        ("2026-11-30T20:00", (2026, 12), False, False),  # renewed an hour ago
        ("2026-11-30T20:00", (2026, 12), True, True),
        ("2026-11-18T17:15", (2026, 10), False, True),  # a former month's row is never marked
        ("2027-01-01T00:00", (2026, 12), False, True),
        ("2026-12-31T23:00", (2027, 1), False, False),
        ("2026-11-18T17:15", (2026, 11), True, True),
    ],
)
async def test_the_month_in_chicago_decides(at: str, month: tuple[int, int], expired: bool, gone: bool) -> None:
    """This month's row is in force, and the next one's after the renewal; a former one's is not."""
    found = await judged(chicago(at), year=month[0], month=month[1], expired=expired)
    assert isinstance(found, Succeeded if gone else NotExecuted)


@pytest.mark.parametrize("row", [{}, {"year": 2026}, {"year": "2026", "month": "11"}, {"year": 2026, "month": None}])
async def test_a_row_without_a_month_proves_nothing(row: dict[str, Any]) -> None:
    """Whether it is in force is not known, unless it is marked as expired."""
    assert isinstance(await judged(chicago("2026-11-18T17:15"), expired=False, **row), Unknown)
    assert isinstance(await judged(chicago("2026-11-18T17:15"), expired=True, **row), Succeeded)


@given(st.datetimes(datetime(2024, 1, 1), datetime(2034, 1, 1)), st.integers(-24, 24))  # noqa: DTZ001
async def test_a_row_is_in_force_from_its_month_on(at: datetime, months: int) -> None:
    """Of former months all are gone, of this and later ones none, at any moment of ten years."""
    here = at.replace(tzinfo=CHICAGO)
    number = here.year * 12 + here.month - 1 + months
    found = await judged(here, year=number // 12, month=number % 12 + 1, expired=False)
    assert isinstance(found, Succeeded if months < 0 else NotExecuted)
