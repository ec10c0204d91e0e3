"""JSON as the partner sends it: its texts clean, and one bad text does not hide what stands beside it."""

from __future__ import annotations

import json
import math
from typing import Any, Final, Never

import orjson

from schemas.cleaning import cleaned

__all__ = ["NONSENSE", "clean_json", "parse_json", "read_json"]


class _Nonsense:
    """The value of what is not JSON."""


NONSENSE: Final = _Nonsense()


def read_json(body: bytes) -> Any:
    """The value with its texts clean, or `NONSENSE`; never raises."""
    return clean_json(parse_json(body))


def clean_json(value: Any) -> Any:
    """The value with its texts clean; `NONSENSE` for one that is nested too deeply."""
    try:
        return cleaned(value)
    except RecursionError:
        return NONSENSE


def parse_json(body: bytes) -> Any:
    """The value as it came, or `NONSENSE`; never raises. What is used of it is cleaned then: the initial data of a
    socket are megabytes, of which little is looked at.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            # A lone surrogate in one text makes the strict parser give up the whole answer, its other items included.
            if b"\\ud" not in body.lower():
                return NONSENSE
            return json.loads(body, parse_constant=_no_number, parse_int=_whole, parse_float=_finite)
    except (ValueError, RecursionError):
        return NONSENSE


def _whole(text: str) -> float:
    """A whole number as the strict parser reads it: what does not fit in 64 bits is rounded."""
    return int(text) if len(text) < _CERTAINLY_64_BITS else _finite(text)


_CERTAINLY_64_BITS = 19
"""Characters, a sign included, below which a whole number has no more bits."""


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError
    return number


def _no_number(name: str) -> Never:
    raise ValueError(name)
