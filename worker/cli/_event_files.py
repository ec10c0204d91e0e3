"""Events out of a file as an operator has them: one JSON document, an array, JSON Lines, or documents one after
another.

Everything is read and judged by the parser that intake uses before anything is sent. Sentences name places and
fields, never a value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from schemas.events import Account
from worker.intake.parse import Parsed, RawRecord, parse

_TOO_DEEP = "This is nested too deeply."
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class GivenEvent:
    """An event's bytes and where it stands: `line 3`, `item 2`."""

    place: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Ready:
    """A good event on its way: what is written to Kafka."""

    place: str
    event_id: str
    key: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True)
class BadEvent:
    """An event that the worker would not take, and why."""

    place: str
    sentence: str


def split(content: bytes) -> list[GivenEvent | BadEvent]:
    """The events in `content`, in their order; what cannot be distinguished is `BadEvent`."""
    content = content.removeprefix(_BOM)
    lines = [(number, line.strip()) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    if not lines:
        return []
    if len(lines) > 1 and _loads(lines[0][1]) is not None:
        return [GivenEvent(f"line {number}", line) for number, line in lines]
    whole = _loads(content)
    if isinstance(whole, list):
        return [_item(f"item {number}", item) for number, item in enumerate(whole, 1)]
    if whole is not None:
        return [GivenEvent(f"line {lines[0][0]}", content.strip())]
    if lines[0][1] in (b"{", b"["):  # laid out over several lines
        return _documents(content)
    return [GivenEvent(f"line {number}", line) for number, line in lines]


def judge(
    topic: str, given: Sequence[GivenEvent | BadEvent], products: Mapping[str, Account]
) -> tuple[list[Ready], list[BadEvent]]:
    """What may be sent to `topic`, and what may not, both in their order."""
    ready: list[Ready] = []
    bad: list[BadEvent] = []
    for event in given:
        judged = event if isinstance(event, BadEvent) else _judge(topic, event, products)
        (ready if isinstance(judged, Ready) else bad).append(judged)  # type: ignore[arg-type]
    return ready, bad


def _judge(topic: str, event: GivenEvent, products: Mapping[str, Account]) -> Ready | BadEvent:
    parsed = parse(RawRecord(topic, 0, 0, 0, None, event.value), products)
    if isinstance(parsed, Parsed):
        key = parsed.event.key
        return Ready(event.place, parsed.event_id, None if key is None else key.encode(), event.value)
    sentence = parsed.sentence
    if parsed.code == "no_id":
        sentence = 'The event has no id: give it an "eventId", a text that no other event has.'
    elif parsed.code == "not_json":  # the parser counts lines within the value
        sentence = "This is not valid JSON."
    return BadEvent(event.place, sentence)


def _item(place: str, item: object) -> GivenEvent | BadEvent:
    try:
        return GivenEvent(place, orjson.dumps(item))
    except orjson.JSONEncodeError:  # it writes 254 levels, and reads 1024
        return BadEvent(place, _TOO_DEEP)


def _documents(content: bytes) -> list[GivenEvent | BadEvent]:
    """JSON documents one after another, each over as many lines as it likes (as `jq` prints them)."""
    found: list[GivenEvent | BadEvent] = []
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return [BadEvent(_line(content[: error.start].decode(errors="replace")), "This is not valid UTF-8.")]
    # Where each document ends is all that is wanted: a number of any length is left to the parser of intake.
    decoder, at = json.JSONDecoder(parse_int=str, parse_float=str), 0
    while (at := _skip_space(text, at)) < len(text):
        try:
            _, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            return [*found, BadEvent(f"line {error.lineno}", f"This is not valid JSON (at column {error.colno}).")]
        except RecursionError:
            return [*found, BadEvent(_line(text[:at]), _TOO_DEEP)]
        found.append(GivenEvent(_line(text[:at]), text[at:end].encode()))
        at = end
    return found


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _line(before: str) -> str:
    """The line on which something begins that stands behind `before`."""
    return "line " + str(before.count("\n") + 1)


def _loads(text: bytes) -> object:
    """The JSON value in `text`; None when there is none (or a bare null, which is no event either)."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
