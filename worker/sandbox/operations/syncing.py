"""Authorizing a socket, and the one sync request that it may make (WebSocket pages, sync request page)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.sandbox.fields import Malformed
from worker.sandbox.operation import Call, Operation
from worker.sandbox.operations.risk import shown, touched
from worker.sandbox.responses import Reply, raw, text
from worker.sandbox.risk_events import written

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.sandbox.world import Row

__all__ = ["OPERATIONS"]

FAMILIES = {
    "user": ("users", "live"),
    "account": ("accounts", "demo"),
    "userPlugin": ("userPlugins", "live"),
    "tradovateSubscription": ("tradovateSubscriptions", "live"),
    "accountRiskStatus": ("accountRiskStatuses", "demo"),
}
"""Entity type -> its array in the answer, and the domain that has any."""


def authorize(call: Call) -> Reply:
    """Let the socket in with a token that is valid now; it is not cut when that token ends."""
    if call.connection is None:
        return raw(404)
    standing, token = call.sessions.standing(str(call.body.get("token", "")), call.now)
    if standing != "valid" or token is None:
        call.hub.counts["refused"] += 1
        return text(401, "Invalid access token")
    call.hub.authorize(call.config, call.connection, token)
    return Reply()


def sync_request(call: Call) -> Reply:
    """Tell the initial data, in parts, and subscribe to what is named. Asked for nothing, it tells almost nothing."""
    connection, config = call.connection, call.config
    kinds = call.body.get("entityTypes") or []
    if not isinstance(kinds, list):
        raise Malformed("entityTypes")
    if connection is None:
        return Reply(data=_merged(_snapshot(call, kinds)))
    if connection.synced:
        if config.second_sync == "close":
            connection.cut()
        return text(400, "Only one sync request is allowed per connection")
    if "accountRiskStatus" in kinds and config.risks_permission == "Denied" and config.risk_sync_denied == "401":
        connection.synced = True
        return text(401, "Access is denied")
    if not call.body.get("splitResponses") and config.sync_without_split == "close":
        connection.cut()
        return Reply()
    connection.synced = True
    connection.entity_types = frozenset(map(str, kinds))
    connection.shard = _shard(call.body.get("shardingExpression"))
    call.hub.counts["synced"] += 1
    parts = _snapshot(call, kinds)
    if not call.body.get("splitResponses"):
        return Reply(data=_merged(parts))
    if config.sync_shuffled:
        parts.reverse()
    return Reply(parts=parts)


def _shard(expression: Any) -> tuple[str, int, int] | None:
    if not isinstance(expression, dict):
        return None
    divisor, remainder = expression.get("divisor"), expression.get("remainder")
    if not isinstance(divisor, int) or not isinstance(remainder, int) or divisor < 1:
        raise Malformed("shardingExpression")
    return str(expression.get("expressionType")), divisor, remainder


def _snapshot(call: Call, kinds: list[Any]) -> list[dict[str, list[Row]]]:
    """Return the initial data as disjoint parts, as many as the switch says; each names the two required arrays."""
    world = call.world
    statuses = (shown(call, row) for row in world.risk_statuses.visible())
    seen = (row for row in statuses if call.config.risk_rows == "always" or touched(row))
    may_read = call.config.risks_permission != "Denied"
    tables: dict[str, Iterable[Row]] = {
        "user": world.users.visible(),
        "account": world.accounts.visible(),
        "userPlugin": world.plugins.visible(),
        "tradovateSubscription": world.subscriptions.visible(),
        "accountRiskStatus": (written(call.config, row) for row in seen) if may_read else (),
    }
    sent = [
        (array, row)
        for kind, (array, domain) in FAMILIES.items()
        if kind in kinds and domain == call.domain
        for row in tables[kind]
    ]
    wanted = max(1, call.config.sync_messages)
    size = max(1, -(-len(sent) // wanted))
    parts = [_part(sent[at : at + size]) for at in range(0, len(sent), size)]
    return parts + [_part(()) for _ in range(wanted - len(parts))]


def _part(rows: Iterable[tuple[str, Row]]) -> dict[str, list[Row]]:
    part: dict[str, list[Row]] = {"users": [], "contractGroups": []}
    for array, row in rows:
        part.setdefault(array, []).append(row)
    return part


def _merged(parts: list[dict[str, list[Row]]]) -> dict[str, list[Row]]:
    whole: dict[str, list[Row]] = {}
    for part in parts:
        for array, rows in part.items():
            whole.setdefault(array, []).extend(rows)
    return whole


OPERATIONS = {
    "/authorize": Operation(authorize, public=True, writes=False),
    "/user/syncrequest": Operation(sync_request, writes=False),
}
