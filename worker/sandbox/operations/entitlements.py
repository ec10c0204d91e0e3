"""Entitlements after the Market Data Agreement, and memberships (entitlement and subscription pages)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.sandbox.fields import check
from worker.sandbox.operation import Call, Operation
from worker.sandbox.operations.cancel import ended
from worker.sandbox.operations.users import add_plugin
from worker.sandbox.responses import Reply, ok, refusal, violations
from worker.sandbox.vendor_texts import message
from worker.sandbox.world import ADMIN_ID, CMEGROUP_TOP, iso, trade_date

if TYPE_CHECKING:
    from worker.sandbox.world import Row

__all__ = ["OPERATIONS"]


def add_entitlement_subscription(call: Call) -> Reply:
    """Give a user an entitlement. Without `userId` the administrator gets it; unsigned, a live account is required."""
    problems = check(
        call.body,
        {"entitlementId": int},
        {"userId": int, "accountId": int, "creditCardId": int, "nonProSigned": bool},
    )
    if problems:
        return violations(call.config, problems)
    config, world = call.config, call.world
    user_id = call.body.get("userId", ADMIN_ID)
    entitlement = world.entitlements.get(call.body["entitlementId"])
    code = _obstacle(call, user_id, entitlement)
    if code is not None:
        return refusal(message(config, code))
    assert entitlement is not None
    present = [row for row in world.plugins.of(user_id) if row["entitlementId"] == entitlement["id"] and not ended(row)]
    if present and config.entitlement_again != "second":
        return _conflict(call)
    plugin = add_plugin(call, user_id, entitlement["id"])
    if entitlement["id"] == config.t_prop_entitlement_id:
        _add_top_of_book(call, user_id)
    return ok(config, **_success(call), entitlementSubscription=plugin)


def _obstacle(call: Call, user_id: int, entitlement: Row | None) -> str | None:
    world = call.world
    if world.users.get(user_id) is None:
        return "unknown_user"
    if entitlement is None:
        return "unknown_entitlement"
    if call.config.entitlement_needs_contact and user_id != ADMIN_ID and not world.contacts.of(user_id):
        return "contact_required"
    if entitlement["requiredNonProCertification"] and user_id not in world.signed:
        return "live_account"
    return None


def _conflict(call: Call) -> Reply:
    form = call.config.entitlement_again
    data: dict[str, Any] = {}
    if form in ("text", "both"):
        data["errorText"] = message(call.config, "entitlement_exists")
    if form in ("code", "both"):
        data["errorCode"] = "ConflictWithExisting"
    return Reply(data=data, failed=True)


def _add_top_of_book(call: Call, user_id: int) -> None:
    today = trade_date(call.now)
    this_month = today["year"] * 12 + today["month"] - 1
    for month in range(this_month - call.config.market_data_former_months, this_month + 1):
        call.world.market_data.add(
            {
                "userId": user_id,
                "timestamp": iso(call.now),
                "planPrice": 0.0,
                "marketDataSubscriptionPlanId": CMEGROUP_TOP,
                "year": month // 12,
                "month": month % 12 + 1,
                "expired": False,
            }
        )


def _success(call: Call) -> dict[str, Any]:
    return {"errorCode": "Success"} if call.config.success_error_code else {}


def plugin_is_entitled(call: Call) -> Reply:
    """Return the entitlement of that name that the user has, if any."""
    problems = check(call.body, {"entitlementName": str}, {"userId": int, "withTolerance": bool})
    if problems:
        return violations(call.config, problems)
    wanted = call.body["entitlementName"]
    for row in call.world.plugins.of(call.body.get("userId", ADMIN_ID)):
        if row["pluginName"] == wanted and not ended(row):
            return ok(call.config, **_success(call), entitlementSubscription=row)
    return refusal(message(call.config, "unknown_entitlement"))


def cancel_tradovate_subscription(call: Call) -> Reply:
    """Stop a membership's renewal, or end it now with `expire`."""
    problems = check(call.body, {"tradovateSubscriptionId": int}, {"cancelReason": str, "expire": bool})
    if problems:
        return violations(call.config, problems)
    row = call.world.subscriptions.get(call.body["tradovateSubscriptionId"])
    if row is None:
        return refusal(message(call.config, "unknown_subscription"))
    row["cancelledRenewal"] = True
    row["cancelReason"] = call.body.get("cancelReason", "")
    if call.body.get("expire"):
        row["expirationDate"] = trade_date(call.now)
    return ok(call.config, **_success(call), tradovateSubscription=row)


OPERATIONS = {
    "/userplugin/addentitlementsubscription": Operation(add_entitlement_subscription, domain="live"),
    "/userplugin/pluginisentitled": Operation(plugin_is_entitled, domain="live", writes=False),
    "/user/canceltradovatesubscription": Operation(cancel_tradovate_subscription, domain="live"),
}
