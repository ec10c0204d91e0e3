"""What the event models accept and refuse."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.events import EVENTS, TOPICS, NewUser, TraderPassed, TraderPurchased, UserRef
from schemas.events.left import TraderLeft
from schemas.events.signed import MdSigned
from schemas.faults import Fault, fault
from tests.support.processes import ROOT

FULL = EVENTS["trader.purchased"].examples[0]
PASSED = EVENTS["trader.passed"].examples[0]


def changed(body: Mapping[str, Any], path: str, *value: object) -> dict[str, Any]:
    """`body` with the field at `path` (dots) set to `value`, or taken out if there is none."""
    first, _, rest = path.partition(".")
    copy = dict(body)
    if rest:
        copy[first] = changed(copy.get(first) or {}, rest, *value)
    elif value:
        copy[first] = value[0]
    else:
        copy.pop(first, None)
    return copy


def refusal(topic: str, body: Mapping[str, Any]) -> Fault:
    """Why `body` is refused."""
    with pytest.raises(ValidationError) as caught:
        EVENTS[topic].model_validate(body)
    return fault(caught.value)


def test_topics_are_those_of_the_readme() -> None:
    """The README's table of topics has every input topic, in the same order."""
    table = (ROOT / "README.md").read_text().split("| topic | body", 1)[1].split("\n\n", 1)[0]
    assert tuple(re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)) == TOPICS


@pytest.mark.parametrize(("topic", "body"), [(t, body) for t, model in EVENTS.items() for body in model.examples])
def test_examples_are_good_and_survive_keeping(topic: str, body: Mapping[str, Any]) -> None:
    """Every example is a good event, and what the ledger keeps of it reads back as the same event."""
    event = EVENTS[topic].model_validate(body)
    assert type(event).restore(event.keep()) == event


def test_user_has_three_faces() -> None:
    """A purchase brings a new user, points at an existing one, or leaves the user out."""
    assert isinstance(TraderPurchased.model_validate(FULL).user, NewUser)
    known = TraderPurchased.model_validate(changed(FULL, "user", {"userId": 29721}))
    assert known.user == UserRef(userId=29721)
    assert known.ids.user_id == 29721
    assert TraderPurchased.model_validate(changed(FULL, "user")).user is None


def test_a_frozen_purchase_may_hold_product_and_account() -> None:
    """A purchase whose product was resolved reads back from the ledger with both, though a shop may not send both."""
    by_product = changed(changed(FULL, "account"), "product", "EVAL-50K")
    account = TraderPurchased.model_validate(FULL).account
    frozen = TraderPurchased.model_validate(by_product).model_copy(update={"account": account})
    assert TraderPurchased.restore(frozen.keep()) == frozen
    assert refusal("trader.purchased", changed(FULL, "product", "EVAL-50K")).path == "product"


PURCHASE_FAULTS = [
    ("orderId", (), "missing_field", "orderId"),
    ("orderId", (100234,), "wrong_type", "orderId"),
    ("orderId", ("",), "rule_broken", "orderId"),
    ("orderId", ("x" * 129,), "rule_broken", "orderId"),
    ("orderId", ("a\0b",), "rule_broken", "orderId"),
    ("traderId", (None,), "wrong_type", "traderId"),
    ("user", ("jane77",), "wrong_type", "user"),
    ("user", ([],), "wrong_type", "user"),
    ("user.userId", ("29721",), "wrong_type", "user.userId"),
    ("user.userId", (True,), "wrong_type", "user.userId"),
    ("user.userId", (5.0,), "wrong_type", "user.userId"),
    ("user.userId", (0,), "rule_broken", "user.userId"),
    ("user.userId", (2**63,), "rule_broken", "user.userId"),
    ("user.firstName", (), "missing_field", "user.firstName"),
    ("user.firstName", (" ",), "rule_broken", "user.firstName"),
    ("user.firstName", ("J" * 58,), "rule_broken", "user.firstName"),
    ("user.firstName", ("J" * 65,), "rule_broken", "user.firstName"),
    ("user.firstName", ("\ud800",), "wrong_type", "user.firstName"),
    ("user.email", ("jane",), "rule_broken", "user.email"),
    ("user.email", ("jane doe@example.com",), "rule_broken", "user.email"),
    ("user.password", ("short",), "rule_broken", "user.password"),
    ("contactInfo.state", (), "missing_field", "contactInfo.state"),
    ("contactInfo.state", ("",), "missing_field", "contactInfo.state"),
    ("contactInfo.country", ("USA",), "rule_broken", "contactInfo.country"),
    ("contactInfo.country", ("us",), "rule_broken", "contactInfo.country"),
    ("contactInfo.country", ("ZZ",), "rule_broken", "contactInfo.country"),
    ("contactInfo.city", (), "missing_field", "contactInfo.city"),
    ("contactInfo.phone", (15125550100,), "wrong_type", "contactInfo.phone"),
    ("contactInfo.firstName", ("J" * 58,), "rule_broken", "contactInfo.firstName"),
    ("account", (), "missing_field", "account"),
    ("account.templateAccountId", (), "missing_field", "account.templateAccountId"),
    ("account.templateAccountId", ("11",), "wrong_type", "account.templateAccountId"),
    ("account.initialBalance", ("50000",), "wrong_type", "account.initialBalance"),
    ("account.initialBalance", (True,), "wrong_type", "account.initialBalance"),
    ("account.initialBalance", (float("nan"),), "rule_broken", "account.initialBalance"),
    ("account.initialBalance", (float("inf"),), "rule_broken", "account.initialBalance"),
    ("account.initialBalance", (-1,), "rule_broken", "account.initialBalance"),
    ("account.name", ("eval1",), "rule_broken", "account.name"),
    ("account.name", ("EVAL",), "rule_broken", "account.name"),
    ("account.name", ("EVAL1\n",), "rule_broken", "account.name"),
    ("account.name", ("E" * 60 + "12345",), "rule_broken", "account.name"),
    ("account.balance", (1,), "unknown_field", "account.balance"),
    ("account.postTradeRisk.dailyLosAutoLiq", (1,), "unknown_field", "account.postTradeRisk.dailyLosAutoLiq"),
    ("account.postTradeRisk.trailingMaxDrawdownMode", ("eod",), "rule_broken", None),
    ("account.postTradeRisk.flattenTimestamp", ("2026-11-20T23:00:00",), "rule_broken", None),
    ("account.postTradeRisk.flattenTimestamp", (1700000000,), "wrong_type", None),
    ("account.postTradeRisk.doNotUnlock", (1,), "wrong_type", None),
    ("account.preTradeRisk", ({},), "wrong_type", "account.preTradeRisk"),
    ("account.preTradeRisk", ([{}],), "missing_field", "account.preTradeRisk[0].active"),
    (
        "account.preTradeRisk",
        ([{"active": True, "totalBy": "Overall", "parameters": [{"maxQty": 1}]}],),
        "unknown_field",
        "account.preTradeRisk[0].parameters[0].maxQty",
    ),
]


@pytest.mark.parametrize(("path", "value", "code", "named"), PURCHASE_FAULTS)
def test_a_bad_purchase_is_refused_by_name(path: str, value: tuple[object, ...], code: str, named: str | None) -> None:
    """Each rule for a purchase, broken, is refused with its code and the camelCase path of its field."""
    found = refusal("trader.purchased", changed(FULL, path, *value))
    assert (found.code, found.path) == (code, named or path)


def test_a_misspelt_limit_gets_a_hint() -> None:
    """A misspelt limit is refused in a sentence that tells the right spelling."""
    found = refusal("trader.purchased", changed(FULL, "account.postTradeRisk.dailyLosAutoLiq", 1))
    assert "did you mean dailyLossAutoLiq" in found.sentence


def test_a_hostile_field_name_is_not_repeated() -> None:
    """The name of an unknown field is repeated only if it looks like a field name: else it is the sender's own text."""
    found = refusal("trader.purchased", changed(FULL, "account", {"Jane Doe <jane@example.com>": 1, **FULL["account"]}))
    assert found.sentence == "account has an unknown field."


@pytest.mark.parametrize("place", ["", "user.", "contactInfo."])
def test_unknown_fields_are_ignored_elsewhere(place: str) -> None:
    """Unknown fields are ignored outside account and its risk blocks."""
    assert TraderPurchased.model_validate(changed(FULL, f"{place}more", {"x": 1})) == TraderPurchased.model_validate(
        FULL
    )


def test_an_integer_is_fine_where_a_double_is_asked() -> None:
    """50000 and 50000.0 are the same balance, and the same details of an order."""
    whole = TraderPurchased.model_validate(FULL)
    assert whole == TraderPurchased.model_validate(changed(FULL, "account.initialBalance", 50000.0))


def test_blank_optional_address_lines_pass() -> None:
    """A shop that sends empty strings for what a trader left blank is understood."""
    body = changed(changed(FULL, "contactInfo.streetAddress2", ""), "contactInfo.postCode", "")
    assert TraderPurchased.model_validate(body).contact_info is not None


def test_wire_names_are_camel_case_only() -> None:
    """A snake_case field is a misspelt one."""
    body = changed(changed(FULL, "account.templateAccountId"), "account.template_account_id", 11)
    assert refusal("trader.purchased", body).path == "account.templateAccountId"


OTHER_FAULTS = [
    ("trader.failed", {"orderId": "1"}, "missing_field", "traderId"),
    ("trader.failed", {"traderId": "t"}, "missing_field", "orderId"),
    ("trader.failed", {"traderId": "t", "tradingPermissionIds": []}, "missing_field", "orderId"),
    ("trader.failed", {"traderId": "t", "tradingPermissionIds": 5}, "wrong_type", "tradingPermissionIds"),
    ("trader.failed", {"traderId": "t", "tradingPermissionIds": [1, "2"]}, "wrong_type", "tradingPermissionIds[1]"),
    ("trader.failed", {"traderId": "t", "tradingPermissionIds": [1] * 1001}, "rule_broken", "tradingPermissionIds"),
    ("trader.failed", {"traderId": "t", "accountId": -1}, "rule_broken", "accountId"),
    ("trader.left", {}, "missing_field", "traderId"),
    ("trader.left", {"traderId": "t", "immediate": "true"}, "wrong_type", "immediate"),
    ("trader.left", {"traderId": "t", "immediate": 1}, "wrong_type", "immediate"),
    ("md.signed", {}, "missing_field", "userId"),
    ("md.signed", {"userId": 1, "signedAt": "2026-11-20"}, "rule_broken", "signedAt"),
    ("md.signed", {"userId": 1, "signedAt": "2026-13-20T00:00:00Z"}, "rule_broken", "signedAt"),
    ("md.signed", {"userId": 1, "signedAt": "0001-01-01T00:00:00+23:59"}, "rule_broken", "signedAt"),
    ("md.signed", {"userId": 1, "entitlementId": "5"}, "wrong_type", "entitlementId"),
    ("trader.passed", {"traderId": "t"}, "missing_field", "application"),
    ("account.assigned", {"accountId": 1}, "missing_field", "userId"),
    ("account.assigned", {"accountId": 1, "userId": 1.0}, "wrong_type", "userId"),
    ("permission.requested", {"accountId": 1, "ctaContact": "J"}, "missing_field", "ctaEmail"),
    ("permission.requested", {"accountId": 1, "ctaContact": "", "ctaEmail": "a@b"}, "rule_broken", "ctaContact"),
    ("account.reset", {"tradeDate": "2026-11-20"}, "missing_field", "accountId"),
    ("account.reset", {"accountId": 1}, "missing_field", "tradeDate"),
    ("account.reset", {"accountId": 1, "tradeDate": "20261120"}, "rule_broken", "tradeDate"),
    ("account.reset", {"accountId": 1, "tradeDate": "2026-02-30"}, "rule_broken", "tradeDate"),
    ("account.reset", {"accountId": 1, "tradeDate": {"year": 2026}}, "wrong_type", "tradeDate"),
    ("risk.changed", {"accountId": 1}, "missing_field", "postTradeRisk"),
    ("risk.changed", {"accountId": 1, "postTradeRisk": {}}, "rule_broken", "postTradeRisk"),
    ("risk.changed", {"accountId": 1, "postTradeRisk": {"doNotUnlock": None}}, "rule_broken", "postTradeRisk"),
    ("risk.changed", {"accountId": 1, "postTradeRisk": {"dailyLos": 1}}, "unknown_field", "postTradeRisk.dailyLos"),
    ("risk.changed", {"postTradeRisk": {"doNotUnlock": True}}, "missing_field", "accountId"),
    ("account.locked", {"accountId": 1, "reason": "r"}, "missing_field", "action"),
    ("account.locked", {"accountId": 1, "action": "close", "reason": "r"}, "rule_broken", "action"),
    ("account.locked", {"accountId": 1, "action": "lock", "reason": ""}, "rule_broken", "reason"),
    ("account.locked", {"action": "lock", "reason": "r"}, "missing_field", "accountId"),
    ("account.unlocked", {"orderId": "1"}, "missing_field", "reason"),
]


@pytest.mark.parametrize(("topic", "body", "code", "path"), OTHER_FAULTS)
def test_the_other_bad_events_are_refused_by_name(topic: str, body: dict[str, Any], code: str, path: str) -> None:
    """Each rule for the other events, broken, is refused with its code and field."""
    found = refusal(topic, body)
    assert (found.code, found.path) == (code, path)


PASSED_FAULTS = [
    ("traderId", (), "missing_field", "traderId"),
    ("application.firstName", ("J4ne",), "rule_broken", "application.firstName"),
    ("application.firstName", ("A" * 58,), "rule_broken", "application.firstName"),
    ("application.marginType", ("speculator",), "rule_broken", "application.marginType"),
    ("application.transferAmount", ("2500",), "wrong_type", "application.transferAmount"),
    ("application.authorizedIndividual", ("yes",), "wrong_type", "application.authorizedIndividual"),
    ("application.taxIdentifier", (), "missing_field", "application.taxIdentifier"),
    ("application.taxIdentifier", ("123-45-6789",), "rule_broken", "application.taxIdentifier"),
    ("application.taxIdentifier", (123456789,), "wrong_type", "application.taxIdentifier"),
    ("application.citizenship", ("DE",), "missing_field", "application.nationalId"),
    ("application.nationalId", (12,), "wrong_type", "application.nationalId"),
    ("application.state", (), "missing_field", "application.state"),
    ("application.birthDate", ({"year": 1990, "month": 1, "day": 1},), "wrong_type", "application.birthDate"),
    ("documents", ([1, 2],), "rule_broken", "documents"),
    ("documents", ([1, 2, "3"],), "wrong_type", "documents[2]"),
    ("documents", (["data:text/html;base64,AAAA"] * 3,), "rule_broken", "documents[0]"),
    ("documents", (["data:image/png;base64,AAA"] * 3,), "rule_broken", "documents[0]"),
    ("documents", (["data:image/png;base64,"] * 3,), "rule_broken", "documents[0]"),
    ("documents", (["data:image/png;base64," + "A" * 320_000] * 3,), "rule_broken", "documents"),
]


@pytest.mark.parametrize(("path", "value", "code", "named"), PASSED_FAULTS)
def test_a_bad_subaccount_request_is_refused_by_name(
    path: str, value: tuple[object, ...], code: str, named: str
) -> None:
    """Each rule for a subaccount request, broken, is refused before money could move."""
    found = refusal("trader.passed", changed(PASSED, path, *value))
    assert (found.code, found.path) == (code, named)


def test_each_tax_number_has_its_own_citizens() -> None:
    """The rule for nine digits holds for US citizens, that for national ids for all others; neither for the other."""
    foreign = changed(PASSED, "application.citizenship", "DE")
    for number in ("A", "A-12", "A" * 65):
        found = refusal("trader.passed", changed(foreign, "application.nationalId", number))
        assert (found.code, found.path) == ("rule_broken", "application.nationalId")
    known = changed(foreign, "application.nationalId", "T220001293")
    TraderPassed.model_validate(changed(known, "application.taxIdentifier", "12 345 678 901"))
    TraderPassed.model_validate(changed(PASSED, "application.nationalId", ""))


def test_a_leap_second_is_a_time() -> None:
    """RFC 3339 knows the second 60; it is held as the one before it, which is all that Python can tell."""
    event = MdSigned.model_validate({"userId": 1, "signedAt": "2016-12-31T23:59:60.5Z"})
    assert event.signed_at == datetime(2016, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)
    assert refusal("md.signed", {"userId": 1, "signedAt": "2016-12-31T23:58:60Z"}).code == "rule_broken"


def test_what_may_be_left_out_may_be_null() -> None:
    """`immediate` of a departure is false when it is null, as when it is not there."""
    assert TraderLeft.model_validate({"traderId": "t", "immediate": None}).immediate is False
    assert refusal("trader.left", {"traderId": "t", "immediate": 0}).code == "wrong_type"


def test_files_of_exactly_700_kib_pass() -> None:
    """Three files of 700 KiB together before base64 are accepted, and distinguished from ids."""
    big, rest = "A" * ((700 * 1024 - 6) // 3 * 4), 700 * 1024 - 6 - (700 * 1024 - 6) // 3 * 3
    pad = {0: "AAAA", 1: "AAAAAA==", 2: "AAAAAAA="}[rest]
    files = [f"data:image/png;base64,{big}", "data:text/plain;base64,AAAA", f"data:application/pdf;base64,{pad}"]
    event = TraderPassed.model_validate(changed(PASSED, "documents", files))
    assert event.files == tuple(files)
    assert event.document_ids is None


def test_names_of_all_scripts_pass() -> None:
    """Letters are letters in any script, beside spaces, hyphens, apostrophes and periods."""
    for name in ("Zoë", "O'Neil", "Smith-Jones Jr.", "Łukasz", "Мария"):
        assert (
            TraderPassed.model_validate(changed(PASSED, "application.firstName", name)).application.first_name == name
        )
