"""Days and moments on the wire. JSON has texts only; their patterns let through the days that exist and no others.

The keyword `format` is not used: most validators ignore it, Ajv refuses it without a plug-in, and generators make a
type `Date` of it, which no JSON parser delivers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated, Final

from pydantic import PlainSerializer
from pydantic_core import PydanticCustomError

from schemas.rules import Form, ReadBy, Rule, mistyped

_YEAR: Final = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR: Final = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_MONTH_AND_DAY: Final = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DAY: Final = f"(?:{_YEAR}-{_MONTH_AND_DAY}|{_LEAP_YEAR}-02-29)"
_HOUR: Final = "(?:[01][0-9]|2[0-3])"

DATE: Final = Form(f"^{_DAY}$", "must be a date as YYYY-MM-DD")
TIME: Final = Form(
    rf"^{_DAY}[Tt ]{_HOUR}:(?:[0-5][0-9]:[0-5][0-9]|59:60)(?:\.[0-9]+)?(?:[Zz]|[+-]{_HOUR}:[0-5][0-9])$",
    "must be an RFC 3339 time with its offset, such as 2026-11-20T23:00:00Z",
)
UTC_TIME: Final = Form(
    rf"^{_DAY}T{_HOUR}:[0-5][0-9]:[0-5][0-9]\.[0-9]{{3}}Z$", "must be a time in UTC with milliseconds and Z"
)
"""How our own records write a time."""


def _broken(rule: str) -> PydanticCustomError:
    return PydanticCustomError("rule_broken", "{rule}", {"rule": rule})


def _to_date(value: object) -> date:
    if isinstance(value, str):
        if not DATE.fits(value):
            raise _broken(DATE.says)
        return date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise mistyped("must be a string with a date as YYYY-MM-DD")


_IN_RANGE: Final = Rule(
    says="must be in the years 1 to 9999 in UTC as well", why="JSON Schema does not convert times to UTC"
)


def _to_time(value: object) -> datetime:
    if isinstance(value, str):
        if not TIME.fits(value):
            raise _broken(TIME.says)
        # A leap second, which Python does not know, is the end of the second before it.
        known = f"{value[:17]}59{value[19:]}" if value[14:19] == "59:60" else value
        try:
            return datetime.fromisoformat(known.upper()).astimezone(UTC)
        except OverflowError:
            raise _broken(_IN_RANGE.says) from None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    raise mistyped("must be a string with an RFC 3339 time")


Clock = Callable[[datetime], str]
"""How an aware time is written."""


@lru_cache(maxsize=16)  # the outcomes of a transaction have one time, in their headers as in their bodies
def utc_text(moment: datetime) -> str:
    """An aware time as Tradovate, our outcomes, the console and the commands write it: UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def local_text(moment: datetime) -> str:
    """The same in this machine's zone, with its offset from UTC."""
    return moment.astimezone().isoformat(timespec="milliseconds")


Date = Annotated[date, ReadBy(read=_to_date, schema={**DATE.schema, "description": "A day: YYYY-MM-DD."})]
"""A day, `YYYY-MM-DD` on the wire."""

Time = Annotated[
    datetime,
    ReadBy(
        read=_to_time,
        schema={**TIME.schema, "description": "A time with its offset from UTC (RFC 3339)."},
        more=(_IN_RANGE,),
    ),
    PlainSerializer(utc_text, return_type=str, when_used="json"),
]
"""A moment, RFC 3339 with its offset on the wire, held in UTC."""
