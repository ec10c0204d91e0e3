"""What an alert signal becomes on Kafka. Pure; no signal raises, whatever it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from pydantic import ValidationError

from schemas.base import MAX_INT64
from schemas.events import MdSigned
from worker.kafka.topics import ADMIN_ALERT

__all__ = ["SIGNED", "Outgoing", "outgoing", "vendor_id", "without_content"]

SIGNED = MdSigned.topic

LARGEST = 900_000
"""Bytes: a broker accepts records of a million unless it is set otherwise. An alert has some hundred; of a larger one
only the ids are published."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record for Kafka: an agreement for `md.signed`, any other alert for `admin.alert`."""

    signal_id: int
    topic: str
    key: bytes | None
    value: bytes = field(repr=False)  # an alert's text names a person


def outgoing(signal: Mapping[str, Any], mda_alert_id: int, asked_for: int | None = None) -> Outgoing | None:
    """The record of a signal; None when it cannot be read: no usable id, no kind of alert, an agreement of nobody.

    The trader is `relatedToUserId`, and never read from the text. `asked_for`: the alert whose signals were asked for;
    a response to that need not repeat it. A time that cannot be read does not make an agreement unreadable: nothing
    depends on it.
    """
    signal_id, user_id = vendor_id(signal.get("id")), vendor_id(signal.get("relatedToUserId"))
    alert_id = vendor_id(signal.get("adminAlertId")) or asked_for
    if signal_id is None or alert_id is None:
        return None
    key = None if user_id is None else str(user_id).encode()
    if alert_id == mda_alert_id:
        if user_id is None:
            return None
        event = {"eventId": f"mda-{signal_id}", **_signed(user_id, signal_id, signal.get("timestamp"))}
        return Outgoing(signal_id, SIGNED, key, orjson.dumps(event))
    alert = {
        "eventId": f"alert-{signal_id}",
        "signalId": signal_id,
        "adminAlertId": alert_id,
        "userId": user_id,
        "accountId": vendor_id(signal.get("relatedToAccountId")),
        "signal": signal,
    }
    try:
        value = orjson.dumps(alert)
    except TypeError:  # deeper than orjson writes, though not deeper than it reads
        value = b""
    record = Outgoing(signal_id, ADMIN_ALERT, key, value)
    return record if 0 < len(value) <= LARGEST else without_content(record, alert)


def without_content(record: Outgoing, alert: Mapping[str, Any] | None = None) -> Outgoing:
    """The alert's ids alone, for a topic that does not accept the whole of it."""
    return replace(record, value=orjson.dumps({**(alert or orjson.loads(record.value)), "signal": None}))


def _signed(user_id: int, signal_id: int, signed_at: Any) -> dict[str, Any]:
    """The event's body, the same from a socket and from a read: intake compares the content of one event id."""
    ids = {"userId": user_id, "signalId": signal_id}
    try:
        event = MdSigned.model_validate({**ids, "signedAt": signed_at})
    except ValidationError:
        event = MdSigned.model_validate(ids)
    return event.model_dump(mode="json", by_alias=True, exclude_none=True)


def vendor_id(value: Any) -> int | None:
    """A Tradovate id, which some of its pages write in quotes."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_INT64)):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_INT64 else None
