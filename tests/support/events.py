"""Purchases to send, each with personal data of its own that a leak would show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def purchase(number: int, *, trader: int | None = None, contact: bool = False, **changes: Any) -> dict[str, Any]:
    """The purchase of order 100000 + `number` by `trader` (the same number if not given)."""
    who = number if trader is None else trader
    event: dict[str, Any] = {
        "eventId": f"e-{number}",
        "orderId": str(100_000 + number),
        "traderId": f"cust-{who}",
        "user": {
            "name": f"login{who}x",
            "email": f"mail{who}x@example.com",
            "firstName": f"Firstname{who}x",
            "lastName": f"Lastname{who}x",
        },
        "account": {
            "templateAccountId": 11,
            "initialBalance": 50_000,
            "postTradeRisk": {"dailyLossAutoLiq": 1_000, "trailingMaxDrawdown": 2_500},
        },
    }
    if contact:
        event["contactInfo"] = {
            "streetAddress1": f"{who} Streetname{who}x",
            "city": f"Cityname{who}x",
            "state": "TX",
            "postCode": "78701",
            "country": "US",
            "phone": f"+1512555{who:04d}",
        }
    return {**event, **changes}


def personal(event: Mapping[str, Any]) -> set[str]:
    """The values of an event that must never be seen again, but for those too short to be distinguished from chance."""
    values = {str(value) for part in ("user", "contactInfo") for value in dict(event.get(part) or {}).values()}
    return {value for value in values if len(value) >= 7}
