"""Reading request fields, with complaints in the vendor's grammar (error tables of the endpoint pages)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from worker.errors import SandboxError

__all__ = ["Malformed", "Problems", "check", "combined_names", "ids_of", "title", "trade_date_of"]

Problems = list[tuple[str, str]]
"""Each a field's name and a sentence about it."""

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Malformed(SandboxError):
    """A body that is no object, or a field of a wrong JSON type: HTTP 400."""


def title(name: str) -> str:
    """Return a field's name the way the vendor writes it in sentences: `firstName` is `First Name`."""
    words = _WORDS.sub(" ", name)
    return words[:1].upper() + words[1:]


def check(
    body: Mapping[str, Any], required: Mapping[str, type], optional: Mapping[str, type] | None = None
) -> Problems:
    """Return what is missing or empty among the required fields.

    :raises Malformed: a field has the wrong JSON type.
    """
    problems: Problems = []
    for name, kind in required.items():
        value = body.get(name)
        if value is None or value == "":
            problems.append((name, f"{title(name)} should be specified"))
        elif not _is(value, kind):
            raise Malformed(name)
        elif kind is int and name.endswith("Id") and value <= 0:
            problems.append((name, f"{title(name)} should be greater than 0"))
    for name, kind in (optional or {}).items():
        value = body.get(name)
        if value is not None and not _is(value, kind):
            raise Malformed(name)
    return problems


def combined_names(body: Mapping[str, Any], first: str = "firstName", last: str = "lastName") -> Problems:
    """Each name has at most 64 characters, both together at most 60 (users and contact info pages)."""
    names = [str(body.get(name) or "") for name in (first, last)]
    problems = [
        (field, f"{title(field)} should be no longer than 64")
        for field, name in zip((first, last), names, strict=True)
        if len(name) > 64
    ]
    if not problems and sum(map(len, names)) > 60:
        problems.append((first, f"{title(first)} and {title(last)} combined should be no longer than 60"))
    return problems


def ids_of(text: str) -> list[int]:
    """Read `1,2,3` of a query.

    :raises Malformed: something between the commas is no number.
    """
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise Malformed("ids") from None


def trade_date_of(value: object) -> str:
    """Return a TradeDate as `YYYY-MM-DD`.

    :raises Malformed: not an object with year, month and day.
    """
    if not isinstance(value, dict):
        raise Malformed("tradeDate")
    parts: list[Any] = [value.get(name) for name in ("year", "month", "day")]
    try:
        return date(*parts).isoformat()
    except (TypeError, ValueError):
        raise Malformed("tradeDate") from None


def _is(value: object, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)
