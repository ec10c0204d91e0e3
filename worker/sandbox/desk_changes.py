"""Entities that are put there, changed and removed without a call: what people do at the partner's own site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.sandbox.world import iso, trade_date

if TYPE_CHECKING:
    from worker.sandbox.world import Table, World

__all__ = ["change", "remove", "seed"]


def seed(world: World, data: dict[str, Any], now: float) -> dict[str, list[int]]:
    """Put entities there, and return their ids."""
    foreign, wanted = bool(data.get("foreign", False)), data.get("accounts", [])
    users = [world.add_user(each["name"], each["email"], now, foreign=foreign) for each in data.get("users", [])]
    accounts = [
        world.add_account(each["name"], float(each.get("balance", 50_000)), now, foreign=foreign)
        for each in (_unnamed(wanted, world) if isinstance(wanted, int) else wanted)
    ]
    permissions = [
        world.add_permission(
            each["accountId"], world.users.rows[each["userId"]], each.get("status", "Accepted"), now, foreign=foreign
        )
        for each in data.get("permissions", [])
    ]
    subscriptions = [
        world.subscriptions.add(
            {
                "userId": each["userId"],
                "timestamp": iso(now),
                "planPrice": 0.0,
                "tradovateSubscriptionPlanId": world.plan_id,
                "startDate": trade_date(now),
                "expirationDate": trade_date(now, days=31),
                "paidAmount": 0.0,
                "cancelledRenewal": bool(each.get("cancelledRenewal", False)),
            }
        )
        for each in data.get("subscriptions", [])
    ]
    plugins = [
        world.plugins.add(
            {
                "userId": each["userId"],
                "timestamp": iso(now),
                "planPrice": 0.0,
                "pluginName": world.entitlements.rows[each["entitlementId"]]["name"],
                "approval": True,
                "entitlementId": each["entitlementId"],
                "startDate": trade_date(now),
                "expirationDate": trade_date(now, days=31),
                "paidAmount": 0.0,
                "autorenewal": True,
            }
        )
        for each in data.get("plugins", [])
    ]
    return {
        "userIds": [row["id"] for row in users],
        "accountIds": [row["id"] for row in accounts],
        "liveAccountIds": [world.add_live_account(each["name"], now)["id"] for each in data.get("liveAccounts", [])],
        "tradingPermissionIds": [row["id"] for row in permissions],
        "tradovateSubscriptionIds": [row["id"] for row in subscriptions],
        "userPluginIds": [row["id"] for row in plugins],
    }


def change(world: World, data: dict[str, Any]) -> dict[str, Any]:
    """Change fields of the entity `id` of the kind `entity`, and return it."""
    row = _table(world, data).rows[data["id"]]
    row.update({name: value for name, value in data.items() if name not in ("entity", "id")})
    return row


def remove(world: World, data: dict[str, Any]) -> dict[str, Any]:
    """Remove the entities `ids` of the kind `entity`; with a user, all that the user has."""
    for row_id in data["ids"]:
        _table(world, data).remove(row_id)
        if data["entity"] == "user":
            for table in (world.permissions, world.contacts, world.subscriptions, world.plugins, world.market_data):
                for row in table.of(row_id):
                    table.remove(row["id"])
    return {"removed": len(data["ids"])}


def _table(world: World, data: dict[str, Any]) -> Table:
    tables = {
        "user": world.users,
        "account": world.accounts,
        "tradingPermission": world.permissions,
        "tradovateSubscription": world.subscriptions,
        "userPlugin": world.plugins,
        "marketDataSubscription": world.market_data,
    }
    if data.get("entity") not in tables:
        raise ValueError(f"entity should be one of {', '.join(tables)}")
    return tables[data["entity"]]


def _unnamed(number: int, world: World) -> list[dict[str, Any]]:
    return [{"name": f"SEEDED{len(world.accounts.rows) + at}"} for at in range(number)]
