"""A Kafka record becomes an event or a reason. Pure, and cannot raise, whatever the bytes.

The event's id is the header `ce_id` (CloudEvents binary mode), else `id` of a CloudEvents envelope, else the body's
`eventId`. What cannot be read is a `BadRecord` whose sentence names the field and never repeats a value.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
from pydantic import ValidationError

from schemas.base import MAX_INT64
from schemas.events import EVENTS, Account, Event, Ids, TraderPurchased
from schemas.faults import fault
from worker.errors import Interruption

MAX_VALUE_BYTES: Final = 1_048_576
"""1 MiB, uncompressed (schemas/README.md); Kafka's own default for a record is about as much."""

_MOST_LOOKED_INTO: Final = 16 * MAX_VALUE_BYTES
"""Bytes of a value that is too large and still looked into for its id: what a dead letter may have."""

MAX_ID_CHARACTERS: Final = 128

HeaderName = str | bytes
"""Kafka's header names are strings, but nothing stops a producer from writing bytes that are not UTF-8."""

Headers = tuple[tuple[HeaderName, bytes | None], ...]


NO_IDS: Final = Ids()


class RawRecord(NamedTuple):
    """A record as it came. `topic` without the prefix; `timestamp_ms` since 1970, -1 without one."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Parsed(NamedTuple):
    """A good event."""

    topic: str
    event_id: str
    event: Event
    traceparent: str | None = None
    tracestate: str | None = None


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record for the dead letters.

    `code` is one of `CODES`. `ids`: as far as they could be read and have the right type, for the outcome. `fault`: the
    error of the worker's own that kept the record from being read.
    """

    code: str
    sentence: str
    event_id: str | None = None
    ids: Ids = NO_IDS
    traceparent: str | None = None
    tracestate: str | None = None
    fault: Exception | None = None


CODES: Final = (
    "no_value",
    "too_large",
    "not_utf8",
    "not_json",
    "not_an_object",
    "bad_header",
    "no_id",
    "bad_id",
    "missing_field",
    "wrong_type",
    "unknown_field",
    "rule_broken",
    "unknown_product",
    "unknown_topic",
    "id_reused",
    "unreadable",
)
"""Every `dlq-reason` there is. `id_reused`: another event had this id before (`engine/known_events.py` finds it).
`unreadable`: any other error; it is a fault of the worker, not of the record.
"""

_BOM = b"\xef\xbb\xbf"
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,200})?")
_TRACESTATE = re.compile(r"[ -~\t]{1,512}")


class _Refusal(Interruption):
    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class _Reading:
    """What is known of a record so far: a refusal half-way still tells the ids that were read before it."""

    __slots__ = ("event_id", "ids", "traceparent", "tracestate")

    def __init__(self) -> None:
        self.event_id: str | None = None
        self.ids = NO_IDS
        self.traceparent: str | None = None
        self.tracestate: str | None = None


def parse(record: RawRecord, products: Mapping[str, Account]) -> Parsed | BadRecord:
    """The event in `record`, or why there is none. Never raises.

    `products`: the catalogue; a purchase that names another product is rejected with the names that exist.
    """
    reading, fault = _Reading(), None
    try:
        event_id, event = _read(record, products, reading)
    except _Refusal as refusal:
        code, sentence = refusal.code, refusal.sentence
    except Exception as error:  # noqa: BLE001 - a fault of ours: the record becomes a dead letter, the caller logs it
        code, sentence, fault = "unreadable", "The record could not be read, by a fault of the worker's own.", error
    else:
        return Parsed(record.topic, event_id, event, reading.traceparent, reading.tracestate)
    return BadRecord(code, sentence, reading.event_id, reading.ids, reading.traceparent, reading.tracestate, fault)


def _read(record: RawRecord, products: Mapping[str, Account], reading: _Reading) -> tuple[str, Event]:
    model = EVENTS.get(record.topic)
    if model is None:
        raise _Refusal("unknown_topic", "The topic is not one of the worker's input topics.")
    _read_headers(record.headers, reading)
    size = len(record.value or b"")
    if size > MAX_VALUE_BYTES:
        with suppress(_Refusal):  # its size is what is wrong with it
            _read_body(record.value if size <= _MOST_LOOKED_INTO else None, reading)
        raise _Refusal("too_large", "The value is larger than 1 MiB (1048576 bytes, uncompressed).")
    body = _read_body(record.value, reading)
    if reading.event_id is None:
        raise _Refusal("no_id", "The event has no id: neither a header ce_id, nor an envelope's id, nor eventId.")
    try:
        event = model.model_validate(body)
    except ValidationError as error:
        found = fault(error)
        raise _Refusal(found.code, found.sentence) from None  # the cause holds values of the record
    if isinstance(event, TraderPurchased) and event.product is not None and event.product not in products:
        raise _Refusal("unknown_product", _products_sentence(products))
    return reading.event_id, event


def _read_body(value: bytes | None, reading: _Reading) -> dict[str, Any]:
    """The event's fields; `reading` learns the ids."""
    body = _object(_decode(value))
    if _is_envelope(body, id_known=reading.event_id is not None):
        _read_trace(body.get("traceparent"), body.get("tracestate"), reading)
        if reading.event_id is None:
            reading.event_id = _checked_id(body.get("id"), "The envelope's id")
        body = _data(body)
    reading.ids = _ids(body)
    if reading.event_id is None:
        reading.event_id = _checked_id(body.get("eventId"), "eventId")
    return body


def _is_envelope(body: dict[str, Any], *, id_known: bool) -> bool:
    """A CloudEvents envelope in structured mode: an object with `specversion` and data.

    Without data `specversion` is an unknown field like any other. Only what has no other id, so that it cannot be an
    event as it stands, is taken for an envelope that lost its data: its outcome can name the envelope's id.
    """
    if "specversion" not in body:
        return False
    return "data" in body or "data_base64" in body or not (id_known or "eventId" in body)


def _data(envelope: dict[str, Any]) -> dict[str, Any]:
    """The event in an envelope: its `data`, or the JSON that its `data_base64` holds."""
    if envelope.get("data") is not None or "data_base64" not in envelope:
        if "data" not in envelope:
            raise _Refusal("missing_field", "The envelope's data is missing.")
        return _object(envelope["data"], "The envelope's data")
    text = envelope["data_base64"]
    if not isinstance(text, str):
        raise _Refusal("wrong_type", "The envelope's data_base64 must be a string.")
    try:
        # Some encoders break their lines (RFC 2045), and a letter that is not ASCII is no base64 either.
        decoded = binascii.a2b_base64("".join(text.split()).encode(), strict_mode=True)
    except ValueError:
        raise _Refusal("rule_broken", "The envelope's data_base64 must be base64 (RFC 4648).") from None
    return _object(_decode(decoded, "The envelope's data_base64"), "The JSON in the envelope's data_base64")


def _decode(value: bytes | None, name: str = "The value") -> object:
    if value is None:
        raise _Refusal("no_value", "The record has no value.")
    try:
        # RFC 8259 lets a reader ignore a byte order mark, and some producers write one.
        decoded: object = orjson.loads(value.removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        line, column = error.lineno, error.colno
    else:
        return decoded
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise _Refusal("not_utf8", f"{name} is not valid UTF-8 (at byte {error.start}).") from None
    raise _Refusal("not_json", f"{name} is not valid JSON (at line {line}, column {column}).")


def _object(value: object, name: str = "The value") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Refusal("not_an_object", f"{name} is not a JSON object.")
    return value


def _read_headers(headers: Headers, reading: _Reading) -> None:
    """The event's id and trace context.

    Of headers with the same name the last wins: that is Kafka's own convention (`Headers.lastHeader`), made so that
    an interceptor that handles the record later can override what came before it.
    """
    found: dict[HeaderName, bytes | None] = dict(headers)
    # An event's own trace context (CloudEvents distributed tracing) stands behind the transport's.
    for prefix in ("", "ce_"):
        _read_trace(_text(found.get(f"{prefix}traceparent")), _text(found.get(f"{prefix}tracestate")), reading)
    if "ce_id" in found:
        raw = found["ce_id"]
        text = _text(raw)
        if raw is not None and text is None:
            raise _Refusal("bad_header", "The header ce_id is not valid UTF-8.")
        reading.event_id = _checked_id("" if text is None else text, "The header ce_id")


def _text(raw: bytes | None) -> str | None:
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None


def _read_trace(parent: object, state: object, reading: _Reading) -> None:
    """W3C trace context; what is not valid is as good as absent, and a state without its parent says nothing."""
    if reading.traceparent is not None or not isinstance(parent, str) or not _TRACEPARENT.fullmatch(parent):
        return
    if parent.startswith("00-") and len(parent) != 55:  # version 00 has no further parts
        return
    reading.traceparent = parent
    if isinstance(state, str) and _TRACESTATE.fullmatch(state):
        reading.tracestate = state


def _checked_id(value: object, name: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Refusal("bad_id", f"{name} must be a string.")
    if not 1 <= len(value) <= MAX_ID_CHARACTERS:
        raise _Refusal("bad_id", f"{name} must have 1 to {MAX_ID_CHARACTERS} characters.")
    if "\0" in value:
        raise _Refusal("bad_id", f"{name} must not contain NUL characters.")
    return value


def _ids(body: dict[str, Any]) -> Ids:
    user = body.get("user")
    return Ids(
        _key(body.get("traderId")),
        _key(body.get("orderId")),
        _int(body.get("userId")) or (_int(user.get("userId")) if isinstance(user, dict) else None),
        _int(body.get("accountId")),
    )


def _key(value: object) -> str | None:
    good = isinstance(value, str) and 1 <= len(value) <= MAX_ID_CHARACTERS and "\0" not in value
    return str(value) if good else None


def _int(value: object) -> int | None:
    return value if type(value) is int and 0 < value <= MAX_INT64 else None


_MOST_NAMES: Final = 20
"""Products that a sentence names: it goes into a header, which has to stay readable."""


def _products_sentence(products: Mapping[str, Account]) -> str:
    if not products:
        return "product names no product that exists: there is no catalogue (PRODUCTS_FILE)."
    names = sorted(products)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"product names no product that exists; there are: {', '.join(names[:_MOST_NAMES])}{more}."
