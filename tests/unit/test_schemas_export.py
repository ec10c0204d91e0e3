"""The exported documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from schemas._yaml import to_yaml
from schemas.events import EVENTS, TOPICS
from schemas.examples import EVENT_EXAMPLES
from schemas.export import asyncapi, documents, event_schema, export, outcome_schema
from schemas.outcomes import Outcome

KEPT = Path(__file__).parents[2] / "schemas" / "export"


def test_the_kept_documents_are_fresh() -> None:
    """schemas/export holds, to the byte, what the models say today: `schemas export schemas/export` mends it."""
    assert {path.name: path.read_bytes() for path in KEPT.iterdir()} == documents()


def test_export_makes_its_directory(tmp_path: Path) -> None:
    """Export makes the directory and tells what it wrote."""
    written = export(tmp_path / "a" / "b")
    assert {path.name for path in written} == set(documents())
    assert all(path.is_file() for path in written)


@pytest.mark.parametrize("topic", TOPICS)
def test_schemas_ask_for_what_the_models_ask_for(topic: str) -> None:
    """A field that a schema requires is one without which the model refuses every example."""
    schema = event_schema(topic)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == {"eventId", *(f.alias for f in EVENTS[topic].model_fields.values())}
    for name in schema.get("required", ()):
        for example in EVENT_EXAMPLES[topic]:
            with pytest.raises(ValidationError):
                EVENTS[topic].model_validate({key: value for key, value in example.items() if key != name})


def test_a_misspelt_limit_breaks_the_schema_too() -> None:
    """The account and its risk blocks allow no further fields, in the schema as in the worker."""
    definitions = event_schema("trader.purchased")["$defs"]
    for name in ("Account", "PostTradeRisk", "PreTradeRisk", "PreTradeRiskParameter"):
        assert definitions[name]["additionalProperties"] is False
    assert "additionalProperties" not in definitions["NewUser"]


def test_outcome_schemas_require_every_field() -> None:
    """Every field of an outcome is required, and its examples are outcomes of its topic."""
    for topic in TOPICS:
        schema = outcome_schema(topic)
        assert schema["required"] == [field.alias for field in Outcome.model_fields.values()]
        assert {Outcome.model_validate(example).topic for example in schema["examples"]} == {topic}


def patterns(value: object) -> Iterator[str]:
    """Every pattern in a schema."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "pattern" and isinstance(inner, str):
                yield inner
            yield from patterns(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from patterns(inner)


def test_patterns_are_portable() -> None:
    """Every exported pattern is one that other languages' engines read: no Rust, Perl or Unicode specials."""
    for name, content in documents().items():
        if name.endswith(".json"):
            for pattern in patterns(orjson.loads(content)):
                re.compile(pattern)
                assert not re.search(r"\\[pPAzZ]|\(\?[^:]", pattern), name


def test_asyncapi_has_every_channel() -> None:
    """Each topic has its channel, its outcomes' and its dead letters', and each reference has its target."""
    document = asyncapi()
    names = {f"{topic}{end}" for topic in TOPICS for end in ("", ".outcome", ".dlq")} | {"admin.alert"}
    assert set(document["channels"]) == set(document["operations"]) == names
    files = documents()
    for channel in document["channels"].values():
        payload: dict[str, Any] = channel["messages"]["record"]["payload"]
        if "schema" in payload:
            assert payload["schema"]["$ref"].removeprefix("./") in files


def test_yaml_quotes_what_would_be_read_otherwise() -> None:
    """Texts that YAML would read as numbers, booleans or structure are quoted; nesting is by indent."""
    value: dict[str, Any] = {
        "a": [{"b": "1", "c": "no"}, "x: y", []],
        "$ref": "#/x",
        "m": None,
        "e": {},
        "on": True,
        "t": "it's #1",
    }
    assert to_yaml(value) == (
        'a:\n  - b: "1"\n    c: "no"\n  - "x: y"\n  - []\n$ref: "#/x"\nm: null\ne: {}\n"on": true\nt: "it\'s #1"\n'
    )
