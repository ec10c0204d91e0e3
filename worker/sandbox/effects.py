"""The oracle: how often each thing took effect, by the key that the business knows it by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

__all__ = ["Effects"]


@dataclass(slots=True)
class Effects:
    """Effects, counted when they are made. What must be once has a count of one, whatever was sent how often."""

    users_by_name: Counter[str] = field(default_factory=Counter)
    users_by_email: Counter[str] = field(default_factory=Counter)
    accounts_by_name: Counter[str] = field(default_factory=Counter)
    permissions: Counter[str] = field(default_factory=Counter)
    """By `accountId:userId`, on LIVE `live:accountId:userId`."""
    entitlements: Counter[str] = field(default_factory=Counter)
    """By `userId:entitlementId`."""
    subaccount_requests: Counter[str] = field(default_factory=Counter)
    """By user id."""
    documents: Counter[str] = field(default_factory=Counter)
    """By `requestId:documentType`, or `user:userId:documentType` for those uploaded beforehand."""
    contact_updates: Counter[str] = field(default_factory=Counter)
    """By user id; writing contact data again is harmless."""
    revocations: Counter[str] = field(default_factory=Counter)
    """By permission id, on LIVE `live:id`; only those that were active before."""
    cancels: Counter[str] = field(default_factory=Counter)
    """By `domain:userId`; calls that named the user."""
    resets: Counter[str] = field(default_factory=Counter)
    """By `accountId:date`."""
    risk_changes: Counter[str] = field(default_factory=Counter)
    """By account id; setting the same limits again is harmless."""
    admin_actions: Counter[str] = field(default_factory=Counter)
    """By `accountId:adminAction`; the same action again is harmless."""
    permission_requests: Counter[str] = field(default_factory=Counter)
    """By `accountId:userId`."""

    _ONCE: ClassVar[tuple[str, ...]] = (
        "users_by_name",
        "users_by_email",
        "accounts_by_name",
        "permissions",
        "entitlements",
        "subaccount_requests",
        "documents",
    )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return every count by family and key."""
        return {name: dict(getattr(self, name)) for name in self.__slots__}

    def totals(self) -> dict[str, int]:
        return {name: sum(getattr(self, name).values()) for name in self.__slots__}

    def twice(self) -> dict[str, dict[str, int]]:
        """Return what must be once and is not."""
        found: dict[str, dict[str, Any]] = {}
        for name in self._ONCE:
            many = {key: count for key, count in getattr(self, name).items() if count > 1}
            if many:
                found[name] = many
        return found
