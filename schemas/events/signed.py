"""`md.signed`: a trader signed the Market Data Agreement. The bridge sends it, `eventId` = `mda-<signal id>`."""

from __future__ import annotations

from typing import ClassVar

from schemas.base import Id, Time
from schemas.events.base import Event


class MdSigned(Event):
    """`entitlement_id` defaults to the setting. `signed_at` in UTC."""

    topic: ClassVar[str] = "md.signed"

    user_id: Id
    signal_id: Id | None = None
    signed_at: Time | None = None
    entitlement_id: Id | None = None
