"""`account.assigned`: an account is given to a user."""

from __future__ import annotations

from typing import ClassVar

from schemas.base import Id
from schemas.events.base import Event, Examples


class AccountAssigned(Event):
    """An account that exists is given to a user (Tradovate, create trading permission)."""

    topic: ClassVar[str] = "account.assigned"
    examples: ClassVar[Examples] = ({"eventId": "e-10", "accountId": 98765, "userId": 29721},)

    account_id: Id
    """The account at Tradovate (DEMO)."""
    user_id: Id
    """The user at Tradovate."""
