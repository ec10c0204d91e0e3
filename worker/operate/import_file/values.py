"""The values of a line as spreadsheets and databases write them; each broken rule is a sentence for an operator.

No sentence repeats a value but an id of the shop's or Tradovate's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from schemas.chicago import CHICAGO
from worker.engine.imported import Given
from worker.errors import Interruption

COLUMNS = ("traderId", "userId", "userName", "orderId", "accountId", "accountName", "purchasedAt")

MOST = 128
"""Characters of an id of the shop's, as in events."""

_SCIENTIFIC = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-][0-9]{1,3}")
"""How spreadsheets write a number that is too long for its cell: always with the exponent's sign."""

_DATE_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}.*)?")


_FIRST_YEAR = 2000
"""Tradovate is younger. An empty date of a spreadsheet is one of 1899 or 1900, that of a database the year 1."""


class _WrongLine(Interruption):
    """A line that cannot be read: the sentence says why."""


class Fraction(str):
    """A JSON number that is no integer, as it is written."""

    __slots__ = ()


def given_of(number: int, values: Mapping[str, Any], account_name: Callable[[str], str]) -> Given | str:
    """A line out of its values by column, or why it is refused; `account_name` derives one from an order id."""
    try:
        return _given(number, values, account_name)
    except _WrongLine as wrong:
        return wrong.sentence


def _given(number: int, values: Mapping[str, Any], account_name: Callable[[str], str]) -> Given:
    read = {name: value for name in COLUMNS if (value := _tidy(values.get(name))) not in (None, "")}
    trader_id = _text("traderId", read)
    if trader_id is None:
        raise _WrongLine("traderId is missing.")
    given = Given(
        number=number,
        trader_id=trader_id,
        user_id=_number("userId", read),
        user_name=_text("userName", read),
        order_id=_text("orderId", read),
        account_id=_number("accountId", read),
        account_name=_text("accountName", read),
        purchased_at=_time("purchasedAt", read),
    )
    if given.user_id is None and given.user_name is None:
        raise _WrongLine("userId or userName is missing.")
    if given.order_id is None or given.has_account:
        return given
    return Given(
        number=number,
        trader_id=trader_id,
        user_id=given.user_id,
        user_name=given.user_name,
        order_id=given.order_id,
        account_name=account_name(given.order_id),
        purchased_at=given.purchased_at,
        derived=True,
    )


def _tidy(value: Any) -> Any:
    """A cell without spaces around it, and without `="…"`, which makes spreadsheets keep leading zeros."""
    if not isinstance(value, str) or isinstance(value, Fraction):
        return value
    text = value.strip()
    return text[2:-1].strip() if text.startswith('="') and text.endswith('"') and len(text) > 2 else text


def _text(name: str, values: Mapping[str, Any]) -> str | None:
    value = values.get(name)
    if value is None:
        return None
    if type(value) is int:
        value = str(value)
    _not_rounded(name, value)
    if not isinstance(value, str):
        raise _WrongLine(f"{name} must be a text.")
    if len(value) > MOST:
        raise _WrongLine(f"{name} is longer than {MOST} characters.")
    if any("\ud800" <= letter <= "\udfff" or letter == "\ufffd" for letter in value):
        raise _WrongLine(f"{name} is not UTF-8: save the file as CSV UTF-8.")
    if not value.isprintable():
        raise _WrongLine(f"{name} has a character that cannot be printed.")
    return value


def _number(name: str, values: Mapping[str, Any]) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    _not_rounded(name, value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 30:
        value = int(value)
    if type(value) is not int or not 0 < value < 2**63:
        raise _WrongLine(f"{name} must be a number of Tradovate's: digits alone, without separators or decimals.")
    return value


def _not_rounded(name: str, value: Any) -> None:
    if isinstance(value, str) and (isinstance(value, Fraction) or _SCIENTIFIC.fullmatch(value)):
        raise _WrongLine(
            f"{name} is {value}: a spreadsheet has rounded it; format the column as text and export the file again."
            if _SCIENTIFIC.fullmatch(value)
            else f"{name} is {value}: it must be written as a text or an integer."
        )


def _time(name: str, values: Mapping[str, Any]) -> datetime | None:
    value = values.get(name)
    if value is None:
        return None
    at: datetime | None = None
    if isinstance(value, str) and _DATE_TIME.fullmatch(value):
        try:
            at = datetime.fromisoformat(value.upper())
        except ValueError:
            at = None
    if at is None or at.year < _FIRST_YEAR:
        raise _WrongLine(f"{name} must be a date as 2026-11-20, or a time as 2026-11-20T23:00:00Z.")
    if at.tzinfo is not None:
        return at
    # A day is one in Chicago, as in all that is reported: in UTC it would begin on the day before.
    return at.replace(tzinfo=CHICAGO if len(value) == len("2026-11-20") else UTC)
