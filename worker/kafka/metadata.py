"""Metadata of topics with their ids, a version of the request that aiokafka does not have yet.

aiokafka's own metadata requests create every topic that they name, on brokers with `auto.create.topics.enable` (Kafka's
default). So a worker would create a topic again, with one partition, as soon as an operator deletes it. So its requests
are made to say that they must not (`create_no_topics`; held by `tests/integration/test_auto_create.py`).

Kafka gives a topic an id when it is created (KIP-516, brokers from 2.8 on): a topic that was deleted and created again
has the same name and another id. An older broker is asked in the version that aiokafka knows, and tells no ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

from aiokafka import client
from aiokafka.errors import NoError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequest_v5
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

__all__ = ["TopicNow", "TopicsRequest", "create_no_topics", "topics_of"]


def create_no_topics() -> None:
    """Keeps every client of this process from creating topics by asking for them. Doing so again changes nothing."""
    client.MetadataRequest = partial(MetadataRequest, allow_auto_topic_creation=False)


@dataclass(frozen=True, slots=True)
class TopicNow:
    """A topic as the broker has it. `error`: why it tells nothing of it. `leaders`: by partition, -1 where none is.

    `readable`, `writable`: whether we may read it and write to it; None where the broker does not say.
    `replication`: of the partition that has the fewest replicas.
    """

    id: str | None
    error: type[Exception] | None
    leaders: dict[int, int]
    writable: bool | None = None
    replication: int = 0
    readable: bool | None = None


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka ships no types
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_TAGS = ("tags", TaggedFields)
_TEXT = CompactString("utf-8")
_NO_ID = bytes(16)
_NOT_SAID = -(2**31)
_READ, _WRITE = 1 << 3, 1 << 4
"""A bit for each operation that the caller may do with a topic, by the operations' codes (KIP-430)."""


class _MetadataResponse_v10(Response):  # type: ignore[misc]  # noqa: N801 - as aiokafka names them
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS)),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("cluster_authorized_operations", Int32),
        _TAGS,
    )


class _MetadataRequest_v10(RequestStruct):  # type: ignore[misc]  # noqa: N801
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse_v10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class TopicsRequest(Request[MetadataRequest_v5 | _MetadataRequest_v10]):  # type: ignore[misc]
    """Asks for topics by their names, and never creates one by asking."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: Any) -> Any:
        """Of the version that broker and program share."""
        if request_struct_class.API_VERSION < _MetadataRequest_v10.API_VERSION:
            return request_struct_class(self._names, False)
        return request_struct_class([(_NO_ID, name, {}) for name in self._names], False, False, True, {})


def topics_of(response: Any) -> dict[str, TopicNow]:
    """The topics that a response describes."""
    return dict(_topic(topic) for topic in response.to_object()["topics"])


def _topic(topic: dict[str, Any]) -> tuple[str, TopicNow]:
    error = for_code(topic["error_code"])
    leaders = {part["partition"]: part["leader"] for part in topic["partitions"]}
    replication = min((len(part["replicas"]) for part in topic["partitions"]), default=0)
    raw = topic.get("topic_id", _NO_ID)
    operations = topic.get("authorized_operations", _NOT_SAID)
    return topic["topic"], TopicNow(
        raw.hex() if raw != _NO_ID else None,
        None if error is NoError else error,
        leaders,
        None if operations == _NOT_SAID else bool(operations & _WRITE),
        replication,
        None if operations == _NOT_SAID else bool(operations & _READ),
    )
