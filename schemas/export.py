"""The wire as documents: JSON Schema (2020-12) of every event and outcome, and an AsyncAPI 3 description.

`schemas/export/` holds what `export` writes. Two rules of the models have no place in JSON Schema and stand in
descriptions: sums of lengths (first and last name together), and the sizes of files behind base64.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic.json_schema import GenerateJsonSchema

from schemas._yaml import to_yaml
from schemas.base import NATIONAL_ID, US_TAX_ID
from schemas.events import EVENTS, TOPICS
from schemas.examples import EVENT_EXAMPLES, OUTCOME_EXAMPLES
from schemas.outcomes import Outcome

DIALECT: Final = GenerateJsonSchema.schema_dialect
VERSION: Final = "1.0.0"
"""Of the wire. A field more is a minor step; nothing is ever taken away or given another meaning."""

_KEY: Final = {"type": "string", "minLength": 1, "maxLength": 128}

_EVENT_ID: Final = {
    "anyOf": [_KEY, {"type": "null"}],
    "description": "The event's id; needed unless a header ce_id or an envelope's id gives one.",
}

_ONE_OF_THESE: Final[Mapping[str, tuple[str, ...]]] = {
    "trader.purchased": ("account", "product"),
    "trader.failed": ("orderId", "accountId", "tradingPermissionIds"),
    "trader.left": ("traderId", "userId"),
    "trader.passed": ("traderId", "userId"),
    "account.reset": ("accountId", "orderId"),
}
"""Of these fields at least one is needed."""

_US_NEEDS_STATE: Final = {
    "if": {"properties": {"country": {"const": "US"}}},
    "then": {"required": ["state"], "properties": {"state": {"type": "string", "pattern": r"\S"}}},
}

_US_CITIZENS_NEED_TAX_ID: Final = {
    "if": {"properties": {"citizenship": {"const": "US"}}},
    "then": {"required": ["taxIdentifier"], "properties": {"taxIdentifier": {"type": "string", "pattern": US_TAX_ID}}},
    "else": {"required": ["nationalId"], "properties": {"nationalId": {"type": "string", "pattern": NATIONAL_ID}}},
}


def event_schema(topic: str) -> dict[str, Any]:
    """JSON Schema of a topic's event, with examples."""
    schema = EVENTS[topic].model_json_schema(by_alias=True)
    _untitled(schema)
    definitions = schema.pop("$defs", {})
    properties = {"eventId": _EVENT_ID, **schema.pop("properties")}
    if "user" in properties:
        # A user with both a userId and a name is known by its userId: one that matches both forms is no error.
        properties["user"] = {"anyOf": [*properties["user"]["anyOf"][0]["oneOf"], {"type": "null"}]}
    if "ContactInfo" in definitions:
        definitions["ContactInfo"].update(_US_NEEDS_STATE)
    if "Application" in definitions:
        definitions["Application"].update(_US_CITIZENS_NEED_TAX_ID)
    if topic in _ONE_OF_THESE:
        schema["anyOf"] = [{"required": [name]} for name in _ONE_OF_THESE[topic]]
    return {
        "$schema": DIALECT,
        "$id": f"urn:tradovate-worker:{topic}",
        "title": topic,
        **schema,
        "properties": properties,
        "examples": list(EVENT_EXAMPLES[topic]),
        **({"$defs": definitions} if definitions else {}),
    }


def outcome_schema(topic: str) -> dict[str, Any]:
    """JSON Schema of the outcomes of a topic's events. All fields are always there."""
    schema = Outcome.model_json_schema(by_alias=True, mode="serialization")
    _untitled(schema)
    definitions = schema.pop("$defs")
    properties = schema.pop("properties")
    for field in properties.values():
        field.pop("default", None)
    properties["topic"] = {"const": topic}
    return {
        "$schema": DIALECT,
        "$id": f"urn:tradovate-worker:{topic}.outcome",
        "title": f"{topic}.outcome",
        **schema,
        "properties": properties,
        "required": list(properties),
        "examples": [{**example, "topic": topic} for example in OUTCOME_EXAMPLES],
        "$defs": definitions,
    }


def _untitled(schema: dict[str, Any]) -> None:
    """Takes off the titles that pydantic makes out of field names: they say nothing that the name does not."""
    for name, value in schema.items():
        if name in ("properties", "$defs"):
            for inner in value.values():
                inner.pop("title", None)
                _untitled(inner)
    schema.pop("title", None)


_TRACE_HEADERS: Final = {
    "traceparent": {"type": "string", "description": "W3C trace context"},
    "tracestate": {"type": "string"},
}

_EVENT_HEADERS: Final = {
    "type": "object",
    "properties": {
        "ce_id": {**_KEY, "description": "The event's id (CloudEvents binary mode); goes before any other."},
        **_TRACE_HEADERS,
    },
}

_OUTCOME_HEADERS: Final = {
    "type": "object",
    "required": ["ce_id", "ce_type", "ce_source", "ce_time", "ce_specversion"],
    "properties": {
        "ce_id": {"type": "string", "description": "outcomeId"},
        "ce_type": {"type": "string", "description": "The topic, without prefix"},
        "ce_source": {"type": "string"},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_specversion": {"const": "1.0"},
        **_TRACE_HEADERS,
    },
}

_DEAD_LETTER_HEADERS: Final = {
    "type": "object",
    "description": "The record's own headers as they were, and these.",
    "required": ["dlq-reason", "dlq-error", "dlq-topic", "dlq-partition", "dlq-offset", "dlq-at"],
    "properties": {
        "dlq-reason": {"type": "string", "description": "A stable code, such as missing_field"},
        "dlq-error": {"type": "string", "description": "One sentence that names the field, never a value"},
        "dlq-topic": {"type": "string", "description": "Where the record was, without prefix"},
        "dlq-partition": {"type": "string", "pattern": "^[0-9]+$"},
        "dlq-offset": {"type": "string", "pattern": "^[0-9]+$"},
        "dlq-at": {"type": "string", "format": "date-time"},
    },
}

_DESCRIPTION: Final = (
    "Events of a prop firm in, outcomes out, dead letters aside. All topic names stand behind KAFKA_TOPIC_PREFIX. "
    "Consumers of outcomes drop repeats by outcomeId. An event may come in CloudEvents binary mode (header ce_id), "
    "structured mode (an object with id, specversion and data or data_base64), or plain (eventId in the body)."
)


def _key(description: str) -> dict[str, Any]:
    return {"kafka": {"key": {"type": "string", "description": description}, "bindingVersion": "0.5.0"}}


def _payload(name: str) -> dict[str, Any]:
    return {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": {"$ref": f"./{name}"}}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document, referring to the JSON Schemas beside it."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}

    def channel(address: str, action: str, summary: str, message: Mapping[str, Any]) -> None:
        channels[address] = {"address": address, "messages": {"record": {"name": address, **message}}}
        operations[address] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{address}"},
            "summary": summary,
        }

    for topic in TOPICS:
        channel(
            topic,
            "receive",
            (EVENTS[topic].__doc__ or topic).split("\n")[0].replace("`", ""),
            {
                "contentType": "application/json",
                "headers": _EVENT_HEADERS,
                "payload": _payload(f"{topic}.schema.json"),
                "bindings": _key("Free; traderId is a good one"),
            },
        )
        channel(
            f"{topic}.outcome",
            "send",
            f"What became of a {topic}",
            {
                "contentType": "application/json",
                "headers": _OUTCOME_HEADERS,
                "payload": _payload(f"{topic}.outcome.schema.json"),
                "bindings": _key("The input record's key, or traderId, or userId"),
            },
        )
        channel(
            f"{topic}.dlq",
            "send",
            f"A {topic} that could not be read, unchanged",
            {
                "contentType": "application/octet-stream",
                "headers": _DEAD_LETTER_HEADERS,
                "payload": {"description": "The value as it was: any bytes, or none"},
                "bindings": _key("The key as it was"),
            },
        )
    channel(
        "admin.alert",
        "send",
        "Admin alerts of Tradovate other than the Market Data Agreement, as they came",
        {"contentType": "application/json", "payload": {"type": "object"}},
    )
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "tradovate-worker", "version": VERSION, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }


def documents() -> dict[str, bytes]:
    """File name -> content of everything that is exported."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    files = {"asyncapi.yaml": to_yaml(asyncapi()).encode()}
    for topic in TOPICS:
        files[f"{topic}.schema.json"] = orjson.dumps(event_schema(topic), option=option)
        files[f"{topic}.outcome.schema.json"] = orjson.dumps(outcome_schema(topic), option=option)
    return files


def export(directory: Path) -> tuple[Path, ...]:
    """Writes all documents into `directory`, which is made if need be; the paths that were written."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in documents().items():
        path = directory / name
        path.write_bytes(content)
        written.append(path)
    return tuple(written)
