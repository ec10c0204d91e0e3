"""Departures and resets (cancel everything page, account actions page)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from worker.sandbox.fields import Malformed, trade_date_of
from worker.sandbox.operation import Call, Operation
from worker.sandbox.operations.accounts import LIVE_PERMISSION
from worker.sandbox.operations.permissions import revoke
from worker.sandbox.responses import Reply, refusal, simple, violations
from worker.sandbox.vendor_texts import message
from worker.sandbox.world import trade_date

if TYPE_CHECKING:
    from worker.sandbox.world import Row, Table

__all__ = ["OPERATIONS", "ended"]

_FLAGS = ("tradovateSubscriptions", "userPlugins", "marketDataSubscriptions", "tradingPermissions")


def cancel_everything(call: Call) -> Reply:
    """End what the users have on this domain. Ids of nobody are ignored; what is gone already is not reported again."""
    ids = _ids(call, "userIds")
    if not ids:
        return violations(call.config, [("userIds", "User Ids should be specified")])
    flags = {name: call.body.get(name, call.config.omitted_flags_cancel) for name in _FLAGS}
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise Malformed("flags")
    users = [user_id for user_id in dict.fromkeys(ids) if call.world.users.get(user_id) is not None]
    for user_id in users:
        call.effects.cancels[f"{call.domain}:{user_id}"] += 1
    live = call.domain == "live"
    world, today = call.world, trade_date(call.now)
    month = today["year"], today["month"]
    cancelled: dict[str, list[int]] = {
        "tradovateSubscriptionIds": _end(
            call,
            world.subscriptions,
            users if live and flags["tradovateSubscriptions"] else [],
            {"cancelledRenewal": True, "expirationDate": today, "cancelReason": "Cancelled by organization"},
        ),
        "userPluginIds": _end(
            call,
            world.plugins,
            users if live and flags["userPlugins"] else [],
            {"autorenewal": False, "approval": False, "expirationDate": today},
        ),
        # What was paid for in a former month stays as it is.
        "marketDataSubscriptionIds": _end(
            call,
            world.market_data,
            users if live and flags["marketDataSubscriptions"] else [],
            {"expired": True},
            lambda row: (row["year"], row["month"]) >= month,
        ),
        "tradingPermissionIds": [
            row["id"]
            for user_id in (users if flags["tradingPermissions"] else [])
            for row in (world.live_permissions if live else world.permissions).of(user_id)
            if revoke(call, row)
        ],
    }
    return Reply(data=cancelled)


def ended(row: Row) -> bool:
    """Say whether a subscription, an entitlement or market data were cancelled."""
    return bool(row.get("cancelledRenewal") or row.get("expired") or row.get("autorenewal") is False)


def _end(
    call: Call,
    table: Table,
    users: list[int],
    marks: dict[str, Any],
    meant: Callable[[Row], bool] = lambda _row: True,
) -> list[int]:
    rows = [row for user_id in users for row in table.of(user_id) if not ended(row) and meant(row)]
    for row in rows:
        if call.config.cancelled_in_deps == "gone":
            table.remove(row["id"])
        else:
            row.update(marks)
    return [row["id"] for row in rows]


def reset_demo_account_state(call: Call) -> Reply:
    """Put accounts back to the open of a session; the same again changes nothing more."""
    ids = _ids(call, "accountIds")
    if not ids:
        return refusal(message(call.config, "empty_accounts"), ok=False)
    if call.body.get("resetTradeDate") is None:
        return violations(call.config, [("resetTradeDate", "Reset Trade Date should be specified")])
    day = trade_date_of(call.body["resetTradeDate"])
    checks: list[tuple[str, Callable[[int], bool]]] = [
        ("unknown_account", lambda row_id: call.world.accounts.get(row_id) is not None),
        ("no_active_permission", lambda row_id: not call.config.resets_need_permission or _active(call, row_id)),
    ]
    for code, holds in checks:
        if not all(map(holds, ids)):
            return refusal(message(call.config, code), ok=False)
    for row_id in ids:
        call.effects.resets[f"{row_id}:{day}"] += 1
    return simple(call.config)


def _active(call: Call, account_id: int) -> bool:
    return any(row["status"] in LIVE_PERMISSION for row in call.world.permissions_on(account_id))


def _ids(call: Call, name: str) -> list[int]:
    ids = call.body.get(name) or []
    if not isinstance(ids, list) or not all(type(item) is int for item in ids):
        raise Malformed(name)
    return ids


OPERATIONS = {
    "/user/canceleverything": Operation(cancel_everything, items="userIds"),
    "/account/resetdemoaccountstate": Operation(reset_demo_account_state, domain="demo", items="accountIds"),
}
