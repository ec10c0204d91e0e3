"""The partner's days and months: a date without a time zone is Chicago's."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

CHICAGO: Final = ZoneInfo("America/Chicago")


def day_in_chicago(at: datetime) -> date:
    """The date in Chicago at a moment, which must know its zone."""
    return at.astimezone(CHICAGO).date()
