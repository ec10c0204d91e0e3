"""Subaccount requests: creating one, duplicates, the state of a review (partner subaccount pages)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from worker.sandbox.fields import Problems, check, combined_names, trade_date_of
from worker.sandbox.operation import Call, Operation
from worker.sandbox.responses import Reply, ok, refusal, violations
from worker.sandbox.vendor_texts import message

if TYPE_CHECKING:
    from worker.sandbox.world import Row, World

__all__ = ["OPERATIONS", "REVIEW_STEPS", "SLOTS", "advance", "review"]

REQUIRED = {
    "ctaUserId": int,
    "riskCategoryId": int,
    "marginType": str,
    "transferAmount": float,
    "authorizedIndividual": bool,
    "firstName": str,
    "lastName": str,
    "country": str,
    "state": str,
    "streetAddress1": str,
    "city": str,
    "zipCode": str,
    "phone": str,
    "citizenship": str,
    "birthDate": dict,
}
SLOTS = {"pOAFormDocId": "POAForm", "governmentDocId": "Id", "addressDocId": "AddressVerificationFAFTA"}
"""The three documents of a request: field of the id, type of the document."""

OPTIONAL = {
    "autoLiqProfileId": int,
    "traderReason": str,
    "streetAddress2": str,
    "taxIdentifier": str,
    "nationalId": str,
    **dict.fromkeys(SLOTS, int),
}
REVIEW_STEPS = ("Preapproved", "InReview", "InAMLReview", "Approved")
"""The usual order of a review that ends well."""

LIVE_ACCOUNT_BASE = 7_000_000
_CODE = re.compile("[A-Z]{2}")
_NAME = re.compile(r"[^\W\d_]+(?:[ '.-]+[^\W\d_]+)*[ '.-]*")
_RESTRICTED = frozenset({
    "AF", "AL", "AQ", "BY", "BF", "TD", "CG", "CD", "CI", "CU", "DJ", "TL", "GW", "IR", "JO", "LA", "LS",
    "LY", "MW", "KP", "PS", "RW", "SL", "SO", "SD", "SS", "SY", "TJ", "YE",
})  # fmt: skip
"""The exchange's restricted countries (restricted countries page)."""


def create_request(call: Call) -> Reply:
    """Ask for a subaccount. It moves money, and nothing keeps a second one away."""
    body, world = call.body, call.world
    problems = check(body, REQUIRED, OPTIONAL) or _rules(call)
    if problems:
        return violations(call.config, problems)
    code = _obstacle(call)
    if code is not None:
        return refusal(message(call.config, code))
    request = world.requests.add(
        {
            "ctaUserId": body["ctaUserId"],
            "status": REVIEW_STEPS[0],
            "message": None,
            "accountId": None,
            "taxIdentifier": body.get("taxIdentifier"),
            "nationalId": body.get("nationalId"),
            "at": call.now,
            "slots": {SLOTS[name]: body[name] for name in SLOTS if body.get(name)},
        }
    )
    call.effects.subaccount_requests[str(body["ctaUserId"])] += 1
    return ok(call.config, requestId=request["id"], status=request["status"])


def _rules(call: Call) -> Problems:
    body = call.body
    problems = combined_names(body)
    problems += [
        (name, f"{title} should be a two-letter code")
        for name, title in (("country", "Country"), ("citizenship", "Citizenship"))
        if not _CODE.fullmatch(body[name])
    ]
    problems += [
        (name, f"{title} should contain only letters, spaces, hyphens, apostrophes and periods")
        for name, title in (("firstName", "First Name"), ("lastName", "Last Name"))
        if not _NAME.fullmatch(body[name])
    ]
    if body["marginType"] not in ("Hedger", "Speculator"):
        problems.append(("marginType", "Margin Type should be between Hedger and Speculator"))
    if body["transferAmount"] <= 0:
        problems.append(("transferAmount", "Transfer Amount should be greater than 0"))
    if body["citizenship"] == "US":
        if not re.fullmatch("[0-9]{9}", body.get("taxIdentifier") or ""):
            problems.append(("taxIdentifier", "Tax Identifier should be exactly 9 digits"))
    elif not re.fullmatch("[A-Za-z0-9]{2,64}", body.get("nationalId") or ""):
        problems.append(("nationalId", "National Id should be specified"))
    trade_date_of(body["birthDate"])
    given = [name for name in SLOTS if body.get(name)]
    if given and len(given) < len(SLOTS):
        problems.append(("pOAFormDocId", message(call.config, "documents_partial")))
    return problems


def _obstacle(call: Call) -> str | None:
    body, world = call.body, call.world
    if world.users.get(body["ctaUserId"]) is None:
        return "unknown_user"
    if body["country"] in _RESTRICTED:
        return "restricted"
    if body.get("autoLiqProfileId") not in (None, 1):
        return "unknown_profile"
    for name, kind in SLOTS.items():
        if body.get(name):
            document = world.documents.get(body[name])
            if document is None or (document["userId"], document["documentType"]) != (body["ctaUserId"], kind):
                return "document_unknown"
    mine = [row for row in world.requests.rows.values() if row["ctaUserId"] == body["ctaUserId"]]
    if sum(row["status"] != "Denied" for row in mine) >= call.config.subaccounts_per_user:
        return "too_many_subaccounts"
    return None


def check_duplicate(call: Call) -> Reply:
    """Say whether a request like this may exist: `ok` false is a possible duplicate."""
    check(call.body, {}, {"userId": int, "taxIdentifier": str, "nationalId": str, "countryCode": str})
    wanted = [
        (field, call.body[name])
        for name, field in (("userId", "ctaUserId"), ("taxIdentifier", "taxIdentifier"), ("nationalId", "nationalId"))
        if call.body.get(name)
    ]
    if any(row[field] == value for row in call.world.requests.rows.values() for field, value in wanted):
        return Reply(data={"ok": False, "errorText": message(call.config, "possible_duplicate")})
    return ok(call.config, ok=True)


def request_status(call: Call) -> Reply:
    problems = check(call.body, {"subAccountRequestId": int})
    if problems:
        return violations(call.config, problems)
    request = call.world.requests.get(call.body["subAccountRequestId"])
    if request is None:
        return refusal(message(call.config, "request_unknown"))
    if call.config.review_step_seconds:
        advance(call.world, request, int((call.now - request["at"]) / call.config.review_step_seconds), call.now)
    more = {name: request[name] for name in ("message", "accountId") if request[name] is not None}
    return ok(call.config, requestId=request["id"], status=request["status"], **more)


def advance(world: World, request: Row, steps: int, now: float) -> None:
    """Let a review that goes by itself stand where it stands after so many steps."""
    if request["status"] in ("Approved", "Denied"):
        return
    request["status"] = REVIEW_STEPS[min(steps, len(REVIEW_STEPS) - 1)]
    if request["status"] == "Approved":
        _open(world, request, LIVE_ACCOUNT_BASE + request["id"], now)


def _open(world: World, request: Row, account_id: int, now: float) -> None:
    """The account of an approved request; nobody has a trading permission on it yet."""
    request["accountId"] = account_id
    if account_id not in world.live_accounts.rows:
        world.add_live_account(f"LIVE{account_id}", now, account_id)


def review(world: World, request_id: int, status: str, text: str | None, account_id: int | None, now: float) -> Row:
    """Decide a request as the partner's compliance does.

    :raises KeyError: no such request.
    """
    request = world.requests.rows[request_id]
    request["status"] = status
    request["message"] = text
    if status == "Approved":
        _open(world, request, account_id or LIVE_ACCOUNT_BASE + request_id, now)
    return request


OPERATIONS = {
    "/customerapplication/createpartnersubaccountrequest": Operation(create_request, domain="live"),
    "/customerapplication/checkduplicate": Operation(check_duplicate, domain="live", writes=False),
    "/customerapplication/getpartnersubaccountrequeststatus": Operation(request_status, domain="live", writes=False),
}
