"""`trader.failed`: a trader broke a rule of the evaluation; its trading permissions are revoked at once."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from schemas.base import MOST_ENTRIES, Id, Key, LooseText
from schemas.events.base import Event, Examples
from schemas.rules import at_least_one


class TraderFailed(Event):
    """A trader failed: trading permissions are revoked (Tradovate, revoke trading permissions).

    They are named by order, by account, by their own ids, or by several of these.
    """

    topic: ClassVar[str] = "trader.failed"
    examples: ClassVar[Examples] = (
        {"eventId": "e-4", "traderId": "cust-77", "orderId": "100234", "reason": "daily loss"},
        {"eventId": "e-5", "traderId": "cust-77", "accountId": 98765, "tradingPermissionIds": [54321, 54322]},
    )

    trader_id: Key
    """The shop's id of the trader."""
    order_id: Key | None = None
    """The order that the account was bought with."""
    account_id: Id | None = None
    """The account at Tradovate (DEMO)."""
    trading_permission_ids: Annotated[
        tuple[Id, ...] | None, Field(strict=False, fail_fast=True, max_length=MOST_ENTRIES)
    ] = None
    """Trading permissions at Tradovate, at most 1000."""
    reason: LooseText | None = None
    """A note for people."""

    rules = (at_least_one(orderId="string", accountId="integer", tradingPermissionIds="array"),)
