"""Revoking, requesting and accepting trading permissions (trading permission pages)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.sandbox.fields import Malformed, check
from worker.sandbox.operation import Call, Operation
from worker.sandbox.operations.accounts import LIVE_PERMISSION
from worker.sandbox.responses import Reply, denied, ok, raw, refusal, simple, violations
from worker.sandbox.vendor_texts import message
from worker.sandbox.world import iso

if TYPE_CHECKING:
    from worker.sandbox.world import Row

__all__ = ["OPERATIONS", "revoke"]


def revoke(call: Call, permission: Row) -> bool:
    """Take a permission away at once; return whether it was live."""
    if permission["status"] not in LIVE_PERMISSION:
        return False
    permission["status"] = "Revoked"
    permission["updated"] = iso(call.now)
    on_live = call.domain == "live"
    call.effects.revocations[f"{'live:' if on_live else ''}{permission['id']}"] += 1
    call.hub.entity(call.config, call.domain, "tradingPermission", "Updated", permission)
    return True


def revoke_many(call: Call) -> Reply:
    """Revoke a list of permissions; what one bad id does to the others is a switch."""
    ids = call.body.get("tradingPermissionIds")
    if not ids:
        return violations(call.config, [("tradingPermissionIds", "Trading Permission Ids should be specified")])
    if not isinstance(ids, list) or not all(type(row_id) is int for row_id in ids):
        raise Malformed("tradingPermissionIds")
    if 0 < call.config.revoke_max_ids < len(ids):
        return refusal(message(call.config, "too_many_permissions"), ok=False)
    problem = _revoke_all(call, ids)
    return simple(call.config) if problem is None else problem


def revoke_one(call: Call) -> Reply:
    problems = check(call.body, {"tradingPermissionId": int})
    if problems:
        return violations(call.config, problems)
    row_id = call.body["tradingPermissionId"]
    problem = _revoke_all(call, [row_id])
    if problem is not None:
        return problem
    permission = call.world.permissions.get(row_id)
    return ok(call.config) if permission is None else ok(call.config, tradingPermission=permission)


def _revoke_all(call: Call, ids: list[int]) -> Reply | None:
    problem: Reply | None = None
    good: list[Row] = []
    for row_id in ids:
        permission = call.world.permissions.get(row_id)
        complaint = _complaint(call, permission)
        problem = problem or complaint
        if complaint is None and permission is not None:
            good.append(permission)
    if problem is None or not call.config.revoke_atomic:
        for permission in good:
            revoke(call, permission)
    return problem


def _complaint(call: Call, permission: Row | None) -> Reply | None:
    if permission is not None:
        again = permission["status"] == "Revoked" and call.config.revoked_again == "error_text"
        return refusal(message(call.config, "permission_revoked"), ok=False) if again else None
    match call.config.foreign_revoke:
        case "error_text":
            return refusal(message(call.config, "unknown_permission"), ok=False)
        case "404":
            return raw(404)
        case "401":
            return denied(call.config)
        case "ignored":
            return None


def request_trading_permission(call: Call) -> Reply:
    """Ask for a permission as an account holder does; the trader is found by e-mail."""
    problems = check(call.body, {"accountId": int, "ctaContact": str, "ctaEmail": str})
    if problems:
        return violations(call.config, problems)
    account = call.world.accounts.get(call.body["accountId"])
    if account is None:
        return refusal(message(call.config, "unknown_account"))
    user = call.world.users.get(call.world.emails.get(call.body["ctaEmail"].casefold()))
    if user is None:
        return refusal(message(call.config, "unknown_user"))
    live = [
        row
        for row in call.world.permissions_on(account["id"])
        if row["userId"] == user["id"] and row["status"] in LIVE_PERMISSION
    ]
    if live:
        if call.config.same_request_again == "existing":
            return ok(call.config, tradingPermission=live[0])
        return refusal(message(call.config, "permission_exists"))
    call.effects.permission_requests[f"{account['id']}:{user['id']}"] += 1
    return ok(call.config, tradingPermission=call.world.add_permission(account["id"], user, "Requested", call.now))


def accept_trading_permission(call: Call) -> Reply:
    problems = check(call.body, {"tradingPermissionId": int})
    if problems:
        return violations(call.config, problems)
    permission = call.world.permissions.get(call.body["tradingPermissionId"])
    if permission is None:
        return refusal(message(call.config, "unknown_permission"))
    if permission["status"] != "Requested":
        return refusal(message(call.config, "permission_not_requested"))
    permission["status"] = "Accepted"
    permission["updated"] = iso(call.now)
    return ok(call.config, tradingPermission=permission)


OPERATIONS = {
    "/user/revoketradingpermission": Operation(revoke_one, domain="demo"),
    "/user/revoketradingpermissions": Operation(revoke_many, domain="demo", items="tradingPermissionIds"),
    "/user/requesttradingpermission": Operation(request_trading_permission, domain="demo"),
    "/user/accepttradingpermission": Operation(accept_trading_permission, domain="demo"),
}
