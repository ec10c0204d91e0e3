"""Dead letters as the commands print them. Pure."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from schemas.times import Clock, utc_text
from worker.cli._times import text_of
from worker.kafka.read import Record
from worker.operate.dead_letters import DeadLetter
from worker.operate.record_masking import masked_headers, masked_key, masked_value

COLUMNS = ("topic", "partition", "offset", "reason", "at", "replayed", "error")


def row(letter: DeadLetter, clock: Clock = utc_text) -> tuple[object, ...]:
    """A dead letter as a row of `COLUMNS`."""
    place = letter.place
    back = _back(letter, clock)
    at = text_of(letter.at, clock)
    error = letter.error or "-"
    if letter.refusal is not None:
        error += f" (kept in the ledger, because its topic does not accept it: {letter.refusal})"
    return letter.topic, place.partition, place.offset, letter.reason or "-", at, back, error


def as_json(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter; `replayed` null: the ledger could not be asked."""
    settled = letter.settled
    back = settled.at if settled is not None and settled.dismissed is None else None
    return {
        "topic": letter.topic,
        "partition": letter.place.partition,
        "offset": letter.place.offset,
        "reason": letter.reason,
        "error": letter.error,
        "at": letter.at,
        "fromPartition": letter.from_partition,
        "fromOffset": letter.from_offset,
        "stored": letter.stored.value,
        "refusal": letter.refusal,
        "replayed": back is not None if letter.settled_known else None,
        "replayedAt": None if back is None else utc_text(back),
        "dismissed": None if settled is None else settled.dismissed,
        "dismissedBy": None if settled is None else settled.by,
    }


def whole_json(letter: DeadLetter, record: Record, *, raw: bool) -> dict[str, Any]:
    """A dead letter with its whole key, headers and value; masked unless `raw`. What is no UTF-8 text is base64."""
    topic = letter.topic
    shown: dict[str, Any] = {**as_json(letter), "bytes": len(record.value or b"")}
    if raw:
        key, value = _raw(record.key), _raw(record.value)
        headers = [{"name": _name(name), "value": _raw(text)} for name, text in record.headers]
        return {**shown, "key": key, "headers": headers, "value": value}
    return {
        **shown,
        "key": None if record.key is None else masked_key(topic, record.key, record.value),
        "headers": [{"name": name, "value": text} for name, text in masked_headers(record.headers, whole=True)],
        "value": _parsed(masked_value(topic, record.value, whole=True)),
    }


def head(
    letter: DeadLetter, record: Record, *, raw: bool, whole: bool, clock: Clock = utc_text
) -> list[tuple[str, str]]:
    """Where a dead letter stands, its key and its headers, as names and values."""
    topic = letter.topic
    stored = [] if letter.refusal is None else [("stored", f"in the ledger: its topic answered {letter.refusal}")]
    key = _plain(record.key) if raw else masked_key(topic, record.key, record.value)
    headers = (
        [(_name(name), _plain(text)) for name, text in record.headers]
        if raw
        else masked_headers(record.headers, whole=whole)
    )
    return [
        ("topic", topic),
        ("dead letter", f"partition {record.partition}, offset {record.offset}"),
        *stored,
        ("at", text_of(letter.at, clock)),
        ("replayed", _back(letter, clock)),
        *_dismissed(letter, clock),
        ("key", key),
        *((f"header {name}", text) for name, text in headers),
    ]


def body(topic: str, record: Record, *, raw: bool, whole: bool) -> str:
    """The value: masked, or as it is."""
    return _plain(record.value) if raw else masked_value(topic, record.value, whole=whole)


def _dismissed(letter: DeadLetter, clock: Clock) -> list[tuple[str, str]]:
    settled = letter.settled
    if settled is None or settled.dismissed is None:
        return []
    return [("dismissed", f"{clock(settled.at)} by {settled.by}: {settled.dismissed}")]


def _back(letter: DeadLetter, clock: Clock) -> str:
    if not letter.settled_known:
        return "unknown"
    settled = letter.settled
    if settled is None:
        return "no"
    return clock(settled.at) if settled.dismissed is None else "dismissed"


def _raw(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _plain(data: bytes | None) -> str:
    return "(none)" if data is None else data.decode("utf-8", "backslashreplace")


def _name(name: str) -> str:
    """A header's name; bytes that are no UTF-8 came as lone surrogates."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _parsed(text: str) -> Any:
    """Masked JSON as JSON; the sentence that stands for what is none, as text."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
