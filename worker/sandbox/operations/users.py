"""New users, with their membership plan and first entitlements (users page)."""

from __future__ import annotations

from typing import Any

from worker.sandbox.batch import Bad, batch_items, malformed, refused, run_batch
from worker.sandbox.fields import Problems, check, combined_names
from worker.sandbox.operation import Call, Operation
from worker.sandbox.responses import Reply, refusal, violations
from worker.sandbox.vendor_texts import message
from worker.sandbox.world import GROUP_TRADE, Row, iso, trade_date

__all__ = ["OPERATIONS", "add_plugin"]

REQUIRED = {"name": str, "email": str, "password": str, "firstName": str, "lastName": str}
OPTIONAL = {"tradovateSubscriptionPlanId": int, "entitlementIds": list}


def create_evaluation_users(call: Call) -> Reply:
    """Make up to a hundred users. Entitlement 22 in any of them refuses all of them."""
    if not call.body.get("users"):
        return violations(call.config, [("users", "Users should be specified")])
    items = batch_items(call, "users")
    if len(items) > call.config.batch_limit:
        return refusal(message(call.config, "too_many_users"), results=[])
    if any(GROUP_TRADE in (item.get("entitlementIds") or ()) for item in items):
        return refusal(message(call.config, "group_trade"), results=[])
    names: set[str] = set()
    emails: set[str] = set()
    return run_batch(call, items, lambda item: _judge(call, item, names, emails), lambda item: _make(call, item))


def _judge(call: Call, item: dict[str, Any], names: set[str], emails: set[str]) -> Bad | None:
    problems = check(item, REQUIRED, OPTIONAL) or _rules(item)
    if problems:
        return malformed(call, problems)
    world, config = call.world, call.config
    name = item["name"].casefold() if config.user_names_fold_case else item["name"]
    email = item["email"].casefold()
    if name in names or world.users.named(name):
        return refused(call, "name", "name_taken")
    if config.emails_unique and (email in emails or email in world.emails):
        return refused(call, "email", "email_taken")
    extra = _extras(call, item)
    if extra is not None:
        return refused(call, *extra)
    names.add(name)
    emails.add(email)
    return None


def _extras(call: Call, item: dict[str, Any]) -> tuple[str, str] | None:
    """Return the field and the reason why the plan or an entitlement cannot be given with the user."""
    plan = item.get("tradovateSubscriptionPlanId")
    if plan is not None and call.world.plans.get(plan) is None:
        return "tradovateSubscriptionPlanId", "foreign_plan"
    for entitlement in item.get("entitlementIds") or ():
        if entitlement == call.config.t_prop_entitlement_id:
            return "entitlementIds", "sim_plus_at_sign_up"
        if call.world.entitlements.get(entitlement) is None:
            return "entitlementIds", "unknown_entitlement"
    return None


def _rules(item: dict[str, Any]) -> Problems:
    problems: Problems = []
    if "@" not in item["email"]:
        problems.append(("email", "Email should be valid"))
    if len(item["password"]) < 8:
        problems.append(("password", "Password should be no shorter than 8"))
    return problems + combined_names(item)


def _make(call: Call, item: dict[str, Any]) -> dict[str, Any]:
    world = call.world
    user = world.add_user(item["name"], item["email"], call.now)
    call.effects.users_by_name[item["name"]] += 1
    call.effects.users_by_email[item["email"]] += 1
    plan = item.get("tradovateSubscriptionPlanId")
    if plan is not None:
        world.subscriptions.add(
            {
                "userId": user["id"],
                "timestamp": iso(call.now),
                "planPrice": 0.0,
                "tradovateSubscriptionPlanId": plan,
                "startDate": trade_date(call.now),
                "expirationDate": trade_date(call.now, days=31),
                "paidAmount": 0.0,
                "cancelledRenewal": False,
            }
        )
    for entitlement in item.get("entitlementIds") or ():
        add_plugin(call, user["id"], entitlement)
    call.hub.entity(call.config, "live", "user", "Created", user)
    return {"userId": user["id"]}


def add_plugin(call: Call, user_id: int, entitlement_id: int) -> Row:
    """Give a user an entitlement; the partner keeps it as a UserPlugin."""
    entitlement = call.world.entitlements.rows[entitlement_id]
    plugin = call.world.plugins.add(
        {
            "userId": user_id,
            "timestamp": iso(call.now),
            "planPrice": entitlement["price"],
            "pluginName": entitlement["name"],
            "approval": True,
            "entitlementId": entitlement_id,
            "startDate": trade_date(call.now),
            "expirationDate": trade_date(call.now, days=31),
            "paidAmount": 0.0,
            "autorenewal": True,
        }
    )
    call.effects.entitlements[f"{user_id}:{entitlement_id}"] += 1
    call.hub.entity(call.config, "live", "userPlugin", "Created", plugin)
    return plugin


OPERATIONS = {
    "/user/createevaluationusers": Operation(create_evaluation_users, domain="live", items="users"),
}
