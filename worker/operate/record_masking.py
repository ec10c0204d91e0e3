"""A dead letter for an operator to read: its shape, its ids, and nothing personal. Pure.

The rule names what may be shown, not what must be hidden, since nobody can foresee how a dead letter is wrong. A value
is shown only if the events' models have a field of its name that is not personal. Everything else is `***`, in text
that is no JSON nothing is shown at all.

`whole`: however long something is, nothing of it is cut off: for what is no page and no terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, get_args

import orjson
from pydantic import BaseModel

from schemas.events import EVENTS
from schemas.privacy import MASK, is_personal
from worker.intake.dead_letter_headers import OURS

MOST_BYTES = 256 * 1024
"""Of a value that is shown where it is not shown whole; larger ones hold documents."""

# CloudEvents' own fields, which are an envelope's, and nothing where they are further inside.
_ENVELOPE = frozenset({"specversion", "id", "source", "type", "time", "datacontenttype", "traceparent"})
_PROSE = frozenset({"reason", "traderReason", "description", "parameters"})  # free texts, which may name persons
_HEADERS = re.compile(r"(ce_(id|type|source|time|specversion)|content-type|traceparent|tracestate|dlq-[a-z]+)")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")
_LONGEST = 128  # characters where texts are not shown whole: ids have no more
_LONGEST_HEADER = 1000
_DEEPEST = 12


def masked_value(topic: str, value: bytes | None, *, whole: bool = False) -> str:
    """The value as indented JSON with what is personal masked, or a sentence that says what it is."""
    if value is None:
        return "(no value)"
    if len(value) > MOST_BYTES and not whole:
        return f"({len(value)} bytes, too many to show)"
    try:
        read = orjson.loads(value.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return f"({len(value)} bytes that are not JSON, and might hold anything)"
    return json.dumps(_masked(read, shown_fields(topic), 0, whole=whole), indent=2, ensure_ascii=False)


def masked_headers(
    headers: Sequence[tuple[str | bytes, bytes | None]], *, whole: bool = False
) -> list[tuple[str, str]]:
    """Names and values; values of headers that are not the worker's or CloudEvents' are masked. The worker's own are
    never cut: they say what is wrong.
    """
    names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else _text(name) for name, _ in headers]
    return [
        (name if whole else name[:_LONGEST], _header(name, value, whole=whole))
        for name, (_, value) in zip(names, headers, strict=True)
    ]


def masked_key(topic: str, key: bytes | None, value: bytes | None) -> str:
    """The key where it is an id that the body shows too, else `***`."""
    if key is None:
        return "(none)"
    try:
        text, body = key.decode(), orjson.loads(value or b"")
    except (UnicodeDecodeError, orjson.JSONDecodeError):
        return MASK
    shown = shown_fields(topic)
    ids = [body.get(name) for name in shown] if isinstance(body, dict) else []
    return text if any(str(each) == text for each in ids if isinstance(each, str | int)) else MASK


@cache
def shown_fields(topic: str) -> frozenset[str]:
    """The names of fields whose values may be shown."""
    model = EVENTS.get(topic)
    personal: set[str] = set()
    plain: set[str] = set()
    for found in _models(model) if model is not None else ():
        for name, field in found.model_fields.items():
            whole = next(_models(field.annotation), None) is not None  # an object: its own fields are looked at
            (personal if is_personal(field) or whole else plain).add(field.alias or name)
    # A name that is personal anywhere is personal everywhere: who knows in which object it was put by mistake.
    return frozenset((plain | {"eventId"}) - personal - _PROSE)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation)
    for argument in get_args(annotation):
        yield from _models(argument)


def _masked(value: Any, shown: frozenset[str], depth: int, *, whole: bool) -> Any:
    if depth > _DEEPEST:
        return MASK
    match value:
        case dict():
            here = shown | _ENVELOPE if depth == 0 else shown
            return {_field(name): _field_value(name, each, here, depth, whole=whole) for name, each in value.items()}
        case list():
            return [_masked(each, shown, depth + 1, whole=whole) for each in value]
        case None | bool():
            return value
        case _:
            return MASK


def _field_value(name: str, value: Any, shown: frozenset[str], depth: int, *, whole: bool) -> Any:
    if isinstance(value, dict):
        return _masked(value, shown - _ENVELOPE, depth + 1, whole=whole)
    if isinstance(value, list):
        if depth >= _DEEPEST:
            return [MASK] * len(value)
        return [_field_value(name, each, shown, depth + 1, whole=whole) for each in value]
    if value is None or isinstance(value, bool) or name not in shown:
        return value if value is None or isinstance(value, bool) else MASK
    if whole or not isinstance(value, str) or len(value) <= _LONGEST:
        return value
    return f"{value[:_LONGEST]}…"


def _field(name: str) -> str:
    return name if _FIELD.fullmatch(name) else MASK


def _text(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _header(name: str, value: bytes | None, *, whole: bool) -> str:
    if value is None:
        return "(none)"
    if not _HEADERS.fullmatch(name):
        return MASK
    text = value.decode("utf-8", "replace")
    return text if whole or name in OURS else text[:_LONGEST_HEADER]
