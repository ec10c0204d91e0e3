"""`account.assigned`: an account is given to a user."""

from __future__ import annotations

from typing import ClassVar

from schemas.base import Id
from schemas.events.base import Event


class AccountAssigned(Event):
    """Tradovate, create trading permission."""

    topic: ClassVar[str] = "account.assigned"

    account_id: Id
    user_id: Id
