"""`md.signed`: a trader signed the Market Data Agreement. The bridge sends it, `eventId` = `mda-<signal id>`."""

from __future__ import annotations

from typing import ClassVar

from schemas.base import Id, Time
from schemas.events.base import Event, Examples


class MdSigned(Event):
    """A trader signed the Market Data Agreement and gets an entitlement (Tradovate, add entitlement subscription)."""

    topic: ClassVar[str] = "md.signed"
    examples: ClassVar[Examples] = (
        {"eventId": "mda-2179591", "userId": 29721, "signalId": 2179591, "signedAt": "2026-11-20T15:18:56.885Z"},
    )

    user_id: Id
    """The trader's user at Tradovate."""
    signal_id: Id | None = None
    """Tradovate's id of the alert signal that said so."""
    signed_at: Time | None = None
    """When it was signed: a time with its offset from UTC (RFC 3339)."""
    entitlement_id: Id | None = None
    """The entitlement to add; by default the one of the worker's settings."""
