"""Which values of an event are personal, and how they are taken out of a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.base import PERSONAL_MARK

MASK = "***"

SHORTEST = 2
"""Characters. A single letter is in every text; replacing it would leave nothing to read."""

_WHOLE_WORD_BELOW = 4
"""Characters. Shorter values are replaced only as whole words: a trader called Li must not turn `Live` to `***ve`."""

_LONGEST = 1000
"""Characters. What is longer (a document as a data URI) is echoed by nobody."""


def is_personal(field: FieldInfo) -> bool:
    """Whether the values of a field are personal."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.items() >= PERSONAL_MARK.items()


@cache
def _personal_fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for name, field in model.model_fields.items() if is_personal(field))


def personal_values(model: BaseModel) -> frozenset[str]:
    """Every personal text in `model`, at any depth, of 2 characters or more; a birth date in the forms it is written.

    Ids, countries and states are not personal here: they are what makes an error readable.
    """
    return frozenset(value for value in _walk(model) if SHORTEST <= len(value) <= _LONGEST)


def _walk(model: BaseModel) -> Iterator[str]:
    personal = _personal_fields(type(model))
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _walk(value)
        elif name in personal:
            if isinstance(value, str):
                yield value
                if value != value.strip():
                    yield value.strip()
            elif isinstance(value, date):
                yield from _dates(value)


def _dates(day: date) -> Iterator[str]:
    yield day.isoformat()
    yield day.strftime("%Y%m%d")
    for separator in "/.-":
        yield f"{day.month:02d}{separator}{day.day:02d}{separator}{day.year}"
        yield f"{day.day:02d}{separator}{day.month:02d}{separator}{day.year}"
        yield f"{day.month}{separator}{day.day}{separator}{day.year}"
        yield f"{day.day}{separator}{day.month}{separator}{day.year}"
        yield f"{day.year}{separator}{day.month:02d}{separator}{day.day:02d}"


def mask(text: str, values: Iterable[str]) -> str:
    """`text` with every one of `values` replaced by `***`, whatever their case; longer values first."""
    patterns = [
        rf"(?<!\w){re.escape(value)}(?!\w)" if len(value) < _WHOLE_WORD_BELOW else re.escape(value)
        for value in sorted(set(values), key=len, reverse=True)
    ]
    return re.sub("|".join(patterns), MASK, text, flags=re.IGNORECASE) if patterns else text
