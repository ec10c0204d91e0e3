"""What a step waited for between two things that happened to it, and what a wait's keys mean, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from schemas.times import Clock
from worker.dispatch.maintenance import window_end
from worker.ledger import holds
from worker.ledger.story import Held
from worker.operate.quantities import span
from worker.partner.operations import OPERATIONS

BRIEF = timedelta(milliseconds=100)
"""Shorter waits come from transactions and BATCH_LINGER_MS, and are not explained."""


def waited(operation: str, since: datetime, until: datetime, held: Sequence[Held], items: int, clock: Clock) -> str:
    """Why a step that was ready `since` was sent or looked up only at `until`; empty if that was at once. `items`: of
    the call that it was sent with.
    """
    if until - since < BRIEF:
        return ""
    reasons = [_hold(hold, clock) for hold in held if _holds_back(hold, operation, since, until)]
    known = OPERATIONS.get(operation)
    end = window_end(since) if known is not None and known.limits.maintenance else None
    if end is not None:
        reasons.append(f"the end of Tradovate's maintenance at {clock(end)}")
    if not reasons and items > 1:
        reasons = [f"others to share its call, which had {items} items, or for its turn"]
    if not reasons:
        reasons = ["its turn, for others to share its call, for the rate budget, or for another call of the trader"]
    return f"Waited {span(until - since)} for {' and '.join(reasons)}."


def _holds_back(hold: Held, operation: str, since: datetime, until: datetime) -> bool:
    general = (holds.ALL, holds.LOGIN, holds.PAUSE_ALL)
    scopes = (*general, holds.pause_scope(operation), holds.endpoint_scope(operation))
    return hold.scope in scopes and hold.since < until and (hold.until is None or hold.until > since)


def _hold(hold: Held, clock: Clock) -> str:
    ending = "" if hold.until is None else f" until {clock(hold.until)}"
    return f"the end of a hold ({hold.reason}, since {clock(hold.since)}{ending})"


def wait_keys(keys: Sequence[str]) -> str:
    """What wakes a waiting step, in words."""
    return " or ".join(wait_key(key) for key in keys) or "its time"


def wait_key(key: str) -> str:
    """One of the things that wake it."""
    kind, _, rest = key.partition(":")
    if kind == "trader":
        return f"the user of trader {rest}"
    if kind == "order":
        return f"order {rest.partition(':')[2] or rest}"
    if kind == "departure":
        return f"the end of the trader's departure, flow {rest}"
    if kind == "turn":
        return f"its turn: an earlier event of the account, flow {rest}"
    if kind == "proven":
        return "the results of the trader's other calls"
    return f"{kind} {rest}" if rest else key
