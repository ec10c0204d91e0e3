"""What a response proves: for every operation, its promised part and nothing else. And what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.partner.client import classify
from worker.partner.operation import Item, Operation
from worker.partner.operations import OPERATIONS
from worker.partner.response import read_reply
from worker.replies import Misdirected, Reply, Ticket, Unclear
from worker.results import Rejected, Result, Succeeded, Unknown

CONTACT = {
    "firstName": "Jane", "lastName": "Doe", "streetAddress1": "1 Main St", "city": "Austin", "country": "US",
    "phone": "+1 512 555-0100",
}  # fmt: skip
PERMISSION = {"id": 5, "accountId": 11, "userId": 7, "status": "Approved"}
LISTS = {
    "tradovateSubscriptionIds": [1],
    "userPluginIds": [],
    "marketDataSubscriptionIds": [],
    "tradingPermissionIds": [],
}

PROVEN: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "createEvaluationUsers": (
        [{"name": "a", "email": "a@b"}, {"name": "c", "email": "c@d"}],
        {"results": [{"userId": 1}, {"userId": 2, "errorText": ""}]},
    ),
    "createEvaluationAccounts": (
        [{"name": "E1", "userId": 1, "templateAccountId": 3}, {"name": "E2", "userId": 2, "templateAccountId": 3}],
        {"results": [{"accountId": 1, "tradingPermissionId": 3}, {"accountId": 2, "tradingPermissionId": 4}]},
    ),
    "createTradingPermission": ([{"accountId": 11, "userId": 7}], {"tradingPermission": PERMISSION}),
    "createTradingPermission@live": ([{"accountId": 11, "userId": 7}], {"tradingPermission": PERMISSION}),
    "requestTradingPermission": (
        [{"accountId": 11, "ctaContact": "x", "ctaEmail": "a@b"}],
        {"tradingPermission": {**PERMISSION, "status": "Requested"}},
    ),
    "updateContactInfo": ([{"userId": 7, **CONTACT}], {"contactInfo": {"id": 3, "userId": 7, **CONTACT}}),
    "addEntitlementSubscription": (
        [{"userId": 7, "entitlementId": 31}],
        {
            "errorCode": "Success",
            "entitlementSubscription": {"id": 1, "userId": 7, "entitlementId": 31, "approval": False},
        },
    ),
    "revokeTradingPermissions": ([{"tradingPermissionIds": [1]}, {"tradingPermissionIds": [2]}], {"ok": True}),
    "resetDemoAccountState": ([{"accountId": 11, "resetTradeDate": {}}], {"ok": True}),
    "cancelEverything": ([{"userId": 7}], LISTS),
    "cancelEverything@demo": ([{"userId": 7}], LISTS),
    "checkDuplicate": ([{"userId": 7}], {"ok": True}),
    "createPartnerSubaccountRequest": ([{"ctaUserId": 7}], {"requestId": 9, "status": "InReview"}),
    "submitPartnerSubaccountDocument": ([{"subAccountRequestId": 9}], {"documentId": 4}),
    "updateUserAutoLiqs": (
        [{"accountId": 11, "doNotUnlock": True}, {"accountId": 12, "doNotUnlock": True}],
        {"userAutoLiqs": [{"userAccountAutoLiq": {"id": 11}}, {"userAccountAutoLiq": {"id": 12}, "errorText": ""}]},
    ),
    "setAdminAutoLiqAction": (
        [{"accountId": 11, "adminAction": "Normal"}],
        {"accountRiskStatus": {"id": 11, "adminAction": "Normal", "adminTimestamp": "2026-11-20T12:00:00.000Z"}},
    ),
    "getPartnerSubaccountRequestStatus": ([{"subAccountRequestId": 9}], {"requestId": 9, "status": "InReview"}),
}
"""For each operation: items, and a response that proves all of them."""
PROVEN["addEntitlementSubscription@again"] = PROVEN["addEntitlementSubscription"]
PROVEN["setAdminAutoLiqAction@unlock"] = PROVEN["setAdminAutoLiqAction"]

SENT = [operation for operation in OPERATIONS.values() if operation.response.promises]
"""Without those that only look."""
VERIFIED = {"cancelEverything", "cancelEverything@demo"}
"""Operations whose response proves only that the call was carried out: what it did is looked up at once."""

PROVES_NOTHING: list[Any] = [
    {},
    {"error": "invalid_token"},
    {"message": "wait"},
    {"failureReason": "UnknownReason", "failureText": "Access is denied"},
    {"ok": None},
    {"ok": "true"},
    {"ok": 1},
    {"results": None},
    {"results": {}},
    {"results": [{}, {}]},
    {"results": [None, None]},
    {"results": []},
    {"results": "ok", "accountId": "many", "errorText": ""},
    {"tradingPermission": None},
    {"tradingPermission": {}},
    {"contactInfo": None},
    {"contactInfo": {}},
    {"entitlementSubscription": None},
    {"entitlementSubscription": {}},
    {"requestId": "9", "documentId": True, "status": None},
    {"requestId": 0, "documentId": -1, "status": ""},
    {"requestId": 2**63, "documentId": 2**63, "status": 5},
    dict.fromkeys(LISTS),
]


def read(operation: Operation, body: Any, items: Sequence[Item]) -> list[Result]:
    return list(operation.response.read(body, items))


def proven(result: Result, operation: Operation) -> bool:
    """Whether the result is a success, or carried out as far as a response can tell."""
    carried_out = isinstance(result, Unknown) and result.wait is not None and operation.name in VERIFIED
    return isinstance(result, Succeeded) or carried_out


def test_every_operation_has_a_case_and_states_its_proof() -> None:
    """A new declaration says which part of a response proves it, and needs a case here."""
    looks = {name for name in OPERATIONS if name.endswith("@find") or "@read" in name}
    assert set(OPERATIONS) - looks == set(PROVEN)
    assert {operation.name for operation in SENT} == set(PROVEN)


@pytest.mark.parametrize("name", PROVEN)
def test_the_promised_part_is_success(name: str) -> None:
    """A response with it proves each item."""
    items, body = PROVEN[name]
    results = read(OPERATIONS[name], body, items)
    assert len(results) == len(items)
    assert all(proven(result, OPERATIONS[name]) for result in results)


@pytest.mark.parametrize("name", PROVEN)
def test_anything_else_is_unknown(name: str) -> None:
    """An empty object, an error of another form, a null part and parts of wrong types prove nothing of any item."""
    items, _ = PROVEN[name]
    for body in [*PROVES_NOTHING, [], None, "ok", 7]:
        assert all(isinstance(result, Unknown) for result in read(OPERATIONS[name], body, items)), body
        assert not any(proven(result, OPERATIONS[name]) for result in read(OPERATIONS[name], body, items)), body


def _spoilt(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body with each of its parts left out, null, and of other types."""
    for name in body:
        yield {key: value for key, value in body.items() if key != name}
        other: Any
        for other in (None, {}, [], "", "x", 0, -1, 1.5, 2**63, [{}], {"id": None}):
            yield {**deepcopy(body), name: other}


@pytest.mark.parametrize("name", PROVEN)
def test_a_spoilt_promise_is_unknown(name: str) -> None:
    """Without a promised part, or with it null or of another type, no item is done."""
    items, body = PROVEN[name]
    operation = OPERATIONS[name]
    for spoilt in _spoilt({part: body[part] for part in operation.response.promises}):
        if spoilt in ({"ok": True}, body) or (
            operation.name in VERIFIED
            and set(spoilt) == set(LISTS)
            and [] in (spoilt.get(each) for each in LISTS if spoilt.get(each) != LISTS[each])
        ):  # an empty list is as good a list
            continue
        if name == "getPartnerSubaccountRequestStatus" and spoilt.get("status") == "x":
            continue  # a status that is yet to come is one
        assert not any(proven(result, operation) for result in read(operation, spoilt, items)), spoilt


def answered(operation: Operation, status: int, body: Any, items: Sequence[Item]) -> Sequence[Result]:
    """The results of a call that is answered so."""
    _, result = read_reply(operation, classify(status, json.dumps(body).encode(), reading=False), items)
    return result.results


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("name", set(PROVEN) - {"getPartnerSubaccountRequestStatus"})
def test_what_is_refused_and_granted_is_unknown(name: str, status: int) -> None:
    """An error text beside the promised part: taken for a rejection, the next event would ask for it a second time."""
    items, body = PROVEN[name]
    for said in ({"errorText": "Documents are outstanding"}, {"violations": ["Documents are outstanding"]}):
        assert all(isinstance(each, Unknown) for each in answered(OPERATIONS[name], status, {**body, **said}, items))
        assert not any(isinstance(each, Unknown) for each in answered(OPERATIONS[name], 200, said, items[:1]))


def test_the_id_that_a_refused_request_has_is_named() -> None:
    """An operator can ask Tradovate about it; a request without an id that counts is refused."""
    create = OPERATIONS["createPartnerSubaccountRequest"]
    [unknown] = answered(create, 200, {"errorText": "no", "requestId": 5}, [{"ctaUserId": 7}])
    assert isinstance(unknown, Unknown)
    assert "requestId 5" in unknown.text
    nothings: list[Any] = [None, 0, "", "x", {}, []]
    for nothing in nothings:
        [refused] = answered(create, 200, {"errorText": "no", "requestId": nothing}, [{"ctaUserId": 7}])
        assert refused == Rejected("no")


@pytest.mark.parametrize("name", PROVEN)
@pytest.mark.parametrize(
    ("status", "text"), [(200, "Request Timeout"), (200, "request timeout."), (400, "Request Timeout")]
)
def test_a_request_timeout_in_words_is_unknown(name: str, status: int, text: str) -> None:
    """The vendor's own text for a call that took too long (maintenance windows), of the call or of one item."""
    items, _ = PROVEN[name]
    for body in ({"errorText": text}, {"errorText": text, "results": []}):
        assert all(isinstance(each, Unknown) for each in answered(OPERATIONS[name], status, body, items))


def test_an_item_that_timed_out_is_unknown_alone() -> None:
    """The others of its batch have results of their own."""
    results = [{"userId": 1}, {"errorText": "Request Timeout"}, {"errorText": "name is taken"}]
    found = answered(USERS, 200, {"results": results}, THREE)
    assert [type(each) for each in found] == [Succeeded, Unknown, Rejected]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "error", "userId", "accountId", "status", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(sorted(PROVEN)), st.dictionaries(st.sampled_from(["error", "results", "data", "x"]), JSON))
def test_no_other_object_is_a_success(name: str, body: dict[str, Any]) -> None:
    """Whatever an object holds: without the promised part in its form, nothing is done and nothing is refused."""
    items, _ = PROVEN[name]
    for result in read(OPERATIONS[name], body, items):
        assert isinstance(result, Unknown) or (isinstance(result, Succeeded) and "results" in body)


# -- several items


USERS, ACCOUNTS = OPERATIONS["createEvaluationUsers"], OPERATIONS["createEvaluationAccounts"]
THREE: list[Item] = [{"name": f"E{n}", "userId": n, "email": f"{n}@x"} for n in range(3)]


@pytest.mark.parametrize("results", [[{"userId": 1}], [{"userId": n} for n in range(1, 5)]])
def test_another_number_of_results_proves_nothing(results: list[dict[str, Any]]) -> None:
    """Nothing but the order ties a result to its item."""
    assert all(isinstance(each, Unknown) for each in read(USERS, {"results": results}, THREE))


def test_an_id_that_two_results_share_belongs_to_none() -> None:
    """Both are looked up; the third is done. A trading permission that two accounts share likewise."""
    shared = read(USERS, {"results": [{"userId": 1}, {"userId": 2}, {"userId": 1}]}, THREE)
    assert [type(each) for each in shared] == [Unknown, Succeeded, Unknown]
    rows = [{"accountId": n + 1, "tradingPermissionId": 5 + n // 2} for n in range(3)]
    assert [type(each) for each in read(ACCOUNTS, {"results": rows}, THREE)] == [Unknown, Unknown, Succeeded]


def test_an_item_that_is_refused_and_granted_is_unknown() -> None:
    """An id beside an errorText: it may have been made."""
    results = [{"userId": 1, "errorText": "no"}, {"errorText": "no"}, {"errorText": 7}]
    found = read(USERS, {"results": results}, THREE)
    assert [type(each) for each in found] == [Unknown, Rejected, Unknown]


def test_an_account_may_come_without_its_trading_permission() -> None:
    """Then it gets one by a call of its own; a permission that cannot be read leaves the account unknown."""
    rows = [
        {"accountId": 1},
        {"accountId": 2, "tradingPermissionId": None},
        {"accountId": 3, "tradingPermissionId": "x"},
    ]
    found = read(ACCOUNTS, {"results": rows}, THREE)
    assert [type(each) for each in found] == [Succeeded, Succeeded, Unknown]


# -- agreement with what was asked for


@pytest.mark.parametrize(
    ("name", "part", "change"),
    [
        ("updateContactInfo", "contactInfo", {"id": None}),
        ("updateContactInfo", "contactInfo", {"phone": "512-555-0100", "state": "Texas"}),
        ("addEntitlementSubscription", "entitlementSubscription", {"id": None}),
    ],
)
def test_the_part_may_be_written_in_another_form(name: str, part: str, change: dict[str, Any]) -> None:
    """An entity without its optional id, or with values in another form, is a success if it is the item's."""
    items, body = PROVEN[name]
    (result,) = read(OPERATIONS[name], {**body, part: {**body[part], **change}}, items)
    assert isinstance(result, Succeeded)


@pytest.mark.parametrize(
    ("name", "part", "change"),
    [
        ("createTradingPermission", "tradingPermission", {"userId": 8}),
        ("createTradingPermission", "tradingPermission", {"accountId": 12}),
        ("createTradingPermission", "tradingPermission", {"status": "Revoked"}),
        ("createTradingPermission", "tradingPermission", {"status": "Suspended"}),
        ("requestTradingPermission", "tradingPermission", {"accountId": 12}),
        ("addEntitlementSubscription", "entitlementSubscription", {"userId": 1001}),
        ("addEntitlementSubscription", "entitlementSubscription", {"entitlementId": 32}),
        ("updateContactInfo", "contactInfo", {"userId": 8}),
        ("updateContactInfo", "contactInfo", {"id": None, "userId": None}),
        ("createTradingPermission", "tradingPermission", {"id": None}),
        ("addEntitlementSubscription", "entitlementSubscription", {"id": None, "userId": None}),
    ],
)
def test_the_part_is_that_of_the_item(name: str, part: str, change: dict[str, Any]) -> None:
    """An entity that says it is another one, or is not in force, proves nothing: it is looked up."""
    items, body = PROVEN[name]
    (result,) = read(OPERATIONS[name], {**body, part: {**body[part], **change}}, items)
    assert isinstance(result, Unknown)


@pytest.mark.parametrize("left", [{"id": 3}, {"id": 3, **CONTACT, "phone": "+15125550100", "city": "AUSTIN "}])
def test_contact_data_may_come_back_in_another_form(left: dict[str, Any]) -> None:
    """Signs, spaces and capitals are the partner's; what it leaves out contradicts nothing."""
    items, _ = PROVEN["updateContactInfo"]
    assert read(OPERATIONS["updateContactInfo"], {"contactInfo": left}, items) == [Succeeded()]


def test_a_possible_duplicate_is_shown_by_ok_alone() -> None:
    """`ok: false` of the duplicate check is documented; elsewhere, without an errorText, it says nothing."""
    assert isinstance(read(OPERATIONS["checkDuplicate"], {"ok": False}, [{}])[0], Rejected)
    for name in ("revokeTradingPermissions", "resetDemoAccountState"):
        assert isinstance(read(OPERATIONS[name], {"ok": False}, [{}])[0], Unknown)


# -- what was recorded


RECORDED = [
    json.loads(line) for line in (Path(__file__).parent.parent / "recorded" / "calls.jsonl").read_text().splitlines()
]


def _reply(case: dict[str, Any], operation: Operation, items: Sequence[Item]) -> Reply:
    body = case["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return read_reply(operation, classify(int(case["status"]), raw, reading=False), items)[0]


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: f"{case['what'].split()[-1]} {case['status']}")
def test_what_was_recorded_is_read_right(case: dict[str, Any]) -> None:
    """Each recorded response to a call has the reading that is written beside it."""
    name = case["what"].removeprefix("call answer of ")
    operation = OPERATIONS[name] if name != "any operation" else USERS
    items = PROVEN[operation.name][0]
    reply = _reply(case, operation, items)
    right: str = case["right"]
    match right.partition(":")[0]:
        case "not executed":
            assert isinstance(reply, Misdirected)
        case "unknown":
            assert isinstance(reply, Unclear)
        case "a ticket with captcha":
            assert isinstance(reply, Ticket)
            assert reply.captcha
        case _:
            assert right.startswith("first rejected with 'Not  welcome'")
            assert read(operation, getattr(reply, "body", None), items) == [
                Rejected("Not  welcome"),
                Succeeded({"userId": 1}),
            ]
