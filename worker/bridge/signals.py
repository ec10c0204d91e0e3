"""What an alert signal becomes on Kafka. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from schemas.base import MAX_INT64
from schemas.events import MdSigned
from worker.kafka.topics import ADMIN_ALERT

__all__ = ["CREATED", "Outgoing", "id_of", "outgoing"]

CREATED = "Created"
"""The only event type that tells of something new; `Updated` follows when a person completes or claims an alert."""


LARGEST = 900_000
"""Bytes: a broker takes records of a million unless told otherwise, and one that it refuses would hold up all others.
An alert has some hundred; of one beyond this only the ids go out."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record for Kafka: `signed` for a Market Data Agreement, `alert` for any other alert."""

    signal_id: int
    kind: Literal["signed", "alert"]
    topic: str
    key: bytes | None
    value: bytes = field(repr=False)  # an alert's text names a person


def outgoing(signal: Mapping[str, Any], mda_alert_id: int) -> Outgoing | None:
    """The record of a signal, None when it has no id. The trader is `relatedToUserId`, and never read from the text."""
    signal_id, user_id = id_of(signal), _id(signal.get("relatedToUserId"))
    if signal_id is None:
        return None
    key = None if user_id is None else str(user_id).encode()
    if _id(signal.get("adminAlertId")) == mda_alert_id and user_id is not None:
        event = {"eventId": f"mda-{signal_id}", **_signed(user_id, signal_id, signal.get("timestamp"))}
        return Outgoing(signal_id, "signed", MdSigned.topic, key, orjson.dumps(event))
    alert = {
        "eventId": f"alert-{signal_id}",
        "signalId": signal_id,
        "adminAlertId": _id(signal.get("adminAlertId")),
        "userId": user_id,
        "accountId": _id(signal.get("relatedToAccountId")),
        "signal": signal,
    }
    value = orjson.dumps(alert)
    if len(value) > LARGEST:
        value = orjson.dumps({**alert, "signal": None})
    return Outgoing(signal_id, "alert", ADMIN_ALERT, key, value)


def id_of(signal: Mapping[str, Any]) -> int | None:
    """A signal's id, None when it has none that can be used."""
    return _id(signal.get("id"))


def _signed(user_id: int, signal_id: int, signed_at: Any) -> dict[str, Any]:
    """The event's body. A time that cannot be read is left out: intake would refuse the whole event for it."""
    ids = {"userId": user_id, "signalId": signal_id}
    try:
        event = MdSigned.model_validate({**ids, "signedAt": signed_at})
    except ValidationError:
        event = MdSigned.model_validate(ids)
    return event.model_dump(mode="json", by_alias=True, exclude_none=True)


def _id(value: Any) -> int | None:
    """A Tradovate id, which some of its pages write in quotes."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_INT64)):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_INT64 else None
