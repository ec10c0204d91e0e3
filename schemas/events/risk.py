"""`risk.changed`: limits of an account that exists are set to other values."""

from __future__ import annotations

from typing import ClassVar, Final

from schemas.base import Id, Key
from schemas.events.base import Event, Examples
from schemas.risk_limits import PostTradeRisk
from schemas.rules import anything, at_least_one

_TYPES: Final = {"flattenTimestamp": "string", "trailingMaxDrawdownMode": "string"} | dict.fromkeys(
    ("doNotUnlock", "changesLocked"), "boolean"
)
_NAMES: Final = [field.alias or name for name, field in PostTradeRisk.model_fields.items()]


class RiskChange(PostTradeRisk):
    """Limits to be set. One that is absent or null stays as it is; what "liquidates" closes all positions."""

    rules = (anything(**{name: _TYPES.get(name, "number") for name in _NAMES}),)


class RiskChanged(Event):
    """Risk limits of an account are changed (Tradovate, update user auto liqs). Limits that are not given stay.

    An account given beside an order has to be that order's. Events of one account are executed in their order.
    """

    topic: ClassVar[str] = "risk.changed"
    examples: ClassVar[Examples] = (
        {"eventId": "e-14", "accountId": 98765, "postTradeRisk": {"dailyLossAutoLiq": 900}},
        {
            "eventId": "e-15",
            "orderId": "100234",
            "postTradeRisk": {"trailingMaxDrawdown": 2000, "trailingMaxDrawdownMode": "EOD", "doNotUnlock": True},
        },
    )

    account_id: Id | None = None
    """The account at Tradovate (DEMO)."""
    order_id: Key | None = None
    """The order that the account was bought with."""
    post_trade_risk: RiskChange

    rules = (at_least_one(accountId="integer", orderId="string"),)
