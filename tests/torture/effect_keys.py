"""Which event an effect at the partner comes from, for the timeline of one that was made twice."""

from __future__ import annotations

from tests.torture.sent import Sent
from tests.torture.shop import Shop

_BY_OUTCOME = {
    "permissions": ("accountId", ("trader.purchased", "account.assigned")),
    "subaccount_requests": ("userId", ("trader.passed",)),
    "documents": ("requestId", ("trader.passed",)),
}
"""By family of effects: which field of an outcome the key begins with, and the topics."""


def event_of(shop: Shop, family: str, key: str) -> str | None:
    """Its id, by the family and the key of the effect (`worker/sandbox/effects.py`); None if no outcome tells yet."""
    if family == "accounts_by_name":
        return next((sent.event_id for sent in shop.orders.values() if key == account_of(sent)), None)
    if family in ("users_by_name", "users_by_email"):
        found = (sent.event_id for sent in shop.orders.values() if key in dict(sent.body["user"]).values())
        return next(found, None)
    number = key.removeprefix("live:").partition(":")[0]
    if family == "entitlements":
        return next((f"mda-{signal}" for signal, user in shop.signatures.items() if str(user) == number), None)
    field, topics = _BY_OUTCOME[family]
    for sent in shop.sent.values():
        outcome = shop.final(sent)
        if sent.topic in topics and outcome is not None and str(outcome[field]) == number:
            return sent.event_id
    return None


def account_of(purchase: Sent) -> str:
    """The name of the account that a purchase makes."""
    return str(purchase.body["account"].get("name") or f"EVAL{purchase.body['orderId']}")
