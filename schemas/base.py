"""The ground all wire models stand on: strict JSON types, the text and number types, and how a rule is broken.

Each pattern has its meaning in `PATTERN_RULES`, so that a refusal is a sentence rather than a regular expression.
Patterns are written so that Rust, Python and ECMAScript read them alike: they are exported in the JSON Schemas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, LiteralString

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

MAX_INT64: Final = 2**63 - 1
"""Tradovate's ids are int64 (OpenAPI)."""


class Wire(BaseModel):
    """A frozen model with JSON-strict types and camelCase names; unknown fields are ignored.

    Validation errors and `repr` never show personal values: errors hide their input, personal fields their text.
    """

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class StrictWire(Wire):
    """As `Wire`, but an unknown field is an error: a misspelt limit must not pass."""

    model_config = ConfigDict(extra="forbid")


PERSONAL: Final[Any] = Field(repr=False, json_schema_extra={"x-personal": True})
"""Marks a field whose value may never reach a log, a metric, a trace, an outcome or an error."""


def broken(field: LiteralString, rule: LiteralString) -> PydanticCustomError:
    """A rule that `field` (camelCase, seen from the model that raises) breaks: the rest of the sentence is `rule`."""
    return PydanticCustomError("rule_broken", "{field} {rule}", {"field": field, "rule": rule})


def lacking(field: LiteralString, rule: LiteralString = "is missing") -> PydanticCustomError:
    """A field that is needed here and not given."""
    return PydanticCustomError("missing_field", "{field} {rule}", {"field": field, "rule": rule})


def mistyped(rule: LiteralString) -> PydanticCustomError:
    """A value of the wrong JSON type, found by a validator of ours."""
    return PydanticCustomError("wrong_type", "{field} {rule}", {"field": "", "rule": rule})


FILLED = r"^[^\x00]*[^\s\x00][^\x00]*$"
NO_NUL = r"^[^\x00]*$"
ACCOUNT_NAME = r"^[A-Z]+[0-9]+$"
EMAIL = r"^[^\s@\x00]+@[^\s@\x00]+$"
PERSON_NAME = r"^(?:[^\W\d_]|[ .'’-])*[^\W\d_](?:[^\W\d_]|[ .'’-])*$"

US_TAX_ID = r"^[0-9]{9}$"
"""Exactly nine digits, for US citizens (Tradovate, create partner subaccount request)."""
NATIONAL_ID = r"^[A-Za-z0-9]{2,64}$"
"""2 to 64 letters and digits, for all others (Tradovate, create partner subaccount request)."""

PATTERN_RULES: Final[Mapping[str, str]] = {
    FILLED: "must not be empty and must not contain NUL characters",
    NO_NUL: "must not contain NUL characters",
    ACCOUNT_NAME: "must be capital letters followed by digits, such as EVAL100234",
    EMAIL: "must be an e-mail address",
    PERSON_NAME: "must be letters, spaces, hyphens, apostrophes and periods only",
}

Text = Annotated[str, StringConstraints(pattern=FILLED)]
"""A text that says something. NUL is refused everywhere: PostgreSQL cannot hold U+0000."""

LooseText = Annotated[str, StringConstraints(pattern=NO_NUL)]
"""A text that may be empty: shops send `""` for an address line that a trader left blank."""

Key = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=NO_NUL)]
"""An id of the shop's own: 1 to 128 characters."""

Email = Annotated[str, StringConstraints(pattern=EMAIL, max_length=320)]
"""Plausible, not proven: one `@` with something on both sides; 64 + 1 + 255 characters at most (RFC 5321)."""

Password = Annotated[str, StringConstraints(min_length=8, pattern=NO_NUL)]
"""Eight characters or more (Tradovate, sign-up endpoints)."""

PartName = Annotated[str, StringConstraints(pattern=FILLED, max_length=64)]
"""A first or last name: at most 64 characters each (Tradovate, create evaluation users)."""

LegalName = Annotated[str, StringConstraints(pattern=PERSON_NAME, max_length=64)]
"""A first or last name on a subaccount request (Tradovate, create partner subaccount request)."""

AccountName = Annotated[str, StringConstraints(pattern=ACCOUNT_NAME, max_length=64)]
"""Tradovate, create evaluation accounts: `^[A-Z]+[0-9]+$`, at most 64 characters."""

Id = Annotated[int, Field(gt=0, le=MAX_INT64)]
"""A Tradovate id: a positive int64."""

Count = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""Tradovate's `int`: 32 bits."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})")


def _to_date(value: object) -> date:
    if isinstance(value, str):
        try:
            if _DATE.fullmatch(value):
                return date.fromisoformat(value)
        except ValueError:
            pass
        raise PydanticCustomError("rule_broken", "{rule}", {"rule": "must be a date as YYYY-MM-DD"})
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise mistyped("must be a string with a date as YYYY-MM-DD")


def _to_time(value: object) -> datetime:
    if isinstance(value, str):
        try:
            if _TIME.fullmatch(value):
                # A leap second, which Python does not know, is the end of the second before it.
                known = f"{value[:17]}59{value[19:]}" if value[14:19] == "59:60" else value
                return datetime.fromisoformat(known.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise PydanticCustomError(
            "rule_broken", "{rule}", {"rule": "must be an RFC 3339 time with its offset, such as 2026-11-20T23:00:00Z"}
        )
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    raise mistyped("must be a string with an RFC 3339 time")


def utc_text(moment: datetime) -> str:
    """An aware time as Tradovate and our outcomes write it: UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


Date = Annotated[date, BeforeValidator(_to_date, json_schema_input_type=date)]
"""A day, `YYYY-MM-DD` on the wire."""

Time = Annotated[
    datetime,
    BeforeValidator(_to_time, json_schema_input_type=datetime),
    PlainSerializer(utc_text, return_type=str, when_used="json"),
]
"""A moment, RFC 3339 with its offset on the wire, held in UTC."""

MOST_ENTRIES: Final = 1000
"""Entries of one array in an event. No trader comes near it; without an end one record could hold up its neighbours
for a second."""

COMBINED_NAMES: Final = 60
"""First and last name together (Tradovate, create evaluation users and update contact info)."""
