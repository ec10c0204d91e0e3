"""Dead letters as the commands print them. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from schemas.times import Clock, utc_text
from worker.cli._times import text_of
from worker.intake.dead_letters import AT, ERROR, OFFSET, PARTITION, REASON
from worker.intake.replay import Stored, kept_place, place_of
from worker.kafka.read import Record
from worker.ledger.kept_dead_letters import KeptLetter
from worker.ledger.replays import Place, Settled
from worker.operate.console.masking import masked_headers, masked_key, masked_value

COLUMNS = ("topic", "partition", "offset", "reason", "at", "replayed", "error")


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter in one line. `topic`: the input topic that it came from. Without the value: many fit in memory."""

    topic: str
    place: Place
    reason: str | None
    error: str | None
    at: str
    from_partition: int | None
    from_offset: int | None
    refusal: str | None = None
    """Why its topic does not accept it: then it is kept in the ledger, and `place` is that of its input record."""

    @property
    def stored(self) -> Stored:
        """Where it is."""
        return Stored.TOPIC if self.refusal is None else Stored.LEDGER

    @classmethod
    def of(cls, topic: str, record: Record) -> Letter:
        """What the headers say."""
        headers = dict(record.headers)
        written = utc_text(datetime.fromtimestamp(record.timestamp_ms / 1000, UTC))
        return cls(
            topic,
            place_of(record),
            _text(headers.get(REASON)),
            _text(headers.get(ERROR)),
            _text(headers.get(AT)) or written,
            _number(headers.get(PARTITION)),
            _number(headers.get(OFFSET)),
        )

    @classmethod
    def of_kept(cls, kept: KeptLetter) -> Letter:
        """One that the ledger keeps."""
        place, at = kept_place(kept), utc_text(kept.created_at)
        return cls(kept.topic, place, kept.reason, kept.error, at, kept.partition, kept.offset, kept.refusal)


Replayed = Mapping[Place, Settled] | None
"""Which dead letters were put back or dismissed; None: the ledger could not be asked."""


def row(letter: Letter, replayed: Replayed, clock: Clock = utc_text) -> tuple[object, ...]:
    """A dead letter as a row of `COLUMNS`."""
    place = letter.place
    back = _back(place, replayed, clock)
    at = text_of(letter.at, clock)
    error = letter.error or "-"
    if letter.refusal is not None:
        error += f" (kept in the ledger, because its topic does not accept it: {letter.refusal})"
    return letter.topic, place.partition, place.offset, letter.reason or "-", at, back, error


def as_json(letter: Letter, replayed: Replayed) -> dict[str, Any]:
    """A dead letter; `replayed` null: the ledger could not be asked."""
    settled = (replayed or {}).get(letter.place)
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
        "replayed": None if replayed is None else back is not None,
        "replayedAt": None if back is None else utc_text(back),
        "dismissed": None if settled is None else settled.dismissed,
        "dismissedBy": None if settled is None else settled.by,
    }


def whole_json(letter: Letter, record: Record, replayed: Replayed, *, raw: bool) -> dict[str, Any]:
    """A dead letter with its key, headers and value; masked unless `raw`. What is no UTF-8 text goes as base64."""
    topic = letter.topic
    shown: dict[str, Any] = {**as_json(letter, replayed), "bytes": len(record.value or b"")}
    if raw:
        key, value = _raw(record.key), _raw(record.value)
        headers = [{"name": _name(name), "value": _raw(text)} for name, text in record.headers]
        return {**shown, "key": key, "headers": headers, "value": value}
    return {
        **shown,
        "key": None if record.key is None else masked_key(topic, record.key, record.value),
        "headers": [{"name": name, "value": text} for name, text in masked_headers(record.headers)],
        "value": _parsed(masked_value(topic, record.value)),
    }


def head(
    letter: Letter, record: Record, replayed: Replayed, *, raw: bool, clock: Clock = utc_text
) -> list[tuple[str, str]]:
    """Where a dead letter stands, its key and its headers, as names and values."""
    topic = letter.topic
    stored = [] if letter.refusal is None else [("stored", f"in the ledger: its topic answered {letter.refusal}")]
    key = _plain(record.key) if raw else masked_key(topic, record.key, record.value)
    headers = [(_name(name), _plain(text)) for name, text in record.headers] if raw else masked_headers(record.headers)
    return [
        ("topic", topic),
        ("dead letter", f"partition {record.partition}, offset {record.offset}"),
        *stored,
        ("at", text_of(letter.at, clock)),
        ("replayed", _back(letter.place, replayed, clock)),
        *_dismissed(letter.place, replayed, clock),
        ("key", key),
        *((f"header {name}", text) for name, text in headers),
    ]


def body(topic: str, record: Record, *, raw: bool) -> str:
    """The value: masked, or as it is."""
    return _plain(record.value) if raw else masked_value(topic, record.value)


def _dismissed(place: Place, replayed: Replayed, clock: Clock) -> list[tuple[str, str]]:
    settled = (replayed or {}).get(place)
    if settled is None or settled.dismissed is None:
        return []
    return [("dismissed", f"{clock(settled.at)} by {settled.by}: {settled.dismissed}")]


def _back(place: Place, replayed: Replayed, clock: Clock) -> str:
    if replayed is None:
        return "unknown"
    settled = replayed.get(place)
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


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


def _number(data: bytes | None) -> int | None:
    return int(data) if data is not None and data.isdigit() and len(data) < 20 else None
