"""`account.assigned`: an account is given to a user."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import Id
from schemas.events.base import Event, Examples


class AccountAssigned(Event):
    """An account that exists is given to a user (Tradovate, create trading permission)."""

    topic: ClassVar[str] = "account.assigned"
    examples: ClassVar[Examples] = (
        {"eventId": "e-10", "accountId": 98765, "userId": 29721},
        {"eventId": "e-11", "accountId": 7005001, "userId": 29721, "domain": "LIVE"},
    )

    account_id: Id
    """The account at Tradovate, on that domain."""
    user_id: Id
    """The user at Tradovate."""
    domain: Annotated[Literal["DEMO", "LIVE"], Field(title="AccountDomain")] = "DEMO"
    """DEMO, or LIVE after a graduation: `accountId` of the outcome of `trader.passed`."""
