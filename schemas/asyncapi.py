"""The wire as an AsyncAPI 3 document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from schemas.bridged import BRIDGED
from schemas.events import EVENTS
from schemas.outcomes import Outcome

_TRACE_HEADERS: Final = {
    "traceparent": {"type": "string", "description": "W3C trace context"},
    "tracestate": {"type": "string"},
}

_EVENT_HEADERS: Final = {
    "type": "object",
    "properties": {
        "ce_id": {
            "type": "string",
            "minLength": 1,
            "maxLength": 128,
            "description": "The event's id (CloudEvents binary mode); goes before any other.",
        },
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

VERSION: Final = "1.0.0"
"""Of the wire. A field more is a minor step; nothing is ever taken away or given another meaning."""

_SPECIFICATION: Final = "3.0.0"
"""Of AsyncAPI. Modelina does not read 3.1.0."""

_DESCRIPTION: Final = (
    "Input events of a prop firm, their outcomes, dead letters. All topic names stand behind KAFKA_TOPIC_PREFIX. "
    "Consumers of outcomes drop repeats by outcomeId. An event may come in CloudEvents binary mode (header ce_id), "
    "structured mode (an object with id, specversion and data or data_base64), or plain (eventId in the body)."
)


def _key(description: str) -> dict[str, Any]:
    return {"kafka": {"key": {"type": "string", "description": description}, "bindingVersion": "0.5.0"}}


def _payload(name: str) -> dict[str, Any]:
    """A schema of ours, as one of AsyncAPI's own format: all its keywords mean the same there.

    With the name of its draft it would be wrapped once more, and Modelina loses the title and the required fields of
    what is wrapped.
    """
    return {"$ref": f"./{name}.schema.json"}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document, referring to the JSON Schemas beside it."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}

    def channel(address: str, action: str, summary: str, message: Mapping[str, Any]) -> None:
        channels[address] = {
            "address": address,
            "summary": summary,
            "messages": {"record": {"name": address, **message}},
        }
        operations[address] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{address}"},
            "summary": summary,
        }

    for topic, event in EVENTS.items():
        channel(
            topic,
            "receive",
            _summary(event),
            {
                "contentType": "application/json",
                "headers": _EVENT_HEADERS,
                "payload": _payload(topic),
                "bindings": _key(event.key_is),
            },
        )
        channel(
            f"{topic}.outcome",
            "send",
            f"What became of a {topic}",
            {
                "contentType": "application/json",
                "headers": _OUTCOME_HEADERS,
                "payload": _payload(f"{topic}.outcome"),
                "bindings": _key(Outcome.key_is),
            },
        )
        channel(
            f"{topic}.dlq",
            "send",
            f"A {topic} that could not be read, unchanged",
            {
                "contentType": "application/octet-stream",
                "description": "The value as it was: any bytes, or none.",
                "headers": _DEAD_LETTER_HEADERS,
                "bindings": _key("The key as it was"),
            },
        )
    for topic, model in BRIDGED.items():
        channel(
            topic,
            "send",
            _summary(model),
            {"contentType": "application/json", "payload": _payload(topic), "bindings": _key(model.key_is)},
        )
    return {
        "asyncapi": _SPECIFICATION,
        "info": {"title": "tradovate-worker", "version": VERSION, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").split("\n")[0]
