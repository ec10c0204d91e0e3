"""One good body a topic and more where an event has several faces. They stand in the exported schemas and in `demo`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

_ACCOUNT: Final = {
    "templateAccountId": 11,
    "initialBalance": 50000,
    "postTradeRisk": {"dailyLossAutoLiq": 1000, "trailingMaxDrawdown": 2500},
}

_APPLICATION: Final = {
    "riskCategoryId": 5,
    "marginType": "Speculator",
    "transferAmount": 2500,
    "authorizedIndividual": True,
    "firstName": "Jane",
    "lastName": "Doe",
    "country": "US",
    "state": "TX",
    "streetAddress1": "1 Main St",
    "city": "Austin",
    "zipCode": "78701",
    "phone": "+15125550100",
    "citizenship": "US",
    "taxIdentifier": "123456789",
    "birthDate": "1990-04-01",
}

EVENT_EXAMPLES: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType(
    {
        "trader.purchased": (
            {
                "eventId": "e-1",
                "orderId": "100234",
                "traderId": "cust-77",
                "user": {
                    "name": "jane77",
                    "email": "jane@example.com",
                    "firstName": "Jane",
                    "lastName": "Doe",
                },
                "contactInfo": {
                    "streetAddress1": "1 Main St",
                    "city": "Austin",
                    "state": "TX",
                    "postCode": "78701",
                    "country": "US",
                    "phone": "+15125550100",
                },
                "account": _ACCOUNT,
            },
            {
                "eventId": "e-2",
                "orderId": "100235",
                "traderId": "cust-78",
                "user": {"userId": 29721},
                "product": "EVAL-50K",
            },
            {"eventId": "e-3", "orderId": "100236", "traderId": "cust-77", "account": {**_ACCOUNT, "name": "MYEVAL7"}},
        ),
        "trader.failed": (
            {"eventId": "e-4", "traderId": "cust-77", "orderId": "100234", "reason": "daily loss"},
            {"eventId": "e-5", "traderId": "cust-77", "accountId": 98765, "tradingPermissionIds": [54321, 54322]},
        ),
        "trader.left": (
            {"eventId": "e-6", "traderId": "cust-77"},
            {"eventId": "e-7", "userId": 29721, "immediate": True, "reason": "restricted country"},
        ),
        "md.signed": (
            {"eventId": "mda-2179591", "userId": 29721, "signalId": 2179591, "signedAt": "2026-11-20T15:18:56.885Z"},
        ),
        "trader.passed": (
            {
                "eventId": "e-8",
                "traderId": "cust-77",
                "orderId": "300001",
                "application": _APPLICATION,
                "documents": [7001, 7002, 7003],
            },
            {
                "eventId": "e-9",
                "userId": 29721,
                "application": {
                    **{name: value for name, value in _APPLICATION.items() if name != "taxIdentifier"},
                    "country": "DE",
                    "state": "Berlin",
                    "citizenship": "DE",
                    "nationalId": "T220001293",
                },
                "documents": [
                    "data:application/pdf;base64,JVBERi0xLjQK",
                    "data:image/png;base64,iVBORw0KGgo=",
                    "data:text/plain;base64,MSBNYWluIFN0Cg==",
                ],
            },
        ),
        "account.assigned": ({"eventId": "e-10", "accountId": 98765, "userId": 29721},),
        "permission.requested": (
            {"eventId": "e-11", "accountId": 98765, "ctaContact": "Jane Doe", "ctaEmail": "jane@example.com"},
        ),
        "account.reset": (
            {"eventId": "e-12", "accountId": 98765, "tradeDate": "2026-11-20"},
            {"eventId": "e-13", "orderId": "100234", "tradeDate": "2026-11-20"},
        ),
    }
)

_OUTCOME: Final = {
    "outcomeId": "9b1f6c3f1f0b4d0c8a7e5d2c4b6a8f10",
    "eventId": "e-1",
    "topic": "trader.purchased",
    "flowId": "0193c1a2-7b3c-7d4e-8f50-6a7b8c9d0e1f",
    "status": "succeeded",
    "orderId": "100234",
    "traderId": "cust-77",
    "userId": 29721,
    "accountId": 98765,
    "accountName": "EVAL100234",
    "tradingPermissionId": 54321,
    "tradingPermissionIds": [54321],
    "requestId": None,
    "requestStatus": None,
    "entitlementId": None,
    "errorCode": None,
    "errorText": None,
    "warnings": [],
    "attempts": 1,
    "occurredAt": "2026-11-20T23:00:00.000Z",
}

OUTCOME_EXAMPLES: tuple[Mapping[str, Any], ...] = (
    _OUTCOME,
    {
        **_OUTCOME,
        "outcomeId": "1c7e0f5a9d3b42c6b8a1e4f70d2c5b93",
        "eventId": "e-2",
        "flowId": None,
        "status": "failed",
        "orderId": "100235",
        "userId": None,
        "accountId": None,
        "accountName": None,
        "tradingPermissionId": None,
        "tradingPermissionIds": [],
        "errorCode": "invalid",
        "errorText": "user.firstName is missing.",
        "attempts": 0,
    },
)

_NORMAL: Final = {"autoLiqCounter": 0, "liquidateOnly": None, "userTriggeredLiqOnly": False, "adminAction": "Normal"}

BRIDGED_EXAMPLES: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType(
    {
        "admin.alert": (
            {
                "eventId": "alert-2179592",
                "signalId": 2179592,
                "adminAlertId": 12,
                "userId": 29721,
                "accountId": None,
                "signal": {"id": 2179592, "adminAlertId": 12, "relatedToUserId": 29721, "completed": None},
            },
        ),
        "account.risk_status": (
            {
                "eventId": "risk-98765-1",
                "accountId": 98765,
                "userTriggered": False,
                "before": _NORMAL,
                "now": {**_NORMAL, "autoLiqCounter": 1, "liquidateOnly": "2026-11-20T16:03:11.512Z"},
            },
        ),
    }
)
