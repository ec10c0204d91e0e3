"""The events that fix differences. Pure.

Their ids follow from what they are about: the same difference makes the same event in every run, and the worker carries
it out once. When such an event has ended and the difference is there again, it makes the next one.
"""

from __future__ import annotations

import hashlib
from typing import Any

from worker.ledger.differences import Fix
from worker.ledger.reconcile_view import LedgerTrader
from worker.operate.reconcile.standing import FAILED, LEFT, SIGNED, TraderStanding

PREFIX = "reconcile-"


def fails(standing: TraderStanding, trader: LedgerTrader, account_id: int, permission_id: int) -> Fix:
    """`trader.failed`: this trading permission is revoked, and no other one on its account."""
    body = {"traderId": trader.trader_id, "tradingPermissionIds": [permission_id]}
    return _fix(standing, FAILED, (trader.trader_id, account_id, permission_id), body)


def departs(standing: TraderStanding, trader: LedgerTrader) -> Fix:
    """`trader.left`: everything of the user is cancelled, at once: there is nothing whose day could be waited for."""
    body = {"traderId": trader.trader_id, "userId": trader.user_id, "immediate": True}
    return _fix(standing, LEFT, (trader.trader_id, trader.user_id), body)


def signs(standing: TraderStanding, trader: LedgerTrader, entitlement_id: int) -> Fix:
    """`md.signed`: the entitlement is added."""
    body = {"userId": trader.user_id, "entitlementId": entitlement_id}
    return _fix(standing, SIGNED, (trader.user_id, entitlement_id), body)


def _fix(standing: TraderStanding, topic: str, about: tuple[Any, ...], body: dict[str, Any]) -> Fix:
    name = PREFIX + hashlib.sha256("\n".join(map(str, (topic, *about))).encode()).hexdigest()[:20]
    # None of them is under way, for then the difference would be in progress.
    former = [_number(each, name) for each in standing.event_ids]
    event_id = f"{name}-{max(former, default=0) + 1}"
    return Fix(topic, event_id, {"eventId": event_id, **body})


def _number(event_id: str, name: str) -> int:
    head, _, number = event_id.rpartition("-")
    return int(number) if head == name and number.isascii() and number.isdigit() else 0
