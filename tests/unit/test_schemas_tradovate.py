"""The partner's bodies."""

from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from schemas.countries import ISO_CODES, RESTRICTED, is_country, is_restricted
from schemas.tradovate import (
    AdminAlertSignal,
    CancelEverything,
    DemoAccountReset,
    EntitlementSubscription,
    EvaluationAccount,
    SubaccountDocument,
    SubaccountRequest,
    TradeDate,
    TradingPermission,
)


def test_cancel_everything_always_sends_four_flags() -> None:
    """All four flags go out, since what a missing one means is reported differently from page to page."""
    assert CancelEverything(user_ids=(29721,)).to_wire() == {
        "userIds": [29721],
        "tradovateSubscriptions": True,
        "userPlugins": True,
        "marketDataSubscriptions": True,
        "tradingPermissions": True,
    }


def test_an_entitlement_cannot_be_bought_without_a_user() -> None:
    """A subscription without a user is refused: Tradovate would give it to the administrator."""
    with pytest.raises(ValidationError):
        EntitlementSubscription.model_validate({"entitlementId": 5})


def test_what_is_not_given_is_not_sent() -> None:
    """An account without risk is sent without risk blocks, and a limit that is off is left out of them."""
    body = {"userId": 1, "templateAccountId": 11, "name": "EVAL1", "initialBalance": 50000}
    assert EvaluationAccount.model_validate(body).to_wire() == body
    risk = {"postTradeRisk": {"dailyLossAutoLiq": 1000, "flattenTimestamp": "2026-11-20T17:00:00-06:00"}}
    assert EvaluationAccount.model_validate({**body, **risk}).to_wire()["postTradeRisk"] == {
        "dailyLossAutoLiq": 1000.0,
        "flattenTimestamp": "2026-11-20T23:00:00.000Z",
    }


def test_names_are_the_vendors() -> None:
    """Fields whose names the vendor spells oddly are spelt as oddly."""
    assert SubaccountRequest.model_fields["poa_form_doc_id"].alias == "pOAFormDocId"
    document = SubaccountDocument(
        sub_account_request_id=1, document_type="Id", filename="passport.pdf", base64data="data:application/pdf;base64,"
    )
    assert set(document.to_wire()) == {"subAccountRequestId", "documentType", "filename", "base64data"}
    reset = DemoAccountReset(account_ids=(1, 2), reset_trade_date=TradeDate.of(date(2026, 11, 20)))
    assert reset.to_wire() == {"accountIds": [1, 2], "resetTradeDate": {"year": 2026, "month": 11, "day": 20}}


def test_entities_are_read_leniently() -> None:
    """An entity needs no more than its id, and new fields and new enum values do not stop it."""
    assert TradingPermission.model_validate({"id": 5, "status": "Suspended", "new": {}}).status == "Suspended"
    signal = AdminAlertSignal.model_validate({"id": 2179591, "relatedToUserId": 29721, "subjectId": 12081})
    assert signal.related_to_user_id == 29721


def test_restricted_countries_are_countries() -> None:
    """CME's list is of real codes, and holds both countries where the page's name means two."""
    assert RESTRICTED <= ISO_CODES
    assert len(RESTRICTED) == 29
    assert {"CG", "CD", "SD", "SS"} <= RESTRICTED
    assert not {"RU", "VE", "MM", "US"} & RESTRICTED


def test_countries_are_asked_by_code() -> None:
    """A code is a country in capitals only, and a country that was not given is not restricted."""
    assert is_country("US")
    assert not is_country("us")
    assert is_restricted("US", None, "IR")
    assert not is_restricted("US", None)
