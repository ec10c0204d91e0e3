"""Each field of each event, with values of every kind: no rule of intake is unknown to the schemas, nor the reverse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.events import TOPICS
from schemas.export import event_schema, export
from schemas.rules import Schema
from tests.schemas.cases import ABSENT, START
from tests.schemas.cases import TOPICS as TOPIC_OF
from tests.schemas.inputs import PRODUCTS, changed
from tests.support.node import run_script
from worker.intake.parse import Parsed, RawRecord, parse

_VALUES: tuple[object, ...] = (
    ABSENT, None, True, False, 0, 1, -1, 1.5, 2**31, 10**19, "", " ", "x", "\n", "A1\n", "A1", "US", "DE", "x\0",
    "x" * 65, "x" * 129, "a@b", "2026-11-20", "2026-02-30", "2026-11-20T23:00:00Z", "123456789", [], [1], ["x"],
    [1, 2, 3], [None], [{}], {}, {"userId": 1}, {"name": "x"}, {"country": "US"},
)  # fmt: skip
"""Without those whose refusal no schema can say: 1.0, names that are too long together."""

_HEADERS = (("ce_id", b"e-1"),)
_NOT_READ = "eventId"
"""Beside an id in a header."""


def _fields(schema: Schema, part: Schema, before: str = "") -> Iterator[str]:
    """The paths of all fields, those in objects too."""
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    for inner in part.get("anyOf", ()):
        yield from _fields(schema, inner, before)
    for name, inner in part.get("properties", {}).items():
        yield f"{before}{name}"
        yield from _fields(schema, inner, f"{before}{name}.")


def _texts() -> Iterator[tuple[str, str]]:
    """Topic and text of each changed example."""
    for start, body in START.items():
        schema = event_schema(TOPIC_OF[start])
        for path in dict.fromkeys(_fields(schema, schema)):
            for value in _VALUES:
                unknown_product = path == "product" and isinstance(value, str)
                if path != _NOT_READ and not unknown_product:
                    yield TOPIC_OF[start], json.dumps(changed(_opened(body, path), path, value))


def _opened(body: Any, path: str) -> dict[str, Any]:
    """`body`, where what is on the way to the field is an object."""
    opened = dict(body)
    first, _, rest = path.partition(".")
    if rest:
        inner = opened.get(first)
        opened[first] = _opened(inner if isinstance(inner, dict) else {}, rest)
    return opened


@pytest.mark.usefixtures("node")
def test_no_value_of_a_field_is_judged_in_two_ways(tmp_path: Path) -> None:
    """Intake, jsonschema and Ajv agree on every kind of value in every field of every event."""
    export(tmp_path / "export")
    workplace = tmp_path / "work"
    workplace.mkdir()
    texts = list(dict.fromkeys(_texts()))
    said = run_script("validate.mjs", str(tmp_path / "export"), workplace=workplace, stdin=json.dumps(texts))
    validators = {topic: Draft202012Validator(event_schema(topic)) for topic in TOPICS}
    disagreements = []
    for (topic, text), error in zip(texts, said["errors"], strict=True):
        by_intake = isinstance(parse(RawRecord(topic, 0, 0, 0, None, text.encode(), _HEADERS), PRODUCTS), Parsed)
        by_jsonschema, by_ajv = validators[topic].is_valid(json.loads(text)), error is None
        if not by_intake == by_jsonschema == by_ajv:
            disagreements.append((topic, text, by_intake, by_jsonschema, by_ajv))
    assert disagreements == []
    assert len(texts) > 5000
