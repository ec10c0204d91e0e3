"""`trader.left`: a trader goes for good; everything is cancelled, at the trading day's end unless `immediate`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from schemas.base import Id, Key, LooseText
from schemas.events.base import Event, Examples
from schemas.rules import ReadBy, at_least_one


def _not_said(value: object) -> object:
    """Null means left out, as in every other optional field."""
    return False if value is None else value


class TraderLeft(Event):
    """A trader leaves for good: all subscriptions and permissions are cancelled (Tradovate, cancel everything)."""

    topic: ClassVar[str] = "trader.left"
    examples: ClassVar[Examples] = (
        {"eventId": "e-6", "traderId": "cust-77"},
        {"eventId": "e-7", "userId": 29721, "immediate": True, "reason": "restricted country"},
    )

    trader_id: Key | None = None
    """The shop's id of the trader."""
    user_id: Id | None = None
    """The trader's user at Tradovate."""
    immediate: Annotated[bool, ReadBy(read=_not_said, schema={"type": ["boolean", "null"]})] = False
    """Whether it happens at once; otherwise after the end of the trading day."""
    reason: LooseText | None = None
    """A note for people."""

    rules = (at_least_one(traderId="string", userId="integer"),)
