"""Moments at which a member is hit, seen from outside: in the bytes that pass its links."""

from __future__ import annotations

import re
from enum import Enum

from tests.torture.links import Way


class Moment(Enum):
    """When a blow falls."""

    ANY = "at any time"
    CALL_SENT = "a call leaves"
    ANSWERED = "a call is answered"
    LOOK_UP = "a look-up leaves"
    SIGNAL = "a signal comes"
    ASKED = "a bridge asks on its socket"
    TRANSACTION = "in a transaction"
    COMMIT = "a transaction is committed"
    PUBLISHING = "a record is published"
    OFFSETS = "offsets are committed"
    JOINING = "the group is joined"


_LOOK_UP = re.compile(rb"(?:GET|POST) (?:/\w+)?/v1/\w+/(?:finds?|l?deps|items?|list)\b", re.IGNORECASE)
_CALL = re.compile(rb"POST (?:/\w+)?/v1/(?!auth/)")
_KAFKA = {0: Moment.PUBLISHING, 8: Moment.OFFSETS, 11: Moment.JOINING}
"""By the number of the request (Kafka protocol, "Api Keys"): Produce, OffsetCommit, JoinGroup."""


def of_partner(way: Way, data: bytes) -> Moment | None:
    """Of a piece of data between a member and the partner."""
    if way is Way.BACK:
        if data.startswith(b"HTTP/1.1 2"):
            return Moment.ANSWERED
        return Moment.SIGNAL if b"dminAlertSignal" in data else None
    if _LOOK_UP.match(data):
        return Moment.LOOK_UP
    return Moment.CALL_SENT if _CALL.match(data) else None


def of_socket(way: Way, data: bytes) -> Moment | None:
    """Of a piece of data that a bridge sends: its frames are masked, and requests are the only long ones."""
    return Moment.ASKED if way is Way.THERE and len(data) > _HEARTBEAT and data[:1] == b"\x81" else None


_HEARTBEAT = 16
"""Bytes of a heartbeat's frame at most."""


def of_database(way: Way, data: bytes) -> Moment | None:
    """Of a piece of data between a member and PostgreSQL."""
    if way is Way.BACK:
        return None
    if data.endswith(b"commit\x00"):
        return Moment.COMMIT
    return Moment.TRANSACTION if data.endswith(b"begin\x00") else None


def of_kafka(way: Way, data: bytes) -> Moment | None:
    """Of a piece of data between a member and the broker; of several requests the first one."""
    return _KAFKA.get(int.from_bytes(data[4:6], "big")) if way is Way.THERE and len(data) >= 8 else None
