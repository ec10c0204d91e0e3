"""Revocations, departures, entitlements, subaccounts, resets and alerts of the simulated partner."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.test_sandbox_desk import Desk, desk_with, logged_in

desk = logged_in

REVOKE = "demo/user/revokeTradingPermissions"
CANCEL = ("user/cancelEverything", {
    "tradovateSubscriptions": True, "userPlugins": True, "marketDataSubscriptions": True, "tradingPermissions": True,
})  # fmt: skip
DAY = {"year": 2026, "month": 11, "day": 20}
PDF = "data:application/pdf;base64,JVBERi0="


async def _permission(desk: Desk) -> tuple[int, int, int]:
    user_id = await desk.new_user(tradovateSubscriptionPlanId=301)
    made = await desk.new_account(user_id)
    return user_id, made["accountId"], made["tradingPermissionId"]


async def test_revoking_takes_the_permissions_away_and_may_be_repeated(desk: Desk) -> None:
    """Revoked permissions say so; revoking them again is no error and counts once."""
    first, second = (await _permission(desk))[2], (await _permission(desk))[2]
    for _ in range(2):
        assert await desk.call(REVOKE, tradingPermissionIds=[first, second]) == {"ok": True}
    rows = await desk.call(f"demo/tradingPermission/items?ids={first},{second}")
    assert [row["status"] for row in rows] == ["Revoked", "Revoked"]
    assert (await desk.effects())["revocations"] == {str(first): 1, str(second): 1}


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize(("form", "status"), [("error_text", 200), ("404", 404), ("401", 401), ("ignored", 200)])
async def test_one_foreign_id_does_to_the_others_what_the_switch_says(form: str, status: int, atomic: bool) -> None:
    """A foreign permission refuses the call in one of four ways; its neighbours stay, or go."""
    desk = await desk_with(foreign_revoke=form, revoke_atomic=atomic)
    _, _, mine = await _permission(desk)
    answer = await desk.send(REVOKE, b'{"tradingPermissionIds": [%d, 7]}' % mine)
    assert answer.status_code == status
    assert form != "error_text" or answer.json()["errorText"]
    gone = (await desk.call(f"demo/tradingPermission/item?id={mine}"))["status"] == "Revoked"
    assert gone is (form == "ignored" or not atomic)


@pytest.mark.parametrize("form", ["marked", "gone"])
async def test_cancelling_ends_everything_on_its_domain(form: str) -> None:
    """LIVE ends memberships, entitlements and data, DEMO permissions; a second time there is nothing left to end."""
    desk = await desk_with(cancelled_in_deps=form)
    user_id, _, permission = await _permission(desk)
    await desk.control("sign", userId=user_id)
    await desk.call("live/userPlugin/addEntitlementSubscription", entitlementId=31, userId=user_id)
    path, flags = CANCEL
    live = await desk.call(f"live/{path}", userIds=[user_id, 7], **flags)
    demo = await desk.call(f"demo/{path}", userIds=[user_id, 7], **flags)
    assert [len(live[name]) for name in sorted(live)] == [1, 0, 1, 1]
    assert demo["tradingPermissionIds"] == [permission]
    assert demo["userPluginIds"] == []
    assert not any((await desk.call(f"live/{path}", userIds=[user_id], **flags)).values())
    rows = await desk.call(f"live/userPlugin/deps?masterid={user_id}")
    assert [row["autorenewal"] for row in rows] == ([False] if form == "marked" else [])
    assert (await desk.effects())["cancels"] == {f"live:{user_id}": 2, f"demo:{user_id}": 1}


@pytest.mark.parametrize("omitted", [True, False])
async def test_flags_left_out_mean_what_the_switch_says(omitted: bool) -> None:
    """Without flags everything is cancelled, or nothing."""
    desk = await desk_with(omitted_flags_cancel=omitted)
    user_id, _, permission = await _permission(desk)
    answer = await desk.call("demo/user/cancelEverything", userIds=[user_id])
    assert answer["tradingPermissionIds"] == ([permission] if omitted else [])


async def test_an_entitlement_wants_contact_data_and_a_signature(desk: Desk) -> None:
    """First contact data, then `Live account is required`, then the entitlement with market data, then a conflict."""
    user_id = await desk.new_user()
    add = "live/userPlugin/addEntitlementSubscription"
    body: dict[str, Any] = {"entitlementId": 31, "userId": user_id}
    assert (await desk.call(add, **body))["errorText"] == "Contact info is required"
    await desk.control("switches", entitlement_needs_contact=False)
    assert (await desk.call(add, **body))["errorText"] == "Live account is required"
    await desk.control("sign", userId=user_id)
    answer = await desk.call(add, **body)
    assert (answer["errorCode"], answer["entitlementSubscription"]["entitlementId"]) == ("Success", 31)
    rows = await desk.call(f"live/marketDataSubscription/deps?masterid={user_id}")
    assert [row["expired"] for row in rows] == [False, False]  # a former month stays as it was
    assert (await desk.call(add, **body))["errorCode"] == "ConflictWithExisting"
    assert (await desk.effects())["entitlements"] == {f"{user_id}:31": 1}


async def test_an_entitlement_without_user_goes_to_the_administrator(desk: Desk) -> None:
    """Leaving `userId` out buys for the API user itself."""
    await desk.control("sign", userId=1001)
    answer = await desk.call("live/userPlugin/addEntitlementSubscription", entitlementId=31)
    assert answer["entitlementSubscription"]["userId"] == 1001


@pytest.mark.parametrize(("form", "reported"), [("text", {"errorText"}), ("code", {"errorCode"}), ("second", None)])
async def test_an_entitlement_twice_is_a_conflict_or_a_second_one(form: str, reported: set[str] | None) -> None:
    """The conflict is reported as text or as code alone; or the oracle sees two."""
    desk = await desk_with(entitlement_again=form)
    user_id = await desk.new_user()
    await desk.control("sign", userId=user_id)
    add = "live/userPlugin/addEntitlementSubscription"
    await desk.call(add, entitlementId=31, userId=user_id)
    answer = await desk.call(add, entitlementId=31, userId=user_id)
    assert reported is None or set(answer) == reported
    assert ("entitlements" in (await desk.effects())["twice"]) is (reported is None)


def _application(user_id: int, **other: Any) -> dict[str, Any]:
    return {
        "ctaUserId": user_id, "riskCategoryId": 1, "marginType": "Speculator", "transferAmount": 1000,
        "authorizedIndividual": True, "firstName": "Jane", "lastName": "O'Neil-Doe", "country": "US", "state": "TX",
        "streetAddress1": "1 Main St", "city": "Austin", "zipCode": "78701", "phone": "+15125550100",
        "citizenship": "US", "taxIdentifier": "123456789", "birthDate": {"year": 1990, "month": 2, "day": 28}, **other,
    }  # fmt: skip


CREATE = "live/customerApplication/createPartnerSubaccountRequest"


async def test_a_subaccount_request_goes_through_its_review(desk: Desk) -> None:
    """A request begins preapproved, is decided by the control API, and a second one is a second one."""
    user_id = await desk.new_user()
    duplicate = "live/customerApplication/checkDuplicate"
    assert (await desk.call(duplicate, userId=user_id))["ok"] is True
    made = await desk.call(CREATE, **_application(user_id))
    assert made["status"] == "Preapproved"
    assert (await desk.call(duplicate, taxIdentifier="123456789"))["ok"] is False
    status = "live/customerApplication/getPartnerSubaccountRequestStatus"
    await desk.control("review", requestId=made["requestId"], status="Denied", message="No")
    answer = await desk.call(status, subAccountRequestId=made["requestId"])
    assert (answer["status"], answer["message"]) == ("Denied", "No")
    again = await desk.call(CREATE, **_application(user_id))
    await desk.control("review", requestId=again["requestId"], status="Approved", accountId=77)
    assert (await desk.call(status, subAccountRequestId=again["requestId"]))["accountId"] == 77
    assert (await desk.effects())["subaccount_requests"] == {str(user_id): 2}


async def test_a_review_can_go_by_itself(desk: Desk) -> None:
    """With a step length, a request reaches its approval without any decision."""
    await desk.control("switches", review_step_seconds=10)
    made = await desk.call(CREATE, **_application(await desk.new_user()))
    answers = []
    for _ in range(4):
        answer = await desk.call(
            "live/customerApplication/getPartnerSubaccountRequestStatus", subAccountRequestId=made["requestId"]
        )
        answers.append(answer)
        desk.clock.go(10)
    assert [answer["status"] for answer in answers] == ["Preapproved", "InReview", "InAMLReview", "Approved"]
    assert answers[-1]["accountId"]


@pytest.mark.parametrize(("change", "text"), [
    ({"taxIdentifier": "12345678"}, "Tax Identifier should be exactly 9 digits"),
    ({"citizenship": "DE"}, "National Id should be specified"),
    ({"country": "Germany"}, "Country should be a two-letter code"),
    ({"marginType": "Both"}, "Margin Type should be between Hedger and Speculator"),
    ({"firstName": "J4ne"}, "First Name should contain only letters, spaces, hyphens, apostrophes and periods"),
    ({"firstName": "J" * 40, "lastName": "D" * 21}, "First Name and Last Name combined should be no longer than 60"),
    ({"pOAFormDocId": 1}, "All three documents should be specified"),
    ({"zipCode": ""}, "Zip Code should be specified"),
])  # fmt: skip
async def test_the_rules_of_an_application_are_kept(desk: Desk, change: dict[str, Any], text: str) -> None:
    """Every stated rule of a subaccount request is a violation in the vendor's words."""
    answer = await desk.call(CREATE, **_application(await desk.new_user(), **change))
    assert text in [item["description"] for item in answer["violations"]]


@pytest.mark.parametrize(("change", "text"), [
    ({"ctaUserId": 7}, "User not found"), ({"country": "IR"}, "Country or state is restricted"),
    ({"autoLiqProfileId": 9}, "Auto-liq profile not found"),
    ({"pOAFormDocId": 1, "governmentDocId": 2, "addressDocId": 3}, "Document not found"),
])  # fmt: skip
async def test_refusals_of_an_application_are_error_texts(desk: Desk, change: dict[str, Any], text: str) -> None:
    """What is well-formed and not accepted is reported as errorText."""
    assert (await desk.call(CREATE, **_application(await desk.new_user(), **change)))["errorText"] == text


async def test_a_sixth_subaccount_is_refused(desk: Desk) -> None:
    """A user has five subaccounts at most."""
    user_id = await desk.new_user()
    answers = [await desk.call(CREATE, **_application(user_id)) for _ in range(6)]
    assert ["requestId" in answer for answer in answers] == [True] * 5 + [False]


async def test_each_slot_takes_one_document(desk: Desk) -> None:
    """A document fills its slot once; again is refused with a text that says so."""
    made = await desk.call(CREATE, **_application(await desk.new_user()))
    body = {"subAccountRequestId": made["requestId"], "documentType": "Id", "filename": "id.pdf", "base64data": PDF}
    submit = "live/customerApplication/submitPartnerSubaccountDocument"
    assert (await desk.call(submit, **body))["documentId"]
    assert (await desk.call(submit, **body))["errorText"] == "This document slot already has a completed upload"
    wrong = await desk.call(submit, **{**body, "base64data": "data:video/mp4;base64,AAAA"})
    assert wrong["violations"][0]["constraint"] == "base64data"
    assert (await desk.effects())["documents"] == {f"{made['requestId']}:Id": 1}


async def test_documents_can_be_sent_beforehand(desk: Desk) -> None:
    """Three documents uploaded for the trader are accepted by their ids, and fill the slots."""
    user_id = await desk.new_user()
    ids = {}
    types = {"pOAFormDocId": "POAForm", "governmentDocId": "Id", "addressDocId": "AddressVerificationFAFTA"}
    for name, kind in types.items():
        body = {"process": "SubAccountRequest", "userId": user_id, "documentType": kind, "filename": "a.pdf"}
        path = "live/customerApplication/submitCustomerApplicationDocument"
        ids[name] = (await desk.call(path, base64data=PDF, **body))["documentId"]
    assert "requestId" in await desk.call(CREATE, **_application(user_id, **ids))


async def test_a_reset_wants_accounts_with_a_permission(desk: Desk) -> None:
    """Resets are counted by account and day; no account, an unknown one, or one without permission is refused."""
    _, account_id, permission = await _permission(desk)
    reset = "demo/account/resetDemoAccountState"
    assert (await desk.call(reset, accountIds=[], resetTradeDate=DAY))["errorText"] == "Empty accountIds"
    assert (await desk.call(reset, accountIds=[7], resetTradeDate=DAY))["ok"] is False
    assert await desk.call(reset, accountIds=[account_id], resetTradeDate=DAY) == {"ok": True}
    await desk.call(REVOKE, tradingPermissionIds=[permission])
    assert (await desk.call(reset, accountIds=[account_id], resetTradeDate=DAY))["ok"] is False
    assert (await desk.effects())["resets"] == {f"{account_id}:2026-11-20": 1}


async def test_a_permission_can_be_requested_and_accepted(desk: Desk) -> None:
    """A requested permission waits to be accepted; asking again says that it exists."""
    owner, trader = await desk.new_user(), await desk.new_user(name="tim", email="tim@example.com")
    account_id = (await desk.new_account(owner))["accountId"]
    body = {"accountId": account_id, "ctaContact": "Tim", "ctaEmail": "tim@example.com"}
    asked = (await desk.call("demo/user/requestTradingPermission", **body))["tradingPermission"]
    assert (asked["status"], asked["userId"]) == ("Requested", trader)
    assert "errorText" in await desk.call("demo/user/requestTradingPermission", **body)
    accepted = await desk.call("demo/user/acceptTradingPermission", tradingPermissionId=asked["id"])
    assert accepted["tradingPermission"]["status"] == "Accepted"
    listed = await desk.call("demo/user/getAccountTradingPermissions", accountId=account_id)
    assert len(listed["tradingPermissions"]) == 2


async def test_a_signature_is_read_in_its_week_only(desk: Desk) -> None:
    """A signal names its user and is read on the chosen domain until its week ends."""
    user_id = await desk.new_user()
    await desk.control("sign", userId=user_id)
    alert = await desk.call("live/adminAlert/find?name=custapp:nonpro-signed")
    deps = f"adminAlertSignal/deps?masterid={alert['id']}"
    [signal] = await desk.call(f"live/{deps}")
    assert (signal["adminAlertId"], signal["relatedToUserId"]) == (70, user_id)
    assert await desk.call(f"demo/{deps}") == []
    done = await desk.call("live/adminAlertSignal/completeAlertSignal", adminAlertSignalId=signal["id"])
    assert done["adminAlertSignal"]["completed"]
    desk.clock.go(7 * 86_400)
    await desk.login()
    assert await desk.call(f"live/{deps}") == []


async def test_the_end_of_the_day_archives_what_nobody_trades(desk: Desk) -> None:
    """Accounts without a live permission are archived, and a week's end hides its signals."""
    user_id, account_id, permission = await _permission(desk)
    await desk.control("sign", userId=user_id)
    await desk.call(REVOKE, tradingPermissionIds=[permission])
    assert await desk.control("end-day", week=True) == {"archivedAccountIds": [account_id]}
    assert (await desk.call(f"demo/account/item?id={account_id}"))["closed"] is True
    assert await desk.call("live/adminAlertSignal/deps?masterid=70") == []


async def test_a_reset_sandbox_has_forgotten_everything_but_its_switches(desk: Desk) -> None:
    """After a reset there are no users, sessions, calls or faults; switches stay."""
    await desk.control("switches", find_nothing="null")
    await desk.new_user()
    await desk.fault(action="delay")
    await desk.control("reset")
    state = await desk.state()
    assert (state["effects"]["users_by_name"], state["calls"]["total"]) == (0, 0)
    assert desk.sandbox.config.find_nothing == "null"
    assert (await desk.send("live/user/list")).status_code == 401
