"""`risk.changed`: limits of an account, read first, merged, sent, and read back before it counts.

Whether Tradovate keeps limits that are left out is not known. So all limits of the account are sent together with those
of the event. Limits that were read too long ago (`FRESH`) are not sent: somebody may have changed them in the
dashboard. After an answer the account is read until it shows the event's limits; a read may be behind what was written.
If it still shows what was there before, limits are read and sent again, `ROUNDS` times in all. If it shows a third
value, somebody has set that meanwhile, or Tradovate has changed ours: nothing is sent over it, and an operator must
look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from schemas.events import RiskChanged
from schemas.outcomes import ErrorCode
from worker.engine.facts import STORED, Facts, changed
from worker.engine.flows.account_ref import owner_facts
from worker.engine.flows.base import SUCCEEDED, Item, Names, Planned, Rules, Send, View, WithoutOrder, failed, of_type
from worker.engine.flows.common import ended_by
from worker.engine.flows.locked import READS, ROUNDS, ReadBackFacts, after, in_turn, not_shown, read_again
from worker.engine.flows.turn_rules import LIMITS
from worker.results import Result, Succeeded

UPDATE, READ = "updateUserAutoLiqs", "updateUserAutoLiqs@read"

FRESH = timedelta(minutes=5)
"""For how long limits that were read may be sent back. Longer than a step lingers (BATCH_LINGER_MAX_SECONDS, a minute
by default), shorter than a lock-out."""

RETRY_FOR = timedelta(minutes=2)
"""For how long one reading of the limits is sent; then they are read again. Shorter than `FRESH`."""


@dataclass(frozen=True, slots=True)
class LimitsRead:
    """The limits that an account had at a time, by the partner's names."""

    __pydantic_config__: ClassVar = STORED

    at: datetime
    limits: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RiskFacts(ReadBackFacts):
    """`tries`: readings that were sent in vain; `said`: what was said of the last one."""

    reading: LimitsRead | None = None
    tries: int = 0
    said: str | None = None


class RiskUpdate(WithoutOrder):
    """Limits are changed."""

    topic = "risk.changed"
    facts = RiskFacts

    def names(self, event: RiskChanged) -> Names:
        """The account, the order."""
        return Names(order_id=event.order_id, account_id=event.account_id, in_turn=LIMITS)

    def plan(self, view: View, rules: Rules) -> Planned:
        """When it is its turn: read, send, read until it is shown."""
        event = of_type(view.event, RiskChanged)
        facts = owner_facts(view, event, of_type(view.facts, RiskFacts).new_round())
        if facts.shown:
            return Planned(SUCCEEDED, facts)
        facts, waits = in_turn(view, event, facts, rules)
        if waits is not None:
            return Planned(waits, facts)
        if facts.answered is not None:
            return Planned(Send(READ, look_first=True, at=view.now + read_again(facts.answered.reads)), facts)
        if facts.said is not None and facts.tries * min(RETRY_FOR, rules.retry_for) >= rules.retry_for:
            return Planned(failed(ErrorCode.GAVE_UP, facts.said), facts)
        if facts.reading is None or view.now - facts.reading.at >= FRESH:
            send = Send(READ, look_first=True, at=after(view, rules, facts.tries))
            return Planned(send, changed(facts, reading=None))
        return Planned(Send(UPDATE), facts)

    def learn(self, view: View, operation: str, result: Result) -> Planned | Facts:
        """Read; answered; shown; or not."""
        facts = of_type(view.facts, RiskFacts)
        if operation == UPDATE:
            return _sent(facts, result)
        if facts.answered is not None:
            return _read_back(view, facts, result)
        if not isinstance(result, Succeeded):
            return ended_by(result, facts)
        return changed(facts, reading=LimitsRead(view.now, result.value["limits"]))

    def item(self, view: View, operation: str, _rules: Rules) -> Item:
        """The account with all its limits; a flattening whose time has come is not asked for again."""
        asked, facts = _asked(view), of_type(view.facts, RiskFacts)
        if operation == READ:
            return {"accountId": facts.account_id, "_asked": asked}
        assert facts.reading is not None
        flatten = facts.reading.limits.get("flattenTimestamp")
        past = flatten is None or not _is_future(flatten, view.now)
        kept = {name: value for name, value in facts.reading.limits.items() if name != "flattenTimestamp" or not past}
        return {"accountId": facts.account_id, **kept, **asked, "_asked": asked}


def _sent(facts: RiskFacts, result: Result) -> Planned | Facts:
    if isinstance(result, Succeeded):
        return changed(facts, shown=True, reading=None) if result.value.get("shown") else facts.with_answer()
    if result.code is not ErrorCode.GAVE_UP:
        return ended_by(result, facts)
    return changed(facts, reading=None, tries=facts.tries + 1, said=result.text)


def _read_back(view: View, facts: RiskFacts, result: Result) -> Planned | Facts:
    answered, reading = facts.answered, facts.reading
    assert answered is not None
    assert reading is not None
    if not isinstance(result, Succeeded):
        return not_shown(facts, f"Tradovate has accepted it, and it could not be read back: {result.text}")
    if result.value["shown"]:
        return changed(facts, shown=True, reading=None)
    if answered.reads + 1 < READS:
        return changed(facts, answered=replace(answered, reads=answered.reads + 1))
    asked, found = _asked(view), result.value["limits"]
    if others := [name for name in asked if found.get(name) not in (asked[name], reading.limits.get(name))]:
        shown = ", ".join(f"{name} {found.get(name)}" for name in others)
        return not_shown(facts, f"Tradovate has accepted it, and shows other limits: {shown}.")
    if facts.rounds < ROUNDS:
        return changed(facts, answered=None, reading=None)
    return not_shown(facts, f"Tradovate has accepted it {ROUNDS} times, and shows the limits that were there before.")


def _asked(view: View) -> Mapping[str, Any]:
    """The limits that the event gives; null is as good as absent."""
    return of_type(view.event, RiskChanged).post_trade_risk.model_dump(mode="json", by_alias=True, exclude_none=True)


def _is_future(text: str, now: datetime) -> bool:
    try:
        return datetime.fromisoformat(text) > now
    except (TypeError, ValueError):
        return False
