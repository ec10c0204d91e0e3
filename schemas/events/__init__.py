"""Input events: one frozen model a topic, with every rule that Tradovate states for what we send."""

from collections.abc import Mapping
from types import MappingProxyType

from schemas.events.assigned import AccountAssigned
from schemas.events.base import Event, Examples, Ids
from schemas.events.documents import file_bytes
from schemas.events.failed import TraderFailed
from schemas.events.left import TraderLeft
from schemas.events.locked import AccountLocked, AccountUnlocked
from schemas.events.passed import Application, TraderPassed
from schemas.events.purchased import Account, ContactInfo, NewUser, TraderPurchased, UserRef
from schemas.events.requested import PermissionRequested
from schemas.events.reset import AccountReset
from schemas.events.risk import RiskChange, RiskChanged
from schemas.events.signed import MdSigned

EVENTS: Mapping[str, type[Event]] = MappingProxyType(
    {
        event.topic: event
        for event in (
            TraderPurchased,
            TraderFailed,
            TraderLeft,
            MdSigned,
            TraderPassed,
            AccountAssigned,
            PermissionRequested,
            AccountReset,
            RiskChanged,
            AccountLocked,
            AccountUnlocked,
        )
    }
)
"""Topic without prefix -> its event, in the order of the README's table."""

TOPICS: tuple[str, ...] = tuple(EVENTS)

__all__ = [
    "EVENTS",
    "TOPICS",
    "Account",
    "AccountAssigned",
    "AccountLocked",
    "AccountReset",
    "AccountUnlocked",
    "Application",
    "ContactInfo",
    "Event",
    "Examples",
    "Ids",
    "MdSigned",
    "NewUser",
    "PermissionRequested",
    "RiskChange",
    "RiskChanged",
    "TraderFailed",
    "TraderLeft",
    "TraderPassed",
    "TraderPurchased",
    "UserRef",
    "file_bytes",
]
