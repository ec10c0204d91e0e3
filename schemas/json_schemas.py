"""JSON Schema (2020-12) of every record that is published: events, outcomes, and what the bridge writes.

The tools that read them need four things, each checked by a test. Ajv is strict by default: there is no keyword of our
own and no `format`. Generators name types by `title`: every object and every enum has one. A `$ref` stands alone, or a
type would be generated twice. AsyncAPI's tools read draft 7: all keywords mean the same there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from schemas.bridged import BRIDGED
from schemas.events import EVENTS
from schemas.outcomes import OUTCOME_EXAMPLES, Outcome
from schemas.records import RECORD_RULES
from schemas.rules import NOT_HERE, Schema, described
from schemas.texts import Key

DIALECT: Final = GenerateJsonSchema.schema_dialect

_EVENT_ID_SAYS: Final = "The event's id. Needed, unless the header ce_id or the id of a CloudEvents envelope gives one."

_FIRST: Final = ("$schema", "$id", "$ref", "title", "description", "$comment", "type", "properties", "required")
_LAST: Final = ("if", "then", "else", "examples", "$defs")


class _Generator(GenerateJsonSchema):
    """As pydantic's, but for what generators of code make of it."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """Never: a title made out of a field's name says nothing more, and generators would make a type of it."""
        return False

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """A union whose members exclude each other is `anyOf`: it can be flattened into one with null."""
        return self.get_flattened_anyof([self.generate_inner(choice) for choice in schema["choices"].values()])

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """What may be null beside one type has two types: to many generators a union is a type of its own.

        Not where a keyword refuses null, or is read by name.
        """
        inner = self.generate_inner(schema["schema"])
        if isinstance(inner.get("type"), str) and inner.keys().isdisjoint({"not", "enum", "const", "title"}):
            return {**inner, "type": [inner["type"], "null"]}
        return self.get_flattened_anyof([inner, {"type": "null"}])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """A field that may be left out may be null, which means the same: that is no default to be written."""
        generated = super().default_schema(schema)
        if generated.get("default", ...) is None:
            del generated["default"]
        return generated

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """Every part that others refer to has its name as its title."""
        generated = super().generate(schema, mode)
        for name, part in generated.get("$defs", {}).items():
            part["title"] = name
        return generated

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:  # noqa: ARG002
        """Nothing is sorted here: `_ordered` does it, for people."""
        return value


def _ordered(schema: Any) -> Any:
    """Keywords as people read them: what it is, its fields, its rules."""
    if isinstance(schema, list):
        return [_ordered(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    rest = sorted(set(schema) - set(_FIRST) - set(_LAST))
    ordered = {}
    for name in (*_FIRST, *rest, *_LAST):
        if name in ("properties", "$defs") and name in schema:
            ordered[name] = {inner: _ordered(each) for inner, each in schema[name].items()}
        elif name in schema:
            ordered[name] = schema[name] if name in ("examples", "const", "enum") else _ordered(schema[name])
    return ordered


def _schema(model: type[BaseModel], mode: JsonSchemaMode) -> Schema:
    return model.model_json_schema(by_alias=True, mode=mode, schema_generator=_Generator)


def _finished(name: str, title: str, schema: Schema, examples: Sequence[Mapping[str, Any]]) -> Schema:
    head = {"$schema": DIALECT, "$id": f"urn:tradovate-worker:{name}"}
    finished: Schema = _ordered({**schema, **head, "title": title, "examples": list(examples)})
    return finished


def event_schema(topic: str) -> Schema:
    """JSON Schema of a topic's event, with examples."""
    model = EVENTS[topic]
    schema = _schema(model, "validation")
    event_id = {**TypeAdapter(Key | None).json_schema(schema_generator=_Generator), "description": _EVENT_ID_SAYS}
    schema["properties"] = {"eventId": event_id, **schema["properties"]}
    for rule in RECORD_RULES["wrong_type"]:
        described(schema, f"{NOT_HERE} {rule.says}.")
    return _finished(topic, model.__name__, schema, model.examples)


def outcome_schema(topic: str) -> Schema:
    """JSON Schema of the outcomes of a topic's events. All fields are always there."""
    schema = _schema(Outcome, "serialization")
    schema["properties"]["topic"] = {**schema["properties"]["topic"], "const": topic}
    schema["$defs"]["Status"]["title"] = "OutcomeStatus"  # `Status` alone is a reserved word to Modelina
    examples = [{**example, "topic": topic} for example in OUTCOME_EXAMPLES]
    return _finished(f"{topic}.outcome", f"{EVENTS[topic].__name__}Outcome", schema, examples)


def bridged_schema(topic: str) -> Schema:
    """JSON Schema of the records that the bridge writes to a topic which is no input topic."""
    model = BRIDGED[topic]
    return _finished(topic, model.__name__, _schema(model, "serialization"), model.examples)
