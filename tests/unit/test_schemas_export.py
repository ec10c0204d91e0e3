"""The exported documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import ValidationError

from schemas._yaml import to_yaml
from schemas.bridged import BRIDGED
from schemas.events import EVENTS, TOPICS
from schemas.export import asyncapi, bridged_schema, documents, event_schema, export, outcome_schema
from schemas.outcomes import OUTCOME_EXAMPLES, ErrorCode, Outcome, Status
from schemas.readme import README, renewed

SCHEMAS = {name: orjson.loads(content) for name, content in documents().items() if name.endswith(".json")}

KEPT = Path(__file__).parents[2] / "schemas" / "export"


def test_the_kept_documents_are_fresh() -> None:
    """schemas/export holds, to the byte, what the models say today: `schemas export schemas/export` corrects it."""
    assert {path.name: path.read_bytes() for path in KEPT.iterdir()} == documents()


def test_the_table_of_the_readme_is_fresh() -> None:
    """schemas/README.md lists what no schema says, as the rules are today: `make schemas` corrects it."""
    assert README.read_text() == renewed(README.read_text())


def test_the_readmes_table_of_topics_has_every_field() -> None:
    """README.md lists all input topics in their order, each with all its fields; `?` marks what may be left out."""
    section = (KEPT.parents[1] / "README.md").read_text().split("\n## Topics\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \|", section, re.MULTILINE)
    assert tuple(topic for topic, _ in rows) == TOPICS
    for topic, text in rows:
        fields = EVENTS[topic].model_fields.values()
        assert {name.rstrip("?") for name in re.findall(r"`(\w+\??)`", text)} == {field.alias for field in fields}
        assert not {f"{field.alias}?" for field in fields if field.is_required()} & set(re.findall(r"\w+\?", text))


def test_the_readme_has_every_field_and_code_of_an_outcome() -> None:
    """README.md lists the fields of an outcome, each status and each error code, in the order of the model."""
    text = (KEPT.parents[1] / "README.md").read_text()

    def listed(head: str, end: str) -> list[str]:
        return re.findall(r"`(\w+)`", text.split(head, 1)[1].split(end, 1)[0])

    assert listed("**Outcomes** carry every field always:", ".") == [
        field.alias for field in Outcome.model_fields.values()
    ]
    assert listed("\n* `errorCode`:", ".") == [str(code) for code in ErrorCode]
    assert set(listed("\n* `status`:", "says")) == {str(status) for status in Status}


def test_every_example_has_the_key_that_its_topic_promises() -> None:
    """The trader, else the user, the account, the order; and an outcome's trader, else its user."""
    for model in EVENTS.values():
        for body in model.examples:
            key = body.get("traderId") or body.get("userId") or body.get("accountId") or body.get("orderId")
            assert model.model_validate(dict(body)).key == (None if key is None else str(key))
    assert [Outcome.model_validate(example).key for example in OUTCOME_EXAMPLES] == ["cust-77", "cust-77"]


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
        for example in EVENTS[topic].examples:
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


def subschemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and all schemas in it."""
    yield schema
    for name in ("properties", "$defs"):
        for inner in schema.get(name, {}).values():
            yield from subschemas(inner)
    for name in ("items", "not", "if", "then", "else"):
        if name in schema:
            yield from subschemas(schema[name])
    for inner in schema.get("anyOf", ()):
        yield from subschemas(inner)


KEYWORDS = {
    "$schema", "$id", "$ref", "$comment", "$defs", "title", "description", "default", "examples", "type", "const",
    "enum", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "anyOf", "not", "if",
    "then", "else", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum",
}  # fmt: skip
"""They mean the same in draft 7, which AsyncAPI's tools read, as in 2020-12; `$defs` is only where a `$ref` points."""


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_use_what_every_tool_knows(name: str) -> None:
    """No keyword of our own, none that a draft reads otherwise, no format; each is valid by the schema of schemas."""
    schema = SCHEMAS[name]
    assert {keyword for part in subschemas(schema) for keyword in part} <= KEYWORDS
    Draft202012Validator.check_schema(schema)
    Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_types_can_be_named(name: str) -> None:
    """Each object and each enum has a title, which is a name of a type; a reference stands alone."""
    for part in subschemas(SCHEMAS[name]):
        if "$ref" in part:
            assert set(part) == {"$ref"}
        if "enum" in part or (part.get("properties") and part.get("type") == "object"):
            assert re.fullmatch(r"[A-Z][A-Za-z]+", part["title"])
        else:
            assert "title" not in part


@pytest.mark.parametrize("name", SCHEMAS)
def test_fields_are_described(name: str) -> None:
    """Each field says what it is, itself or in what it refers to, in words: no name of the program's own."""
    schema = SCHEMAS[name]
    for part in subschemas(schema):
        for field, inner in part.get("properties", {}).items() if "title" in part else ():
            target = schema["$defs"][inner["$ref"].rpartition("/")[2]] if "$ref" in inner else inner
            assert "description" in target or "enum" in target, field
        assert not re.search(r"[a-z]_[a-z]|``|\bOptional\b", part.get("description", "").replace("ce_id", "")), part


def test_personal_fields_are_marked() -> None:
    """What the program masks as personal is marked so in the schema, and nothing else is."""
    application = SCHEMAS["trader.passed.schema.json"]["$defs"]["Application"]["properties"]
    assert {name for name, field in application.items() if field.get("$comment") == "personal"} == {
        "firstName", "lastName", "streetAddress1", "streetAddress2", "city", "zipCode", "phone", "taxIdentifier",
        "nationalId", "birthDate",
    }  # fmt: skip


def test_patterns_are_portable() -> None:
    """Patterns have only what all languages read alike: no class that each defines for itself, no look-around."""
    for name, schema in SCHEMAS.items():
        for part in subschemas(schema):
            if "pattern" in part:
                re.compile(part["pattern"])
                assert not re.search(r"\\[pPAzZsSwWdDbBu]|\(\?[^:]", part["pattern"]), name


@pytest.mark.parametrize("topic", TOPICS)
def test_outcomes_are_what_their_schema_says(topic: str) -> None:
    """What the worker writes is valid by the schema of its topic, whatever the status and the error code."""
    validator = Draft202012Validator(outcome_schema(topic))
    example = Outcome.model_validate(outcome_schema(topic)["examples"][0])
    for status in Status:
        for code in (None, *ErrorCode):
            outcome = example.model_copy(update={"status": status, "error_code": code, "topic": topic})
            assert validator.is_valid(orjson.loads(outcome.to_json()))
    other = example.model_copy(update={"topic": "another"})
    assert not validator.is_valid(orjson.loads(other.to_json()))


@pytest.mark.parametrize("topic", BRIDGED)
def test_what_the_bridge_publishes_has_its_schema(topic: str) -> None:
    """The examples of the bridge's topics are valid, with unknown fields as well, but not without one of their own."""
    validator = Draft202012Validator(bridged_schema(topic))
    for example in BRIDGED[topic].examples:
        assert validator.is_valid(example)
        assert validator.is_valid({**example, "more": {}})
        for name in example:
            assert not validator.is_valid({key: value for key, value in example.items() if key != name})


def test_asyncapi_has_every_channel() -> None:
    """Each topic has its channel, its outcomes' and its dead letters', and each reference has its target."""
    document = asyncapi()
    names = {f"{topic}{end}" for topic in TOPICS for end in ("", ".outcome", ".dlq")} | set(BRIDGED)
    assert set(document["channels"]) == set(document["operations"]) == names
    files = documents()
    for address, channel in document["channels"].items():
        message: dict[str, Any] = channel["messages"]["record"]
        assert ("payload" in message) is not address.endswith(".dlq")  # a dead letter is any bytes
        if "payload" in message:
            assert message["payload"]["$ref"].removeprefix("./") in files


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
