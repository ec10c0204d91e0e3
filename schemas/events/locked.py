"""`account.locked` and `account.unlocked`: an administrator stops trading on an account, and allows it again."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.base import Id, Key
from schemas.events.base import Event, Examples
from schemas.rules import at_least_one
from schemas.texts import FILLED

Reason = Annotated[str, Field(max_length=8192), FILLED]
"""Tradovate, set admin auto liq action: `adminActionReason`, required, at most 8192 characters."""

LockAction = TypeAliasType("LockAction", Literal["lock", "liquidate", "close_only"])


class AccountLocked(Event):
    """Trading on an account is stopped (Tradovate, set admin auto liq action), until `account.unlocked`.

    Action `lock`: all orders are refused, positions stay. `liquidate`: positions are closed, then as `lock`. With the
    third one orders may only close positions.

    An account given beside an order has to be that order's. Events of one account are executed in their order.
    """

    topic: ClassVar[str] = "account.locked"
    examples: ClassVar[Examples] = (
        {"eventId": "e-16", "accountId": 98765, "action": "lock", "reason": "identity check"},
        {"eventId": "e-17", "orderId": "100234", "action": "liquidate", "reason": "drawdown"},
    )

    account_id: Id | None = None
    """The account at Tradovate (DEMO)."""
    order_id: Key | None = None
    """The order that the account was bought with."""
    action: LockAction
    reason: Reason
    """Why: Tradovate keeps it with the account."""

    rules = (at_least_one(accountId="integer", orderId="string"),)


class AccountUnlocked(Event):
    """Trading on a locked account is allowed again (Tradovate, set admin auto liq action `Normal`).

    An account given beside an order has to be that order's. Events of one account are executed in their order.
    """

    topic: ClassVar[str] = "account.unlocked"
    examples: ClassVar[Examples] = (
        {"eventId": "e-18", "accountId": 98765, "reason": "identity confirmed"},
        {"eventId": "e-19", "orderId": "100234", "reason": "new week"},
    )

    account_id: Id | None = None
    """The account at Tradovate (DEMO)."""
    order_id: Key | None = None
    """The order that the account was bought with."""
    reason: Reason
    """Why: Tradovate keeps it with the account."""

    rules = (at_least_one(accountId="integer", orderId="string"),)
