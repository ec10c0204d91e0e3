"""The operations behind the seven other events: bodies, answers, look-ups, held to the partner's habits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.chicago import day_in_chicago
from tests.support.reader import FakeReader, look
from worker.partner.operation import Resend
from worker.partner.operations import OPERATIONS
from worker.replies import Misdirected, Refusal, Unclear
from worker.results import NotExecuted, Rejected, Succeeded, Unknown

REVOKE = OPERATIONS["revokeTradingPermissions"]
FIND = OPERATIONS["revokeTradingPermissions@find"]
LIVE = OPERATIONS["cancelEverything"]
DEMO = OPERATIONS["cancelEverything@demo"]
ADD = OPERATIONS["addEntitlementSubscription"]
RESET = OPERATIONS["resetDemoAccountState"]


def items_of(rows: list[dict[str, Any]], most: int = 10) -> Callable[[Mapping[str, Any]], Any]:
    """`items` as it was measured: 404 above ten ids, backwards, without what is not there."""

    def answer(query: Mapping[str, Any]) -> Any:
        ids = [int(each) for each in str(query["ids"]).split(",")]
        return Misdirected("", 404) if len(ids) > most else [row for row in reversed(rows) if row["id"] in ids]

    return answer


# -- revocations


def test_a_revocation_names_each_permission_once() -> None:
    """Two events may mean the same permission."""
    body = REVOKE.request([{"tradingPermissionIds": [1, 2]}, {"tradingPermissionIds": [2, 3]}])
    assert body == {"tradingPermissionIds": [1, 2, 3]}


@pytest.mark.parametrize("body", [{}, {"ok": None}, {"ok": "yes"}, [], None])
def test_an_answer_without_ok_is_unclear(body: Any) -> None:
    """A SimpleResponse says `ok`, or nobody knows."""
    for operation in (REVOKE, RESET):
        assert all(isinstance(each, Unknown) for each in operation.response.read(body, [{}, {}]))
    assert REVOKE.response.read({"ok": True}, [{}, {}]) == [Succeeded(), Succeeded()]


async def test_revoked_permissions_are_found_however_items_answers() -> None:
    """Ten ids a read, in any order, fewer than asked; each event is judged by its own permissions."""
    rows = [{"id": n, "status": "Revoked" if n != 7 else "Accepted"} for n in range(1, 26)]
    reader = FakeReader({"/tradingPermission/items": items_of(rows)})
    found = await look(REVOKE, reader, *({"tradingPermissionIds": [n]} for n in (*range(1, 26), 99)))
    assert [index + 1 for index, each in enumerate(found) if isinstance(each, NotExecuted)] == [7, 26]
    # Three reads of ten, one for the id that nobody answered, and one that shows that the host answers at all.
    assert len(reader.asked) == 5


async def test_items_that_answer_404_are_asked_one_by_one() -> None:
    """An answer of 404 for many is believed of none of them."""
    row = {"id": 3, "status": "Revoked"}
    reader = FakeReader(
        {"/tradingPermission/item": lambda query: row if query["id"] == 3 else Misdirected("", 404)},
    )
    found = await look(REVOKE, reader, {"tradingPermissionIds": [3]}, {"tradingPermissionIds": [4]})
    assert found == [Succeeded(), NotExecuted()]


async def test_permissions_are_found_by_account_by_name_and_by_id() -> None:
    """And an account that is not there is not reported as one."""
    on = {11: [{"id": 21, "userId": 5, "status": "Accepted"}], 12: []}

    def permissions(query: Mapping[str, Any]) -> Any:
        rows = on.get(query["accountId"])
        return Refusal("Account not found") if rows is None else {"tradingPermissions": rows}

    reader = FakeReader(
        {
            "/user/getaccounttradingpermissions": permissions,
            "/account/find": {"id": 12, "name": "EVAL1"},
            "/tradingPermission/item": {"id": 31, "userId": 6, "accountId": 13, "status": "Revoked"},
        }
    )
    (found,) = await look(FIND, reader, {"_accounts": [11, 99], "_name": "EVAL1", "_ids": [31]})
    assert found == Succeeded({"found": [[31, 6, 13, "Revoked"], [21, 5, 11, "Accepted"]], "accounts": [11, 12]})


UNSAID: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("addEntitlementSubscription", {"userId": 5, "entitlementId": 31}, {"/userPlugin/deps": [{"id": 1, "userId": 5}]}),
    (
        "requestTradingPermission",
        {"accountId": 11, "ctaEmail": "x@y"},
        {"/user/getaccounttradingpermissions": {"tradingPermissions": [{"id": 21, "userId": 5, "status": "Approved"}]}},
    ),
    (
        "requestTradingPermission",
        {"accountId": 11, "ctaEmail": "x@y"},
        {"/user/getaccounttradingpermissions": {"tradingPermissions": [{"id": 21, "accountId": 12, "ctaEmail": "z"}]}},
    ),
    ("createTradingPermission", {"accountId": 11, "userId": 5}, {"/tradingPermission/deps": [{"id": 1, "userId": 5}]}),
    (
        "createTradingPermission",
        {"accountId": 11, "userId": 5},
        {"/tradingPermission/deps": [{"id": 1, "userId": 6, "accountId": 11, "status": "Approved"}]},
    ),
    *(
        (
            "createEvaluationAccounts",
            {"name": "EVAL1", "userId": 5, "templateAccountId": 3, "_derived": "EVAL1", "_free": free},
            {
                "/account/find": {"id": 11, "name": "EVAL1"},
                "/tradingPermission/deps": permissions,
                "/user/getaccounttradingpermissions": {"tradingPermissions": on_it},
            },
        )
        for free, permissions, on_it in (
            (True, [{"id": 1, "accountId": 11, "userId": 5}], []),  # no status: it may be revoked
            (True, [], [{"id": 1}]),  # no user: it may be ours
        )
    ),
    ("cancelEverything@demo", {"userId": 5}, {"/tradingPermission/deps": [{"id": 1, "userId": 6, "accountId": 1}]}),
]


@pytest.mark.parametrize(("name", "item", "answers"), UNSAID)
async def test_what_a_row_does_not_say_is_not_guessed(name: str, item: dict[str, Any], answers: dict[str, Any]) -> None:
    """It may be what was asked for, or another's: it is neither sent a second time nor reported."""
    (found,) = await look(OPERATIONS[name], FakeReader(answers), item)
    assert isinstance(found, Unknown)


async def test_an_unreadable_account_leaves_its_neighbours_alone() -> None:
    """One read that fails is one event that is looked up again."""

    def permissions(query: Mapping[str, Any]) -> Any:
        return Unclear("HTTP 500", 500) if query["accountId"] == 1 else {"tradingPermissions": []}

    reader = FakeReader({"/user/getaccounttradingpermissions": permissions})
    wanted = ({"_accounts": [n], "_name": None, "_ids": []} for n in (1, 2))
    one, two = await look(FIND, reader, *wanted)
    assert isinstance(one, Unknown)
    assert isinstance(two, Succeeded)


# -- departures


def test_all_four_flags_are_always_sent() -> None:
    """What a missing one means differs from page to page."""
    body = LIVE.request([{"userId": 1}, {"userId": 1}, {"userId": 2}])
    assert body["userIds"] == [1, 2]
    assert [value for name, value in body.items() if name != "userIds"] == [True] * 4
    assert LIVE.batching.most == 100


def test_an_answer_proves_nothing_and_is_verified_at_once() -> None:
    """Neither an id in it nor one that is missing; without its four lists it is unclear."""
    lists: dict[str, list[int]] = {"tradovateSubscriptionIds": [], "userPluginIds": [], "marketDataSubscriptionIds": []}
    (whole,) = LIVE.response.read({**lists, "tradingPermissionIds": []}, [{}])
    (half,) = LIVE.response.read(lists, [{}])
    assert isinstance(whole, Unknown)
    assert whole.wait == timedelta(0)
    assert isinstance(half, Unknown)
    assert half.wait is None


TODAY = day_in_chicago(datetime.now(UTC))
TOMORROW = TODAY + timedelta(days=1)


def day(of: Any) -> dict[str, int]:
    return {"year": of.year, "month": of.month, "day": of.day}


@pytest.mark.parametrize(
    ("path", "row", "gone"),
    [
        ("tradovateSubscription", {"cancelledRenewal": False, "expirationDate": day(TOMORROW)}, False),
        ("tradovateSubscription", {"cancelledRenewal": True, "expirationDate": day(TOMORROW)}, True),
        ("tradovateSubscription", {"cancelledRenewal": False, "expirationDate": day(TODAY)}, True),
        ("userPlugin", {"autorenewal": True, "approval": True, "expirationDate": f"{TOMORROW}T00:00:00Z"}, False),
        ("userPlugin", {"autorenewal": True, "approval": True, "expirationDate": f"{TODAY}T00:00:00Z"}, True),
        ("userPlugin", {"approval": False}, True),
    ],
)
async def test_what_counts_as_gone(path: str, row: dict[str, Any], gone: bool) -> None:
    """Marked as ended, or over by its date."""
    reader = FakeReader({f"/{path}/deps": [{"id": 1, "userId": 5, **row}]})
    (found,) = await look(LIVE, reader, {"userId": 5})
    assert isinstance(found, Succeeded) == gone
    assert isinstance((await look(DEMO, FakeReader({}), {"userId": 5}))[0], Succeeded)


async def test_departures_are_verified_in_bulk() -> None:
    """A read or two for a hundred users and each kind; one who still has something is distinguished."""
    rows = [{"id": 1, "userId": 7, "expired": False, "year": 2999, "month": 1}]
    reader = FakeReader(
        {"/tradovateSubscription/ldeps": [], "/userPlugin/ldeps": [], "/marketDataSubscription/ldeps": rows}
    )
    found = await look(LIVE, reader, *({"userId": n} for n in range(1, 101)))
    assert [index + 1 for index, each in enumerate(found) if isinstance(each, NotExecuted)] == [7]
    # Where nothing is found for all of them, one user is asked for alone; where something is, the others once more.
    assert reader.paths == [
        "/tradovateSubscription/ldeps", "/tradovateSubscription/deps", "/userPlugin/ldeps", "/userPlugin/deps",
        "/marketDataSubscription/ldeps", "/marketDataSubscription/ldeps",
    ]  # fmt: skip


# -- entitlements


async def test_an_entitlement_is_there_when_it_is_in_force() -> None:
    """Another one, one that was taken away, and one that has ended are not it."""

    async def has(**row: Any) -> bool:
        reader = FakeReader({"/userPlugin/deps": [{"id": 1, "userId": 5, **row}]})
        return isinstance((await look(ADD, reader, {"userId": 5, "entitlementId": 31}))[0], Succeeded)

    assert await has(entitlementId=31)
    assert await has(entitlementId=31, expirationDate=day(TOMORROW))
    assert not await has(entitlementId=32)
    assert await has(entitlementId=31, approval=False)  # what that means alone, the vendor does not say
    assert not await has(entitlementId=31, approval=False, autorenewal=False)
    assert not await has(entitlementId=31, expirationDate=day(TODAY))


def test_what_the_partner_says_of_an_entitlement() -> None:
    """A conflict is looked up, `not yet` needs no look."""
    for text, verify in (("The user has this already", True), ("Live account is required.", False), ("No", True)):
        assert ADD.recovery.rejection(text) == Rejected(text, verify=verify)
    assert "userId" in ADD.request([{"entitlementId": 31, "userId": 5}])


# -- subaccounts


def test_a_filled_slot_counts_as_done_and_a_closed_request_does_not() -> None:
    """The second upload of a document says that the first one worked."""
    document = OPERATIONS["submitPartnerSubaccountDocument"]
    assert document.recovery.rejection("This document slot already has a completed upload") == Succeeded()
    closed = "Subaccount request is already processed"
    assert document.recovery.rejection(closed) == Rejected(closed)


@pytest.mark.parametrize("body", [{}, {"requestId": "3"}, {"requestId": 0}, {"status": "InReview"}])
def test_a_request_without_an_id_is_unclear(body: dict[str, Any]) -> None:
    """And so it is never sent again by itself."""
    operation = OPERATIONS["createPartnerSubaccountRequest"]
    assert isinstance(operation.response.read(body, [{}])[0], Unknown)
    assert operation.recovery.resend is Resend.NEVER
    assert operation.recovery.look_up is None


def test_a_review_is_reported_with_what_there_is() -> None:
    """A status alone, or with message and account; an answer without a status is asked again."""
    read = OPERATIONS["getPartnerSubaccountRequestStatus"].response.read
    asked = [{"subAccountRequestId": 9}]
    assert read({"status": "InReview"}, asked) == [Succeeded({"requestStatus": "InReview"})]
    body = {"status": "Denied", "message": "no", "accountId": 7}
    assert read(body, asked) == [Succeeded({"requestStatus": "Denied", "message": "no", "accountId": 7})]
    assert isinstance(read({"status": None}, [{}])[0], Unknown)
    assert isinstance(read({"status": "InReview", "requestId": 8}, asked)[0], Unknown)


async def test_a_requested_permission_is_found_by_its_email() -> None:
    """Requested or accepted, in any case of letters; a revoked one is none."""
    operation = OPERATIONS["requestTradingPermission"]
    rows = [
        {"id": 1, "ctaEmail": "jane@example.com", "status": "Revoked"},
        {"id": 2, "ctaEmail": "Jane@Example.com", "status": "Requested"},
    ]
    reader = FakeReader({"/user/getaccounttradingpermissions": {"tradingPermissions": rows}})
    wanted = {"accountId": 11, "ctaContact": "Jane", "ctaEmail": "jane@example.com"}
    (found,) = await look(operation, reader, wanted)
    assert found == Succeeded({"tradingPermissionId": 2, "adopted": True})
    (nothing,) = await look(operation, FakeReader({}), wanted)
    assert nothing == NotExecuted()


# -- all of them


def test_the_urgent_go_first() -> None:
    """Contract 5.6: revocations, departures, entitlements, permissions, accounts, users, risk, subaccounts, resets.

    Locks are as urgent as revocations.
    """
    order = [
        "revokeTradingPermissions", "cancelEverything", "addEntitlementSubscription", "createTradingPermission",
        "createEvaluationAccounts", "createEvaluationUsers", "updateUserAutoLiqs", "createPartnerSubaccountRequest",
        "resetDemoAccountState", "updateContactInfo", "getPartnerSubaccountRequestStatus",
    ]  # fmt: skip
    ranks = [OPERATIONS[name].limits.rank for name in order]
    assert ranks == sorted(set(ranks))
    for name, alike in (
        ("setAdminAutoLiqAction", "revokeTradingPermissions"),
        ("setAdminAutoLiqAction@unlock", "updateUserAutoLiqs"),
    ):
        assert OPERATIONS[name].limits.rank == OPERATIONS[alike].limits.rank
    assert (
        OPERATIONS["submitPartnerSubaccountDocument"].limits.rank
        == OPERATIONS["createPartnerSubaccountRequest"].limits.rank
    )


def test_who_waits_out_maintenance() -> None:
    """Contract 5.9: users, accounts, permissions, subaccount requests and resets; all else goes."""
    assert {operation.name for operation in OPERATIONS.values() if operation.limits.maintenance} == {
        "createEvaluationUsers", "createEvaluationAccounts", "createTradingPermission",
        "createTradingPermission@live", "requestTradingPermission", "checkDuplicate", "createPartnerSubaccountRequest",
        "resetDemoAccountState",
    }  # fmt: skip


def test_only_revocations_and_locks_may_use_what_is_kept_back() -> None:
    """A tenth of the budget is for sessions, revocations and locks; unlocks are ordinary."""
    assert {operation.vendor for operation in OPERATIONS.values() if operation.limits.reserve} == {
        "revokeTradingPermissions", "setAdminAutoLiqAction",
    }  # fmt: skip
    assert not OPERATIONS["setAdminAutoLiqAction@unlock"].limits.reserve


def test_nothing_urgent_lingers() -> None:
    """Only what goes in large batches does."""
    assert {operation.vendor for operation in OPERATIONS.values() if operation.batching.lingers} == {
        "cancelEverything", "createEvaluationAccounts", "createEvaluationUsers", "resetDemoAccountState",
        "updateUserAutoLiqs",
    }  # fmt: skip


def test_every_vendors_name_has_a_declaration_of_that_name() -> None:
    """`pause` names operations by the vendor's word, and reaches all declarations behind it."""
    assert {operation.vendor for operation in OPERATIONS.values()} <= set(OPERATIONS)


def test_limits_are_the_endpoints_or_a_share_of_the_budget() -> None:
    """Polls take a tenth; a tiny budget leaves them one call."""
    assert OPERATIONS["getPartnerSubaccountRequestStatus"].limits.hour(4500) == 450
    assert OPERATIONS["getPartnerSubaccountRequestStatus"].limits.hour(5) == 1
    assert OPERATIONS["createPartnerSubaccountRequest"].limits.hour(4500) == 250
    assert REVOKE.limits.hour(4500) is None
