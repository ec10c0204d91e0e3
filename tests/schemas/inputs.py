"""Inputs with the verdict that intake and the schemas have to give: good, bad, or bad with a rule that no schema says.

Each begins as an example; one field of it is changed, added or taken out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.countries import ISO_CODES
from schemas.examples import EVENT_EXAMPLES

VALIDATORS: Final = ("jsonschema", "ajv")


@dataclass(frozen=True)
class Input:
    """The text of a value. `good`: intake accepts it. `accepted_by`: the validators that accept it all the same.

    `rule`: begins the sentence of the rule that they do not know.
    """

    topic: str
    name: str
    text: str
    good: bool
    accepted_by: tuple[str, ...] = ()
    rule: str = ""


ABSENT: Final = object()


def changed(body: Mapping[str, Any], path: str, value: object) -> dict[str, Any]:
    """`body` with the field at `path` (dots) set to `value`, or taken out."""
    first, _, rest = path.partition(".")
    copy = dict(body)
    if rest:
        copy[first] = changed(copy.get(first) or {}, rest, value)
    elif value is ABSENT:
        copy.pop(first, None)
    else:
        copy[first] = value
    return copy


_START: Final[Mapping[str, Mapping[str, Any]]] = {
    "purchase": EVENT_EXAMPLES["trader.purchased"][0],
    "by product": EVENT_EXAMPLES["trader.purchased"][1],
    "failed": EVENT_EXAMPLES["trader.failed"][0],
    "left": EVENT_EXAMPLES["trader.left"][0],
    "signed": EVENT_EXAMPLES["md.signed"][0],
    "passed": EVENT_EXAMPLES["trader.passed"][0],
    "passed abroad": EVENT_EXAMPLES["trader.passed"][1],
    "assigned": EVENT_EXAMPLES["account.assigned"][0],
    "requested": EVENT_EXAMPLES["permission.requested"][0],
    "reset": EVENT_EXAMPLES["account.reset"][0],
}
_TOPICS: Final = {
    "purchase": "trader.purchased", "by product": "trader.purchased", "failed": "trader.failed", "left": "trader.left",
    "signed": "md.signed", "passed": "trader.passed", "passed abroad": "trader.passed", "assigned": "account.assigned",
    "requested": "permission.requested", "reset": "account.reset",
}  # fmt: skip

_PNG: Final = "data:image/png;base64,"
_FULL_USER: Final = EVENT_EXAMPLES["trader.purchased"][0]["user"]
_LIMIT: Final = {"active": True, "totalBy": "Overall", "parameters": []}

_GOOD: Final[tuple[tuple[str, str, object], ...]] = (
    ("purchase", "user", ABSENT),
    ("purchase", "user", None),
    ("purchase", "user", {"userId": 5}),
    ("purchase", "user", {"userId": 5, "name": 7}),
    ("purchase", "user", {**_FULL_USER, "userId": 5}),
    ("purchase", "user.userId", None),
    ("purchase", "user.more", {"unknown": True}),
    ("purchase", "user.firstName", "J" * 57),
    ("purchase", "user.name", "\u00a0jane\u3000"),
    ("purchase", "user.email", "ä@ö"),
    ("purchase", "user.password", "12345678"),
    ("purchase", "user.password", None),
    ("purchase", "contactInfo", None),
    ("purchase", "contactInfo.streetAddress2", ""),
    ("purchase", "contactInfo.streetAddress1", "line\nline\n"),
    ("purchase", "contactInfo.country", "XK"),
    ("purchase", "contactInfo.mailingCountry", "DE"),
    ("purchase", "contactInfo.mailingCountry", None),
    ("purchase", "contactInfo.mailingIsDifferent", True),
    ("purchase", "contactInfo.unknown", [1]),
    ("purchase", "product", None),
    ("purchase", "account.initialBalance", 0),
    ("purchase", "account.initialBalance", 50000.5),
    ("purchase", "account.initialBalance", 5e4),
    ("purchase", "account.name", "EVAL1"),
    ("purchase", "account.name", "E" * 32 + "1" * 32),
    ("purchase", "account.preTradeRisk", None),
    ("purchase", "account.preTradeRisk", []),
    ("purchase", "account.preTradeRisk", [_LIMIT]),
    ("purchase", "account.preTradeRisk", [{**_LIMIT, "shortLimit": -(2**31), "parameters": [{"maxBackMonth": 3}]}]),
    ("purchase", "account.postTradeRisk", {}),
    ("purchase", "account.postTradeRisk.trailingMaxDrawdownMode", "SteppedEOD"),
    ("purchase", "account.postTradeRisk.doNotUnlock", True),
    ("purchase", "account.postTradeRisk.flattenTimestamp", "2026-11-20T23:00:00Z"),
    ("purchase", "eventId", "x" * 128),
    ("purchase", "unknown", None),
    ("by product", "account", None),
    ("failed", "reason", None),
    ("failed", "reason", ""),
    ("failed", "accountId", None),
    ("failed", "tradingPermissionIds", []),
    ("failed", "tradingPermissionIds", [1, 2**63 - 1025]),
    ("left", "userId", 2**53),
    ("left", "specversion", "1.0"),
    ("left", "immediate", None),
    ("left", "immediate", True),
    ("signed", "signedAt", None),
    ("signed", "signedAt", "2026-11-20t15:18:56z"),
    ("signed", "signedAt", "2026-11-20 15:18:56.123456789+23:59"),
    ("signed", "signedAt", "2016-12-31T23:59:60Z"),
    ("signed", "signedAt", "2024-02-29T00:00:00-05:30"),
    ("signed", "entitlementId", 1),
    ("passed", "userId", 29721),
    ("passed", "orderId", None),
    ("passed", "documents", ABSENT),
    ("passed", "documents", None),
    ("passed", "documents", []),
    ("passed", "documents", [f"{_PNG}AAAA", f"{_PNG}AAA=", "data:text/plain;base64,AA=="]),
    ("passed", "application.nationalId", "what nobody reads"),
    ("passed", "application.transferAmount", 0),
    ("passed", "application.birthDate", "2000-02-29"),
    ("passed", "application.firstName", "José"),
    ("passed", "application.firstName", "Jose\u0301"),
    ("passed", "application.firstName", "李"),
    ("passed", "application.firstName", "𠮷田"),
    ("passed", "application.firstName", "佐々木"),
    ("passed", "application.firstName", "O'Neil-D’Arcy Jr."),
    ("passed", "application.firstName", "Мария"),
    ("passed", "application.firstName", "अमित"),
    ("passed", "application.firstName", "محمد"),
    ("passed", "application.firstName", "Ὀδυσσεύς"),
    ("passed", "application.firstName", "ʻOkina"),
    ("passed", "application.firstName", " A"),
    ("passed abroad", "application.taxIdentifier", "12 345 678 901"),
    ("passed abroad", "application.nationalId", "A1"),
    ("requested", "ctaEmail", "a@b"),
    ("reset", "orderId", "100234"),
    ("reset", "tradeDate", "0001-01-01"),
    ("reset", "tradeDate", "9999-12-31"),
)

_BAD: Final[tuple[tuple[str, str, object], ...]] = (
    ("purchase", "eventId", ""),
    ("purchase", "eventId", "x" * 129),
    ("purchase", "eventId", "e\0"),
    ("purchase", "eventId", 1),
    ("purchase", "orderId", ABSENT),
    ("purchase", "orderId", None),
    ("purchase", "orderId", 100234),
    ("purchase", "orderId", ""),
    ("purchase", "orderId", "x" * 129),
    ("purchase", "orderId", "a\0b"),
    ("purchase", "traderId", None),
    ("purchase", "user", "jane77"),
    ("purchase", "user", []),
    ("purchase", "user", {}),
    ("purchase", "user", {"userId": None}),
    ("purchase", "user", {**_FULL_USER, "userId": "x"}),
    ("purchase", "user", {**_FULL_USER, "userId": 0}),
    ("purchase", "user.userId", True),
    ("purchase", "user.name", "\u3000"),
    ("purchase", "user.name", "\u0085"),
    ("purchase", "user.name", "\u001c"),
    ("purchase", "user.name", "\ufeff"),
    ("purchase", "user.firstName", ABSENT),
    ("purchase", "user.firstName", " "),
    ("purchase", "user.firstName", "J" * 65),
    ("purchase", "user.lastName", None),
    ("purchase", "user.email", "jane"),
    ("purchase", "user.email", "a@b@c"),
    ("purchase", "user.email", "a b@c"),
    ("purchase", "user.email", "a\u2003b@c"),
    ("purchase", "user.email", "a@b\n"),
    ("purchase", "user.email", "a@" + "b" * 319),
    ("purchase", "user.password", "short"),
    ("purchase", "contactInfo", []),
    ("purchase", "contactInfo.state", ABSENT),
    ("purchase", "contactInfo.state", None),
    ("purchase", "contactInfo.state", " "),
    ("purchase", "contactInfo.country", "ZZ"),
    ("purchase", "contactInfo.country", "us"),
    ("purchase", "contactInfo.country", "USA"),
    ("purchase", "contactInfo.country", None),
    ("purchase", "contactInfo.mailingCountry", "UK"),
    ("purchase", "contactInfo.city", ABSENT),
    ("purchase", "contactInfo.phone", 15125550100),
    ("purchase", "contactInfo.mailingIsDifferent", "true"),
    ("purchase", "account", ABSENT),
    ("purchase", "account", None),
    ("purchase", "product", "EVAL-50K"),
    ("purchase", "product", ""),
    ("purchase", "account.templateAccountId", ABSENT),
    ("purchase", "account.templateAccountId", "11"),
    ("purchase", "account.templateAccountId", 11.5),
    ("purchase", "account.templateAccountId", True),
    ("purchase", "account.templateAccountId", 0),
    ("purchase", "account.initialBalance", "50000"),
    ("purchase", "account.initialBalance", True),
    ("purchase", "account.initialBalance", -1),
    ("purchase", "account.initialBalance", None),
    ("purchase", "account.name", "eval1"),
    ("purchase", "account.name", "EVAL"),
    ("purchase", "account.name", "EVAL1\n"),
    ("purchase", "account.name", "EVAL١"),
    ("purchase", "account.name", "E" * 64 + "1"),
    ("purchase", "account.balance", 1),
    ("purchase", "account.templateAccountID", 11),
    ("purchase", "account.preTradeRisk", {}),
    ("purchase", "account.preTradeRisk", [{}]),
    ("purchase", "account.preTradeRisk", [{**_LIMIT, "active": None}]),
    ("purchase", "account.preTradeRisk", [{**_LIMIT, "totalBy": "overall"}]),
    ("purchase", "account.preTradeRisk", [{**_LIMIT, "shortLimit": 2**31}]),
    ("purchase", "account.preTradeRisk", [{**_LIMIT, "parameters": [{"maxQty": 1}]}]),
    ("purchase", "account.preTradeRisk", [_LIMIT] * 1001),
    ("purchase", "account.postTradeRisk.dailyLosAutoLiq", 1),
    ("purchase", "account.postTradeRisk.trailingMaxDrawdownMode", "eod"),
    ("purchase", "account.postTradeRisk.flattenTimestamp", "2026-11-20T23:00:00"),
    ("purchase", "account.postTradeRisk.flattenTimestamp", 1700000000),
    ("purchase", "account.postTradeRisk.doNotUnlock", 1),
    ("by product", "product", None),
    ("by product", "product", ABSENT),
    ("by product", "product", 5),
    ("failed", "traderId", ABSENT),
    ("failed", "orderId", ABSENT),
    ("failed", "orderId", None),
    ("failed", "accountId", -1),
    ("failed", "tradingPermissionIds", 5),
    ("failed", "tradingPermissionIds", [1, "2"]),
    ("failed", "tradingPermissionIds", [1, None]),
    ("failed", "tradingPermissionIds", [0]),
    ("failed", "tradingPermissionIds", [1] * 1001),
    ("failed", "reason", 5),
    ("left", "traderId", ABSENT),
    ("left", "traderId", None),
    ("left", "userId", "5"),
    ("left", "immediate", "true"),
    ("left", "immediate", 1),
    ("signed", "userId", ABSENT),
    ("signed", "userId", None),
    ("signed", "signedAt", "2026-11-20"),
    ("signed", "signedAt", "2026-13-20T00:00:00Z"),
    ("signed", "signedAt", "2026-11-31T00:00:00Z"),
    ("signed", "signedAt", "2023-02-29T00:00:00Z"),
    ("signed", "signedAt", "2026-11-20T24:00:00Z"),
    ("signed", "signedAt", "2016-12-31T23:58:60Z"),
    ("signed", "signedAt", "2026-11-20T15:18:56+24:00"),
    ("signed", "signedAt", "2026-11-20T15:18:56+05:60"),
    ("signed", "signedAt", "2026-11-20T15:18:56Z\n"),
    ("signed", "signedAt", 1700000000),
    ("signed", "entitlementId", "5"),
    ("passed", "traderId", ABSENT),
    ("passed", "traderId", None),
    ("passed", "application", ABSENT),
    ("passed", "application", None),
    ("passed", "application.riskCategoryId", ABSENT),
    ("passed", "application.marginType", "speculator"),
    ("passed", "application.transferAmount", "2500"),
    ("passed", "application.transferAmount", -0.5),
    ("passed", "application.authorizedIndividual", "yes"),
    ("passed", "application.firstName", "J4ne"),
    ("passed", "application.firstName", "J_ne"),
    ("passed", "application.firstName", "Jane\n"),
    ("passed", "application.firstName", "Jane\u00a0Doe"),
    ("passed", "application.firstName", "Jané٣"),
    ("passed", "application.firstName", "Jane™"),
    ("passed", "application.firstName", "Jane×"),
    ("passed", "application.firstName", " .'-"),
    ("passed", "application.firstName", ""),
    ("passed", "application.firstName", "李" * 65),
    ("passed", "application.country", "ZZ"),
    ("passed", "application.citizenship", "us"),
    ("passed", "application.citizenship", "DE"),
    ("passed", "application.state", ABSENT),
    ("passed", "application.state", " "),
    ("passed", "application.taxIdentifier", ABSENT),
    ("passed", "application.taxIdentifier", None),
    ("passed", "application.taxIdentifier", "123-45-6789"),
    ("passed", "application.taxIdentifier", "123456789\n"),
    ("passed", "application.taxIdentifier", "١٢٣٤٥٦٧٨٩"),
    ("passed", "application.taxIdentifier", 123456789),
    ("passed", "application.birthDate", "1990-04-31"),
    ("passed", "application.birthDate", "1900-02-29"),
    ("passed", "application.birthDate", "0000-01-01"),
    ("passed", "application.birthDate", "19900401"),
    ("passed", "application.birthDate", "1990-04-01T00:00:00Z"),
    ("passed", "application.birthDate", {"year": 1990, "month": 4, "day": 1}),
    ("passed", "documents", [1]),
    ("passed", "documents", [1, 2]),
    ("passed", "documents", [1, 2, 3, 4]),
    ("passed", "documents", [1, 2, "3"]),
    ("passed", "documents", [0, 1, 2]),
    ("passed", "documents", "data:image/png;base64,AAAA"),
    ("passed", "documents", [f"{_PNG}AAAA"] * 2),
    ("passed", "documents", [f"{_PNG}AAA"] * 3),
    ("passed", "documents", [f"{_PNG}AAAAA=="] * 3),
    ("passed", "documents", [f"{_PNG}A==="] * 3),
    ("passed", "documents", [f"{_PNG}AA=A"] * 3),
    ("passed", "documents", [_PNG] * 3),
    ("passed", "documents", [f"{_PNG}AAAA\n"] * 3),
    ("passed", "documents", ["data:text/html;base64,AAAA"] * 3),
    ("passed abroad", "application.nationalId", ABSENT),
    ("passed abroad", "application.nationalId", "A-12"),
    ("passed abroad", "application.nationalId", "A"),
    ("passed abroad", "application.nationalId", "A" * 65),
    ("passed abroad", "application.nationalId", 12),
    ("assigned", "accountId", ABSENT),
    ("assigned", "userId", "1"),
    ("requested", "ctaContact", ""),
    ("requested", "ctaEmail", ABSENT),
    ("requested", "accountId", None),
    ("reset", "accountId", ABSENT),
    ("reset", "accountId", None),
    ("reset", "tradeDate", ABSENT),
    ("reset", "tradeDate", "20261120"),
    ("reset", "tradeDate", "2026-02-30"),
    ("reset", "tradeDate", {"year": 2026}),
)

_NAMES = "firstName and lastName together must be at most 60 characters"
_HALF: Final = "A" * (350 * 1024 // 3 * 4 + 4)

_ONLY_INTAKE: Final[tuple[tuple[str, str, object, str], ...]] = (
    ("purchase", "account.templateAccountId", 11.0, "a whole number has no fraction"),
    ("failed", "tradingPermissionIds", [1.0], "a whole number has no fraction"),
    ("assigned", "userId", 1e3, "a whole number has no fraction"),
    ("purchase", "user.firstName", "J" * 58, f"NewUser: {_NAMES}"),
    ("purchase", "contactInfo", {**_START["purchase"]["contactInfo"], "firstName": "J" * 30, "lastName": "D" * 31},
     f"ContactInfo: {_NAMES}"),
    ("purchase", "contactInfo", {**_START["purchase"]["contactInfo"], "jointFirstName": "J", "jointLastName": "D" * 60},
     "ContactInfo: jointFirstName and jointLastName together must be at most 60 characters"),
    ("purchase", "contactInfo.firstName", "J" * 58, "TraderPurchased: a name in contactInfo"),
    ("passed", "application.firstName", "J" * 58, f"Application: {_NAMES}"),
    ("passed", "documents", [_PNG + _HALF] * 2 + [f"{_PNG}AAAA"], "must be at most 700 KiB together"),
    ("signed", "signedAt", "0001-01-01T00:00:00+23:59", "must be in the years 1 to 9999"),
    ("by product", "product", "EVAL-1M", "`product` names a product"),
    ("left", "eventId", ABSENT, "the event has an id"),
    ("left", "eventId", None, "the event has an id"),
    ("left", "unknown", "x" * 1_048_577, "the value has at most 1 MiB"),
)  # fmt: skip


def _example(start: str, path: str, value: object) -> tuple[str, str, str]:
    shown = "absent" if value is ABSENT else json.dumps(value, ensure_ascii=False)
    name = f"{start}: {path} = {shown[:60]}"
    return _TOPICS[start], name, json.dumps(changed(_START[start], path, value))


def inputs() -> Iterator[Input]:
    """All of them."""
    for topic, bodies in EVENT_EXAMPLES.items():
        for number, body in enumerate(bodies):
            yield Input(topic, f"{topic}: example {number}", json.dumps(body), good=True)
    for code in sorted(ISO_CODES):
        yield Input(*_example("passed", "application.country", code), good=True)
    for case in _GOOD:
        yield Input(*_example(*case), good=True)
    for case in _BAD:
        yield Input(*_example(*case), good=False)
    for start, path, value, rule in _ONLY_INTAKE:
        yield Input(*_example(start, path, value), good=False, accepted_by=VALIDATORS, rule=rule)
    for text in ("null", "[]", '"text"', "5", "true"):
        yield Input("trader.left", f"the value is {text}", text, good=False)
    left = json.dumps(_START["left"])[:-1]
    for name, end, rule, accepted_by in (
        ("half a surrogate pair", '"reason": "\\ud800"', "a text is valid Unicode", VALIDATORS),
        ("a number beyond doubles", '"unknown": 1e400', "a number is not larger than a double", VALIDATORS),
        ("nested too deeply", f'"unknown": {"[" * 1100}{"]" * 1100}', "the value is JSON, nested at most", ("ajv",)),
        ("data without an event", '"specversion": "1.0", "data": {}', "an object with `specversion`", VALIDATORS),
        ("an id of 2^63", f'"userId": {2**63}', "an id is at most", ("ajv",)),
    ):
        yield Input("trader.left", name, f"{left}, {end}}}", good=False, accepted_by=accepted_by, rule=rule)
