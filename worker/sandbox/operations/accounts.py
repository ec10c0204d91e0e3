"""Evaluation accounts and trading permissions (accounts and trading permission pages)."""

from __future__ import annotations

import re
from typing import Any

from worker.sandbox.batch import Bad, batch_items, malformed, refused, run_batch
from worker.sandbox.fields import check
from worker.sandbox.operation import Call, Operation
from worker.sandbox.operations.risk import limits_in
from worker.sandbox.responses import Reply, ok, refusal, violations
from worker.sandbox.vendor_texts import message
from worker.sandbox.world import TEMPLATES, Row

__all__ = ["LIVE_PERMISSION", "OPERATIONS", "known_on_demo"]

REQUIRED = {"userId": int, "templateAccountId": int, "name": str, "initialBalance": float}
OPTIONAL = {"preTradeRisk": list, "postTradeRisk": dict}
NAME = re.compile(r"[A-Z]+[0-9]+")

LIVE_PERMISSION = frozenset({"Accepted", "Approved", "Requested"})
"""States in which a permission lets its trader in, or may soon."""


def create_evaluation_accounts(call: Call) -> Reply:
    """Make up to a hundred accounts, each with a permission for its trader."""
    if not call.body.get("accounts"):
        return violations(call.config, [("accounts", "Accounts should be specified")])
    items = batch_items(call, "accounts")
    if len(items) > call.config.batch_limit:
        return refusal(message(call.config, "too_many_accounts"), results=[])
    names: set[str] = set()
    return run_batch(call, items, lambda item: _judge(call, item, names), lambda item: _make(call, item))


def _judge(call: Call, item: dict[str, Any], names: set[str]) -> Bad | None:
    problems = check(item, REQUIRED, OPTIONAL)
    if not problems:
        if len(item["name"]) > 64:
            problems.append(("name", "Name should be no longer than 64"))
        elif not NAME.fullmatch(item["name"]):
            problems.append(("name", message(call.config, "account_name")))
    if problems:
        return malformed(call, problems)
    if call.config.account_names_unique and (item["name"] in names or call.world.accounts.named(item["name"])):
        return refused(call, "name", "account_taken")
    if known_on_demo(call, item["userId"]) is None:
        return refused(call, "userId", "unknown_user")
    if item["templateAccountId"] not in TEMPLATES:
        return refused(call, "templateAccountId", "unknown_template")
    names.add(item["name"])
    return None


def known_on_demo(call: Call, user_id: int) -> Row | None:
    """Return the user once the DEMO domain knows it."""
    user = call.world.users.get(user_id)
    late = call.config.users_reach_demo_after
    if user is not None and late and call.world.user_born[user_id] + late > call.now:
        return None
    return user


def _make(call: Call, item: dict[str, Any]) -> dict[str, Any]:
    account = call.world.add_account(item["name"], float(item["initialBalance"]), call.now)
    call.effects.accounts_by_name[item["name"]] += 1
    call.world.auto_liqs.rows[account["id"]].update(limits_in(item.get("postTradeRisk") or {}))
    call.hub.entity(call.config, "demo", "account", "Created", account)
    if call.config.risk_created_events and call.config.risk_rows == "always":
        status = call.world.risk_statuses.rows[account["id"]]
        call.hub.entity(call.config, "demo", "accountRiskStatus", "Created", status)
    result = {"accountId": account["id"]}
    if call.config.permission_with_account:
        permission = _permit(call, account["id"], call.world.users.rows[item["userId"]])
        result["tradingPermissionId"] = permission["id"]
    return result


def _permit(call: Call, account_id: int, user: Row) -> Row:
    on_live = call.domain == "live"
    call.effects.permissions[f"{'live:' if on_live else ''}{account_id}:{user['id']}"] += 1
    return call.world.add_permission(account_id, user, call.config.permission_status, call.now, live=on_live)


def create_trading_permission(call: Call) -> Reply:
    """Let a trader onto an account that exists, of either domain (create trading permission, demo-to-live pages)."""
    problems = check(call.body, {"accountId": int, "userId": int})
    if problems:
        return violations(call.config, problems)
    world, on_live = call.world, call.domain == "live"
    account = (world.live_accounts if on_live else world.accounts).get(call.body["accountId"])
    user = world.users.get(call.body["userId"]) if on_live else known_on_demo(call, call.body["userId"])
    if account is None or user is None:
        return refusal(message(call.config, "unknown_account" if account is None else "unknown_user"))
    live = [
        row
        for row in (world.live_permissions if on_live else world.permissions).of(user["id"])
        if row["accountId"] == account["id"] and row["status"] in LIVE_PERMISSION
    ]
    if live and call.config.same_permission_again == "error_text":
        return refusal(message(call.config, "permission_exists"))
    if live and call.config.same_permission_again == "existing":
        return ok(call.config, tradingPermission=live[0])
    return ok(call.config, tradingPermission=_permit(call, account["id"], user))


def account_permissions(call: Call) -> Reply:
    """Return every permission on one account, the revoked ones too."""
    problems = check(call.body, {"accountId": int})
    if problems:
        return violations(call.config, problems)
    if call.world.accounts.get(call.body["accountId"]) is None:
        return refusal(message(call.config, "unknown_account"), tradingPermissions=[])
    return ok(call.config, tradingPermissions=call.world.permissions_on(call.body["accountId"]))


OPERATIONS = {
    "/user/createevaluationaccounts": Operation(create_evaluation_accounts, domain="demo", items="accounts"),
    "/user/createtradingpermission": Operation(create_trading_permission),
    "/user/getaccounttradingpermissions": Operation(account_permissions, domain="demo", writes=False),
}
