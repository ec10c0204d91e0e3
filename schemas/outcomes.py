"""Outcome events: what became of an input event (schemas/README.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from schemas.times import UTC_TIME, utc_text


class Status(StrEnum):
    """Where an event stands. All but `pending` are final."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PENDING = "pending"
    IN_DOUBT = "in_doubt"


class ErrorCode(StrEnum):
    """Why an event did not succeed."""

    INVALID = "invalid"
    RESTRICTED_COUNTRY = "restricted_country"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    NOT_FOUND = "not_found"
    GAVE_UP = "gave_up"
    IN_DOUBT = "in_doubt"
    CANCELLED = "cancelled"


class Fact:
    """Marks a field that a flow learns while it runs, under the same name."""


class Outcome(BaseModel):
    """What became of an event. Every field is always there; ids are filled in as far as they are known."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )

    key_is: ClassVar[str] = "The input record's key, or traderId, or userId"
    """What the record's key is; `key` is the part that the outcome knows."""

    outcome_id: str
    """The same outcome always has the same: drop repeats by it."""
    event_id: str
    """The id of the event."""
    topic: str
    """The input topic of the event, without prefix."""
    flow_id: str | None = None
    """The worker's id of what it does for the event; null for a record that was not accepted."""
    status: Status
    order_id: str | None = None
    """The shop's id of the order."""
    trader_id: str | None = None
    """The shop's id of the trader."""
    user_id: Annotated[int | None, Fact] = None
    """The user at Tradovate."""
    account_id: Annotated[int | None, Fact] = None
    """The account at Tradovate."""
    account_name: Annotated[str | None, Fact] = None
    """The account's name at Tradovate."""
    trading_permission_id: Annotated[int | None, Fact] = None
    """The trading permission at Tradovate."""
    trading_permission_ids: Annotated[tuple[int, ...], Fact] = ()
    """All trading permissions that the event was about; of a trader.failed: those that are revoked now."""
    request_id: Annotated[int | None, Fact] = None
    """The subaccount request at Tradovate."""
    request_status: Annotated[str | None, Fact] = None
    """Tradovate's status of the subaccount request, such as InReview or Approved."""
    entitlement_id: Annotated[int | None, Fact] = None
    """The entitlement at Tradovate."""
    error_code: ErrorCode | None = None
    """Null unless the event failed or is in doubt."""
    error_text: str | None = None
    """What went wrong, in Tradovate's words or ours, with personal data replaced by ***."""
    warnings: Annotated[tuple[str, ...], Fact] = ()
    """What went wrong without failing the event."""
    attempts: Annotated[int, Field(ge=0)] = 0
    """The highest number of times that one call was sent for it."""
    occurred_at: Annotated[
        AwareDatetime,
        PlainSerializer(utc_text, return_type=Annotated[str, WithJsonSchema(UTC_TIME.schema)], when_used="json"),
    ]
    """When it was decided: UTC with milliseconds, such as 2026-11-20T23:00:00.000Z."""

    @property
    def key(self) -> str | None:
        """The record's key where the input record had none: the trader, or the user."""
        found = self.trader_id if self.trader_id is not None else self.user_id
        return None if found is None else str(found)

    def to_json(self) -> bytes:
        """The outcome's Kafka value. `occurredAt` in UTC with milliseconds and `Z`."""
        return orjson.dumps(
            {
                "outcomeId": self.outcome_id,
                "eventId": self.event_id,
                "topic": self.topic,
                "flowId": self.flow_id,
                "status": self.status.value,
                "orderId": self.order_id,
                "traderId": self.trader_id,
                "userId": self.user_id,
                "accountId": self.account_id,
                "accountName": self.account_name,
                "tradingPermissionId": self.trading_permission_id,
                "tradingPermissionIds": self.trading_permission_ids,
                "requestId": self.request_id,
                "requestStatus": self.request_status,
                "entitlementId": self.entitlement_id,
                "errorCode": self.error_code and self.error_code.value,
                "errorText": self.error_text,
                "warnings": self.warnings,
                "attempts": self.attempts,
                "occurredAt": utc_text(self.occurred_at),
            }
        )


FACTS: Final[Mapping[str, type]] = MappingProxyType(
    {
        str(field.alias): next((kind for kind in (int, str) if field.annotation == kind | None), tuple)
        for field in Outcome.model_fields.values()
        if Fact in field.metadata
    }
)
"""The fields of an outcome that a flow learns while it runs, each with its type: a number, a text, or several."""

_OUTCOME: Final = {
    "outcomeId": "9b1f6c3f1f0b4d0c8a7e5d2c4b6a8f10",
    "eventId": "e-1",
    "topic": "trader.purchased",
    "flowId": "0193c1a2-7b3c-7d4e-8f50-6a7b8c9d0e1f",
    "status": "succeeded",
    "orderId": "100234",
    "traderId": "cust-77",
    "userId": 29721,
    "accountId": 98765,
    "accountName": "EVAL100234",
    "tradingPermissionId": 54321,
    "tradingPermissionIds": [54321],
    "requestId": None,
    "requestStatus": None,
    "entitlementId": None,
    "errorCode": None,
    "errorText": None,
    "warnings": [],
    "attempts": 1,
    "occurredAt": "2026-11-20T23:00:00.000Z",
}

OUTCOME_EXAMPLES: tuple[Mapping[str, Any], ...] = (
    _OUTCOME,
    {
        **_OUTCOME,
        "outcomeId": "1c7e0f5a9d3b42c6b8a1e4f70d2c5b93",
        "eventId": "e-2",
        "flowId": None,
        "status": "failed",
        "orderId": "100235",
        "userId": None,
        "accountId": None,
        "accountName": None,
        "tradingPermissionId": None,
        "tradingPermissionIds": [],
        "errorCode": "invalid",
        "errorText": "user.firstName is missing.",
        "attempts": 0,
    },
)
"""A success, and a record that was not accepted."""


def outcome_id(
    topic: str,
    event_id: str,
    status: str,
    error_code: str | None,
    request_status: str | None,
    round: int,  # noqa: A002 - the word of the outcome id's rule
) -> str:
    """32 hex digits that follow from these six and nothing else: the same result has the same id everywhere.

    `topic` without its prefix. `round`: 0, one more for each retry, cancel or resolve. The six are hashed as a JSON
    array, so that no two different six can run together into the same text.
    """
    parts = [topic, event_id, str(status), error_code and str(error_code), request_status, round]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]
