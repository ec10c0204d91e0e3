"""What `reconcile` finds: a difference between the ledger and Tradovate, and the event that fixes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple


class Kind(StrEnum):
    """Kinds of differences (README, "Does the ledger agree with Tradovate?"), the most urgent first."""

    PERMISSION_ALIVE = "permission_alive"
    PERMISSION_MISSING = "permission_missing"
    ACCOUNT_MISSING = "account_missing"
    USER_MISSING = "user_missing"
    ACCOUNT_UNKNOWN = "account_unknown"
    ENTITLEMENT_MISSING = "entitlement_missing"
    UNSIGNED = "unsigned"
    BILLED_FOR_NOTHING = "billed_for_nothing"


class Fix(NamedTuple):
    """The event that fixes a difference. `body` holds ids alone, and follows from the difference: the same difference
    makes the same event.
    """

    topic: str
    event_id: str
    body: Mapping[str, Any]


class Difference(NamedTuple):
    """One difference. `sentence`: for an operator, with ids and no personal data. `cancel_before`: what is not
    cancelled by then is billed for another month.
    """

    kind: Kind
    sentence: str
    trader_id: str | None = None
    user_id: int | None = None
    order_id: str | None = None
    account_id: int | None = None
    account_name: str | None = None
    permission_id: int | None = None
    entitlement_id: int | None = None
    cancel_before: datetime | None = None
    fix: Fix | None = None

    @property
    def key(self) -> str:
        """Tells it from every other difference of a run."""
        ids = (self.trader_id, self.order_id, self.account_id, self.permission_id, self.entitlement_id)
        return ":".join([self.kind, *("" if each is None else str(each) for each in ids)])
