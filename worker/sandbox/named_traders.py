"""Which traders a call names, so that the oracle can see two calls for one trader under way at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from worker.sandbox.world import World

__all__ = ["traders_of"]

_USER_FIELDS = ("userId", "ctaUserId")
_ACCOUNT_FIELDS = ("accountId",)
_OF_ACCOUNTS = ("accountriskstatus", "useraccountautoliq")
"""Entities whose ids, and whose masters, are those of accounts."""


def traders_of(world: World, path: str, query: Mapping[str, str], body: Mapping[str, Any]) -> frozenset[str]:
    """Return keys for every trader that the call names: `user:<id>`, and `name:<name>` for those not made yet."""
    users: set[int] = set()
    names: set[str] = set()
    for name in _USER_FIELDS:
        _add(users, body.get(name))
    for name in _ACCOUNT_FIELDS:
        users.update(_on_accounts(world, [body.get(name)]))
    users.update(_ints(body.get("userIds")))
    users.update(_on_accounts(world, _ints(body.get("accountIds"))))
    users.update(_with_permissions(world, [body.get("tradingPermissionId"), *_ints(body.get("tradingPermissionIds"))]))
    users.update(_of_requests(world, [body.get("subAccountRequestId")]))
    users.update(_on_accounts(world, [item.get("accountId") for item in _objects(body.get("items"))]))
    for item in _objects(body.get("accounts")):
        _add(users, item.get("userId"))
    for item in _objects(body.get("users")):
        if isinstance(item.get("name"), str):
            names.add(item["name"])
    if query:
        _from_query(world, path, query, users, names)
    return _keys(world, users, names)


def _from_query(world: World, path: str, query: Mapping[str, str], users: set[int], names: set[str]) -> None:
    entity, _, verb = path.strip("/").partition("/")
    if entity == "user" and verb == "find" and "name" in query:
        names.add(query["name"])
    elif entity == "user" and verb in ("item", "items"):
        users.update(_numbers(query.get("id", query.get("ids", ""))))
    elif entity in _OF_ACCOUNTS:
        numbers = (query.get(name, "") for name in ("id", "ids", "masterid", "masterids"))
        users.update(_on_accounts(world, [each for text in numbers for each in _numbers(text)]))
    elif verb in ("deps", "ldeps") and entity != "adminalertsignal":
        users.update(_numbers(query.get("masterid", query.get("masterids", ""))))
    elif entity == "account" and verb in ("find", "finds"):
        wanted = query.get("name", query.get("names", "")).split(",")
        users.update(_on_accounts(world, [row["id"] for name in wanted for row in world.accounts.named(name)]))
    elif entity == "account" and verb in ("item", "items"):
        users.update(_on_accounts(world, _numbers(query.get("id", query.get("ids", "")))))
    elif entity == "tradingpermission" and verb in ("item", "items"):
        users.update(_with_permissions(world, _numbers(query.get("id", query.get("ids", "")))))


def _keys(world: World, users: Iterable[int], names: Iterable[str]) -> frozenset[str]:
    keys = {f"name:{name.casefold()}" for name in names}
    for name in names:
        keys.update(f"user:{row['id']}" for row in world.users.named(name))
    for user_id in users:
        keys.add(f"user:{user_id}")
        row = world.users.rows.get(user_id)
        if row is not None:
            keys.add(f"name:{row['name'].casefold()}")
    return frozenset(keys)


def _add(users: set[int], value: object) -> None:
    if isinstance(value, int) and not isinstance(value, bool):
        users.add(value)


def _ints(value: object) -> list[int]:
    return [item for item in value if isinstance(item, int)] if isinstance(value, list) else []


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part.strip().isdecimal()]


def _on_accounts(world: World, accounts: Iterable[object]) -> set[int]:
    return {
        world.permissions.rows[row_id]["userId"]
        for account in accounts
        if isinstance(account, int)
        for row_id in world.permissions_of_account.get(account, ())
    }


def _with_permissions(world: World, permissions: Iterable[object]) -> set[int]:
    rows = (world.permissions.rows.get(row_id) for row_id in permissions if isinstance(row_id, int))
    return {row["userId"] for row in rows if row is not None}


def _of_requests(world: World, requests: Iterable[object]) -> set[int]:
    rows = (world.requests.rows.get(row_id) for row_id in requests if isinstance(row_id, int))
    return {row["ctaUserId"] for row in rows if row is not None}
