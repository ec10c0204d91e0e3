"""`risk.changed`: limits of an account, read first, merged, sent, and read back before it counts.

Whether Tradovate keeps limits that are left out is not known. So all that the account has are sent with those of the
event, and what was read for that is not sent when it is old (`FRESH`): somebody may have changed it in the dashboard.
After an answer the account is read until it shows the event's limits; a read may be behind what was written. If it
still shows what was there before, limits are read and sent again, `ROUNDS` times in all. If it shows a third value,
somebody has set that meanwhile, or Tradovate has changed ours: nothing is sent over it, and an operator must look.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from schemas.events import RiskChanged
from schemas.outcomes import ErrorCode
from worker.engine.flows.account_ref import account_of, owner_facts
from worker.engine.flows.base import SUCCEEDED, Facts, Item, Names, Planned, Rules, Send, View, failed
from worker.engine.flows.common import ended_by, new_round
from worker.engine.flows.locked import KEPT, READS, ROUNDS, after, not_shown, read_again
from worker.engine.flows.turns import LIMITS, held_up
from worker.results import Result, Succeeded

UPDATE, READ = "updateUserAutoLiqs", "updateUserAutoLiqs@read"

FRESH = timedelta(minutes=5)
"""For how long limits that were read may be sent back. Longer than a step lingers (BATCH_LINGER_MAX_SECONDS, a minute
by default), shorter than a lock-out."""


RETRY_FOR = timedelta(minutes=2)
"""For how long one reading of the limits is sent; then they are read again. Shorter than `FRESH`."""


class RiskUpdate:
    """Limits are changed."""

    topic = "risk.changed"

    def names(self, event: RiskChanged) -> Names:
        """The account, the order."""
        return Names(order_id=event.order_id, account_id=event.account_id, in_turn=LIMITS)

    def details(self, _event: RiskChanged) -> bytes:
        """It asks for no order."""
        return b""

    def freeze(self, event: RiskChanged, _rules: Rules) -> RiskChanged:
        """As it is."""
        return event

    def plan(self, view: View, rules: Rules) -> Planned:
        """When it is its turn: read, send, read until it is shown."""
        event, facts = _event(view), owner_facts(view, _event(view), new_round(view.facts, KEPT))
        if facts.get("shown"):
            return Planned(SUCCEEDED, facts)
        account = facts.get("accountId") or account_of(view, event, rules)
        if not isinstance(account, int):
            return Planned(account, facts)
        facts = {**facts, "accountId": account}
        waits = held_up(view)
        if waits is not None:
            return Planned(waits, facts)
        if "answered" in facts:
            return Planned(Send(READ, look_first=True, at=view.now + read_again(facts["reads"])), facts)
        tries = facts.get("tries", 0)
        if tries * min(RETRY_FOR, rules.retry_for) >= rules.retry_for:
            return Planned(failed(ErrorCode.GAVE_UP, facts["said"]), facts)
        if "read" not in facts or view.now - datetime.fromisoformat(facts["read"]) >= FRESH:
            return Planned(Send(READ, look_first=True, at=after(view, rules, tries)), _without(facts, "read"))
        return Planned(Send(UPDATE), facts)

    def learn(self, view: View, operation: str, result: Result) -> Planned | Facts:
        """Read; answered; shown; or not."""
        if operation == UPDATE:
            return self._sent(view, result)
        facts = view.facts
        if "answered" in facts:
            return _read_back(view, result)
        if not isinstance(result, Succeeded):
            return ended_by(result, facts)
        return {**facts, "limits": result.value["limits"], "read": view.now.isoformat()}

    def _sent(self, view: View, result: Result) -> Planned | Facts:
        facts, rounds = view.facts, view.facts.get("rounds", 0) + 1
        if isinstance(result, Succeeded):
            if result.value.get("shown"):
                return {**_without(facts, "limits"), "shown": True}
            return {**facts, "answered": True, "reads": 0, "rounds": rounds, "sent": rounds}
        if result.code is not ErrorCode.GAVE_UP:
            return ended_by(result, facts)
        return {**_without(facts, "read"), "tries": facts.get("tries", 0) + 1, "said": result.text}

    def item(self, view: View, operation: str, _rules: Rules) -> Item:
        """The account with all its limits; a flattening whose time has come is not asked for again."""
        asked = _asked(view)
        if operation == READ:
            return {"accountId": view.facts["accountId"], "_asked": asked}
        kept = {name: value for name, value in view.facts["limits"].items() if name != "flattenTimestamp"}
        flatten = view.facts["limits"].get("flattenTimestamp")
        if flatten is not None and _is_future(flatten, view.now):
            kept["flattenTimestamp"] = flatten
        return {"accountId": view.facts["accountId"], **kept, **asked, "_asked": asked}


def _read_back(view: View, result: Result) -> Planned | Facts:
    facts = view.facts
    if not isinstance(result, Succeeded):
        return not_shown(facts, f"Tradovate has accepted it, and it could not be read back: {result.text}")
    if result.value["shown"]:
        return {**_without(facts, "limits"), "shown": True}
    reads = facts["reads"] + 1
    if reads < READS:
        return {**facts, "reads": reads}
    asked, found = _asked(view), result.value["limits"]
    if others := [name for name in asked if found.get(name) not in (asked[name], facts["limits"].get(name))]:
        shown = ", ".join(f"{name} {found.get(name)}" for name in others)
        return not_shown(facts, f"Tradovate has accepted it, and shows other limits: {shown}.")
    if facts["rounds"] < ROUNDS:
        return _without(facts, "answered", "reads", "read")
    return not_shown(facts, f"Tradovate has accepted it {ROUNDS} times, and shows the limits that were there before.")


def _asked(view: View) -> Mapping[str, Any]:
    """The limits that the event gives; null is as good as absent."""
    return _event(view).post_trade_risk.model_dump(mode="json", by_alias=True, exclude_none=True)


def _is_future(text: str, now: datetime) -> bool:
    try:
        return datetime.fromisoformat(text) > now
    except (TypeError, ValueError):
        return False


def _without(facts: Facts, *names: str) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in names}


def _event(view: View) -> RiskChanged:
    assert isinstance(view.event, RiskChanged)
    return view.event
