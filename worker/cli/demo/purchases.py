"""The samples of `trader.purchased`, and what is there before the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.events import TraderPurchased
from worker.cli.demo.samples import Expect, Sample

PURCHASED = TraderPurchased.topic

_EXAMPLE = TraderPurchased.examples[0]

CATALOGUE = """["EVAL-50K"]
templateAccountId = 11
initialBalance = 50000
postTradeRisk = {dailyLossAutoLiq = 1000, trailingMaxDrawdown = 2500}
"""
"""The products that the samples know."""

SEED: Mapping[str, Any] = {
    "users": [
        {"name": "demo-grace", "email": "grace@demo.invalid"},
        {"name": "demo-heidi", "email": "heidi@demo.invalid"},
        {"name": "demo-ivan", "email": "somebody-else@demo.invalid"},
    ],
    "accounts": [{"name": "DEMO1"}, {"name": "DEMO2"}],
}
"""Who is at Tradovate before the first event."""

FAULTS: Sequence[Mapping[str, Any]] = (
    {"action": "poison", "operation": "/user/createevaluationusers", "contains": "demo-mallory", "form": "error_text"},
    {"action": "cut_after", "operation": "/user/createevaluationaccounts", "contains": "EVAL700009", "times": 1},
    {
        "action": "error_text",
        "operation": "/contactinfo/updatecontactinfo",
        "contains": "+15125550111",
        "body": "The phone number cannot be reached.",
    },
)
"""What goes wrong at Tradovate."""

ACCOUNT: Mapping[str, Any] = _EXAMPLE["account"]

NEW_USER = {"users_by_name": 1, "users_by_email": 1}
NEW_ORDER = {"accounts_by_name": 1, "permissions": 1}
_CONTACT = {"contact_updates": 1}


def purchase(number: int, trader: str, **fields: Any) -> dict[str, Any]:
    """A purchase of order 700000 + `number`."""
    return {
        "eventId": f"demo-{number}",
        "orderId": str(700_000 + number),
        "traderId": f"trader-{trader}",
        **({} if "product" in fields else {"account": ACCOUNT}),
        **fields,
    }


def new_user(name: str) -> dict[str, Any]:
    """A user that Tradovate is to make, or to find."""
    return {
        "name": f"demo-{name}",
        "email": f"{name}@demo.invalid",
        "firstName": name.capitalize(),
        "lastName": "Demo",
    }


def contact(country: str = "US", phone: str = "+15125550100") -> dict[str, Any]:
    """Contact data."""
    return {**_EXAMPLE["contactInfo"], "country": country, "phone": phone}


def purchases(seeded: Sequence[int]) -> list[Sample]:
    """In the order in which they are sent. `seeded`: the user ids of `SEED`, in its order."""
    first = purchase(1, "alice", user=new_user("alice"), contactInfo=contact())
    return [
        Sample(
            "a new user with contact data", PURCHASED, first, effects={**NEW_USER, **NEW_ORDER, **_CONTACT}, times=2
        ),
        Sample("a second order of the same trader", PURCHASED, purchase(2, "alice"), effects=NEW_ORDER),
        Sample(
            "the same order again, as another event",
            PURCHASED,
            {**first, "eventId": "demo-3"},
            Expect(like="demo-1"),
            after="demo-1",
        ),
        Sample(
            "the same order with other details",
            PURCHASED,
            {**first, "eventId": "demo-4", "account": {**ACCOUNT, "initialBalance": 100000}},
            Expect("failed", "conflict"),
            after="demo-1",
        ),
        Sample(
            "a country on CME's restricted list",
            PURCHASED,
            purchase(5, "bob", user=new_user("bob"), contactInfo=contact("SY")),
            Expect("failed", "restricted_country"),
        ),
        Sample(
            "a misspelt risk limit",
            PURCHASED,
            purchase(6, "carol", user=new_user("carol"), account={**ACCOUNT, "postTradeRisk": {"dailyLosAutoLiq": 1}}),
            Expect("failed", "invalid", dead_letter="unknown_field"),
        ),
        Sample(
            "a product of the catalogue",
            PURCHASED,
            purchase(7, "dave", user=new_user("dave"), product="EVAL-50K"),
            effects={**NEW_USER, **NEW_ORDER},
        ),
        Sample(
            "a name that Tradovate refuses",
            PURCHASED,
            purchase(8, "mallory", user=new_user("mallory")),
            Expect("failed", "rejected"),
        ),
        Sample(
            "an answer that is cut after the effect",
            PURCHASED,
            purchase(9, "erin", user=new_user("erin")),
            effects={**NEW_USER, **NEW_ORDER},
        ),
        Sample(
            "contact data that Tradovate refuses",
            PURCHASED,
            purchase(10, "frank", user=new_user("frank"), contactInfo=contact(phone="+15125550111")),
            Expect(warnings=1),
            effects={**NEW_USER, **NEW_ORDER},
        ),
        Sample(
            "a user given by its id", PURCHASED, purchase(11, "grace", user={"userId": seeded[0]}), effects=NEW_ORDER
        ),
        Sample(
            "a user that Tradovate knows",
            PURCHASED,
            purchase(12, "heidi", user=new_user("heidi"), contactInfo=contact()),
            effects={**NEW_ORDER, **_CONTACT},
        ),
        Sample(
            "a user name that another user has",
            PURCHASED,
            purchase(13, "ivan", user=new_user("ivan")),
            Expect("failed", "conflict"),
        ),
    ]


def plain_purchases(count: int) -> list[Sample]:
    """`count` purchases of as many new traders."""
    return [
        Sample(
            "a purchase",
            PURCHASED,
            {
                "eventId": f"load-{number}",
                "orderId": str(8_000_000 + number),
                "traderId": f"load-{number}",
                "user": new_user(f"load{number}"),
                "account": ACCOUNT,
            },
            effects={**NEW_USER, **NEW_ORDER},
            plain=True,
        )
        for number in range(1, count + 1)
    ]
