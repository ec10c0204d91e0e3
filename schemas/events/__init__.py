"""Input events: one frozen model a topic, with every rule that Tradovate states for what we send."""

from collections.abc import Mapping
from types import MappingProxyType

from schemas.events.base import Event, Ids
from schemas.events.purchased import Account, ContactInfo, NewUser, TraderPurchased, UserRef

EVENTS: Mapping[str, type[Event]] = MappingProxyType({event.topic: event for event in (TraderPurchased,)})
"""Topic without prefix -> its event, in the contract's order."""

TOPICS: tuple[str, ...] = tuple(EVENTS)

__all__ = [
    "EVENTS",
    "TOPICS",
    "Account",
    "ContactInfo",
    "Event",
    "Ids",
    "NewUser",
    "TraderPurchased",
    "UserRef",
]
