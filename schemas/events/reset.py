"""`account.reset`: an evaluation account goes back to the start of a trading day."""

from __future__ import annotations

from typing import ClassVar

from schemas.base import Date, Id, Key
from schemas.events.base import Event, Examples
from schemas.rules import at_least_one


class AccountReset(Event):
    """An account goes back to the start of a trading day (Tradovate, reset demo account state).

    An account given beside an order has to be that order's.
    """

    topic: ClassVar[str] = "account.reset"
    examples: ClassVar[Examples] = (
        {"eventId": "e-12", "accountId": 98765, "tradeDate": "2026-11-20"},
        {"eventId": "e-13", "orderId": "100234", "tradeDate": "2026-11-20"},
    )

    account_id: Id | None = None
    """The account at Tradovate (DEMO)."""
    order_id: Key | None = None
    """The order that the account was bought with."""
    trade_date: Date
    """The trading day whose opening state comes back: YYYY-MM-DD."""

    rules = (at_least_one(accountId="integer", orderId="string"),)
