"""What must hold at the partner: each thing once, only what was asked for, and what outcomes say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tests.torture.effect_keys import account_of, event_of
from tests.torture.promises import Breach, Promise
from tests.torture.sent import Sent
from tests.torture.shop import Shop
from tests.torture.system import System
from worker.sandbox.operations.cancel import ended
from worker.sandbox.world import World

ONCE: Mapping[str, Promise] = {
    "users_by_name": Promise.ONE_USER,
    "users_by_email": Promise.ONE_USER,
    "accounts_by_name": Promise.ONE_ACCOUNT,
    "permissions": Promise.ONE_PERMISSION,
    "entitlements": Promise.ONE_ENTITLEMENT,
    "subaccount_requests": Promise.ONE_REQUEST,
    "documents": Promise.ONE_DOCUMENT,
}
"""By family of effects (`worker/sandbox/effects.py`)."""


def once(system: System, shop: Shop) -> Iterator[Breach]:
    """What was made twice, by the key that the business knows it by."""
    for family, keys in system.control.effects()["twice"].items():
        for key, count in keys.items():
            yield Breach(ONCE[family], f"{family}: {key} was made {count} times", event_of(shop, family, key))
    asked = Counter(sent.body["accountId"] for sent in shop.of("permission.requested"))
    for key, count in system.partner.sandbox.core.effects.permission_requests.items():
        if count > asked[int(key.partition(":")[0])]:
            yield Breach(Promise.ONE_PERMISSION, f"{key} was requested {count} times")


def asked_for(system: System, shop: Shop) -> Iterator[Breach]:
    """What is at the partner under a name, or for a user, that no event names: a second one under another key."""
    world, effects = system.partner.sandbox.core.world, system.partner.sandbox.core.effects
    users = {str(sent.body["user"]["name"]): sent.body["user"]["email"] for sent in shop.orders.values()}
    names = {account_of(sent): str(sent.body["user"]["name"]) for sent in shop.orders.values()}
    assigned = {f"{sent.body['accountId']}:{sent.body['userId']}" for sent in shop.of("account.assigned")}
    passed = {f"login{sent.body['traderId'].removeprefix('cust-')}x" for sent in shop.of("trader.passed")}

    def user(number: str) -> str:
        return str(world.users.rows[int(number)]["name"])

    def asked(permission: str) -> bool:
        account, _, owner = permission.partition(":")
        return permission in assigned or names.get(str(world.accounts.rows[int(account)]["name"])) == user(owner)

    signed = {f"{number}" for number in shop.signatures.values()}
    found: Mapping[str, list[str]] = {
        "user": [key for key in effects.users_by_name if key not in users],
        "e-mail": [key for key in effects.users_by_email if key not in users.values()],
        "account": [key for key in effects.accounts_by_name if key not in names],
        "trading permission": [key for key in effects.permissions if not asked(key)],
        "entitlement": [key for key in effects.entitlements if key.partition(":")[0] not in signed],
        "subaccount request": [key for key in effects.subaccount_requests if user(key) not in passed],
    }
    for kind, keys in found.items():
        for key in keys:
            yield Breach(Promise.ASKED_FOR, f"{kind} {key}")


def proven(system: System, shop: Shop) -> Iterator[Breach]:
    """Outcomes that say of the partner what is not so."""
    accounts: Counter[int] = Counter()
    for sent in [*shop.sent.values(), *shop.signed_events()]:
        outcome = shop.final(sent)
        if outcome is None or outcome["status"] != "succeeded":
            continue
        if (wrong := _wrong(system, sent, outcome)) is not None:
            yield Breach(Promise.PROVEN, f"{sent.event_id}: {wrong}; {dict(outcome)}", sent.event_id)
        if sent.topic == "trader.purchased" and shop.orders[str(sent.body["orderId"])] is sent:
            accounts[outcome["accountId"]] += 1
    for account, count in accounts.items():
        if count > 1:
            yield Breach(Promise.PROVEN, f"account {account} is that of {count} orders")


def _wrong(system: System, sent: Sent, outcome: Mapping[str, Any]) -> str | None:
    """What a succeeded event claims and the partner does not have."""
    world, effects = system.partner.sandbox.core.world, system.partner.sandbox.core.effects
    user, account = outcome["userId"], outcome["accountId"]
    match sent.topic:
        case "trader.purchased" | "account.assigned":
            permission = world.permissions.rows.get(outcome["tradingPermissionId"], {})
            right = (permission.get("accountId"), permission.get("userId")) == (account, user)
            if right and sent.topic == "trader.purchased":
                right = world.accounts.rows[account]["name"] == account_of(sent)
        case "trader.failed":
            right = all(world.permissions.rows[each]["status"] == "Revoked" for each in outcome["tradingPermissionIds"])
        case "trader.left":
            # A look-up that finds nothing to cancel is enough.
            right = all(f"{domain}:{user}" in effects.cancels or not _has(world, domain, user) for domain in DOMAINS)
        case "md.signed":
            right = f"{user}:{outcome['entitlementId']}" in effects.entitlements
        case "trader.passed":
            right = world.requests.rows.get(outcome["requestId"], {}).get("ctaUserId") == user
        case "account.reset":
            right = any(key.startswith(f"{account}:") for key in effects.resets)
        case "permission.requested":
            # One that was there already counts as success.
            right = any(row["accountId"] == account for row in world.permissions.rows.values())
        case _:
            right = True  # locks and limits: see `turns.py`
    return None if right else "the partner has something else"


DOMAINS = ("live", "demo")


def _has(world: World, domain: str, user: int) -> bool:
    """Whether there is something on this domain that a departure cancels."""
    if domain == "demo":
        return any(row["status"] != "Revoked" for row in world.permissions.of(user))
    tables = (world.subscriptions, world.plugins, world.market_data)
    there = any(not ended(row) for table in tables for row in table.of(user))
    return there or any(row["status"] != "Revoked" for row in world.live_permissions.of(user))


def out(system: System, shop: Shop) -> Iterator[Breach]:
    """Traders whose failure has ended and whose purchase left them a trading permission."""
    world = system.partner.sandbox.core.world
    for sent in shop.of("trader.failed"):
        failed, bought = shop.final(sent), shop.final(shop.orders[str(sent.body["orderId"])])
        if failed is None or bought is None or bought["status"] != "succeeded":
            continue
        status = world.permissions.rows[bought["tradingPermissionId"]]["status"]
        # What overtakes its purchase by more than the wait for it has found nothing.
        if status != "Revoked" and not refused(failed) and failed["errorCode"] != "not_found":
            what = f"permission {bought['tradingPermissionId']} is {status}; {dict(failed)}"
            yield Breach(Promise.OUT, what, sent.event_id)


REFUSED = "Refused by the torture"
"""The text with which the partner refuses an item (`misfortunes.py`)."""


def refused(outcome: Mapping[str, Any]) -> bool:
    """Whether the partner has refused it, by a misfortune."""
    return outcome["errorCode"] == "rejected" and REFUSED in str(outcome["errorText"])
