"""Values in the frames of a socket, as far as they can be read. Pure; it never raises, whatever the partner sends."""

from __future__ import annotations

from typing import Any

import orjson

from schemas.cleaning import clean
from worker.partner._json import NONSENSE, clean_json, parse_json

_KEPT_FIELDS = ("p-ticket", "p-time", "p-captcha", "p-message", "errorText", "errorCode", "violations", "ok")
"""Only the fields that may refuse a request are read of a body: initial data may be megabytes."""


def refusal_of(body: Any) -> bytes:
    """The fields of a body that may refuse a request, cleaned, as bytes for `classify`; empty without a body."""
    if body is None:
        return b""
    if isinstance(body, dict):
        body = {name: body[name] for name in _KEPT_FIELDS if name in body}
    elif isinstance(body, list):
        body = []
    body = clean_json(body)
    try:
        return b"{" if body is NONSENSE else orjson.dumps(body)
    except TypeError:  # deeper than orjson writes, though not deeper than it reads
        return b"{"


def closing_of(text: str) -> str:
    """Code and reason of a `c` frame, as far as they can be read."""
    message = json_of(text)
    return " ".join(clean(str(part)[:100]) for part in message[:2]) if isinstance(message, list) else ""


def whole_number(value: Any) -> int | None:
    """A number that may stand in quotes. True is none, and neither is what no id or status can be."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def json_of(text: str) -> Any:
    """The value of a text, not cleaned; None for what is not JSON, which nothing here tells from null."""
    value = parse_json(text.encode("utf-8", "surrogatepass"))
    return None if value is NONSENSE else value
