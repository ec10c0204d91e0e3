"""The samples of the other flows; they build upon the purchases."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.events import (
    AccountAssigned,
    AccountLocked,
    AccountReset,
    AccountUnlocked,
    MdSigned,
    PermissionRequested,
    RiskChanged,
    TraderFailed,
    TraderLeft,
    TraderPassed,
    TraderPurchased,
)
from worker.cli.demo.purchases import NEW_ORDER, NEW_USER, new_user, purchase
from worker.cli.demo.samples import Expect, Of, Sample

ENTITLEMENT_ID = 31
"""T-Prop, as the simulated Tradovate numbers it."""


def others(seeded: Sequence[int], accounts: Sequence[int], trade_date: str) -> list[Sample]:
    """In the order in which they are sent. `seeded`, `accounts`: ids of `SEED`, in its order."""
    return [*_failed(), *_left(), *_signed(), _passed(), *_accounts(seeded, accounts, trade_date), *_risk()]


def _failed() -> list[Sample]:
    revoked = {"revocations": 1}
    late = purchase(17, "judy", user=new_user("judy"))
    return [
        Sample(
            "a broken rule: the account of an order",
            TraderFailed.topic,
            {"eventId": "demo-14", "traderId": "trader-alice", "orderId": "700002", "reason": "daily loss"},
            Expect(values={"tradingPermissionIds": [Of("demo-2", "tradingPermissionId")]}),
            effects=revoked,
            after="demo-2",
        ),
        Sample(
            "a broken rule: a permission",
            TraderFailed.topic,
            {
                "eventId": "demo-15",
                "traderId": "trader-dave",
                "tradingPermissionIds": [Of("demo-7", "tradingPermissionId")],
            },
            Expect(values={"tradingPermissionIds": [Of("demo-7", "tradingPermissionId")]}),
            effects=revoked,
        ),
        Sample(
            "a broken rule that overtakes its purchase",
            TraderFailed.topic,
            {"eventId": "demo-16", "traderId": "trader-judy", "orderId": late["orderId"]},
            Expect(values={"tradingPermissionIds": [Of("demo-17", "tradingPermissionId")]}),
            effects=revoked,
        ),
        Sample(
            "the purchase that it waits for",
            TraderPurchased.topic,
            late,
            effects={**NEW_USER, **NEW_ORDER},
            behind="demo-16",
        ),
    ]


def _left() -> list[Sample]:
    return [
        Sample(
            "a trader leaves at once",
            TraderLeft.topic,
            {"eventId": "demo-18", "traderId": "trader-erin", "immediate": True},
            Expect(values={"userId": Of("demo-9", "userId")}),
            effects={"cancels": 2, "revocations": 1},
            after="demo-9",
        )
    ]


def _signed() -> list[Sample]:
    entitled = Expect(values={"entitlementId": ENTITLEMENT_ID})
    heidi = Of("demo-12", "userId")
    return [
        Sample(
            "a trader signs the Market Data Agreement at Tradovate",
            MdSigned.topic,
            {"eventId": "demo-19", "userId": Of("demo-1", "userId")},
            entitled,
            effects={"entitlements": 1},
            signs=True,
        ),
        Sample(
            "published before it is signed",
            MdSigned.topic,
            {"eventId": "demo-20", "userId": heidi},
            entitled,
            effects={"entitlements": 1},
        ),
        Sample(
            "the signature that it waits for",
            MdSigned.topic,
            {"eventId": "demo-21", "userId": heidi},
            entitled,
            behind="demo-20",
            signs=True,
        ),
    ]


def _passed() -> Sample:
    return Sample(
        "a trader passed, with three documents",
        TraderPassed.topic,
        {
            "eventId": "demo-22",
            "traderId": "trader-grace",
            "orderId": "F-700022",
            "application": _APPLICATION,
            "documents": [_file("proof of address"), _file("passport"), _file("a bill")],
        },
        Expect(values={"requestStatus": "Approved"}, pending=("Preapproved", "InReview")),
        effects={"subaccount_requests": 1, "documents": 3},
        after="demo-11",
        reviews=("InReview", "Approved"),
    )


def _accounts(seeded: Sequence[int], accounts: Sequence[int], trade_date: str) -> list[Sample]:
    return [
        Sample(
            "an account for a user",
            AccountAssigned.topic,
            {"eventId": "demo-23", "accountId": accounts[0], "userId": seeded[0]},
            Expect(values={"accountId": accounts[0], "userId": seeded[0]}),
            effects={"permissions": 1},
        ),
        Sample(
            "the account on LIVE for a trader who passed",
            "account.assigned",
            {
                "eventId": "demo-30",
                "accountId": Of("demo-22", "accountId"),
                "userId": Of("demo-22", "userId"),
                "domain": "LIVE",
            },
            Expect(values={"accountId": Of("demo-22", "accountId")}),
            effects={"permissions": 1},
            after="demo-22",
        ),
        Sample(
            "an account holder asks for a trader",
            PermissionRequested.topic,
            {
                "eventId": "demo-24",
                "accountId": accounts[1],
                "ctaContact": "Grace Demo",
                "ctaEmail": "grace@demo.invalid",
            },
            Expect(values={"accountId": accounts[1]}),
            effects={"permission_requests": 1},
        ),
        Sample(
            "back to the open of the day",
            AccountReset.topic,
            {"eventId": "demo-25", "orderId": "700012", "tradeDate": trade_date},
            Expect(values={"accountId": Of("demo-12", "accountId")}),
            effects={"resets": 1},
            after="demo-12",
        ),
    ]


def _risk() -> list[Sample]:
    """Three events of one account, by order and by account. Two topics have no order of their own: each is sent after
    the outcome of the one before.
    """
    account = Expect(values={"accountId": Of("demo-11", "accountId")})
    return [
        Sample(
            "tighter limits for an account",
            RiskChanged.topic,
            {"eventId": "demo-26", "orderId": "700011", "postTradeRisk": {"dailyLossAutoLiq": 900}},
            account,
            effects={"risk_changes": 1},
            after="demo-11",
        ),
        Sample(
            "an account is locked",
            AccountLocked.topic,
            {
                "eventId": "demo-27",
                "accountId": Of("demo-11", "accountId"),
                "action": "lock",
                "reason": "identity check",
            },
            account,
            effects={"admin_actions": 1},
            after="demo-26",
        ),
        Sample(
            "and unlocked",
            AccountUnlocked.topic,
            {"eventId": "demo-28", "orderId": "700011", "reason": "identity confirmed"},
            account,
            effects={"admin_actions": 1},
            after="demo-27",
        ),
    ]


def _file(text: str) -> str:
    return "data:text/plain;base64," + base64.b64encode(text.encode()).decode()


_APPLICATION: Mapping[str, Any] = {
    **TraderPassed.examples[0]["application"],
    "transferAmount": 1000.0,
    "firstName": "Grace",
    "lastName": "Demo",
    "phone": "+15125550122",
    "taxIdentifier": "900000022",
}
