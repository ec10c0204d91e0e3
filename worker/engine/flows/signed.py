"""`md.signed`: a trader signed the Market Data Agreement and gets the entitlement that waits for it.

The signal may come before the partner has recorded the signature. Then the call is rejected with `Live account is
required`. It is tried again for a day, less and less often, and at once when another `md.signed` of that user comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from schemas.events import MdSigned
from schemas.outcomes import ErrorCode
from worker.engine.facts import STORED, Facts, changed
from worker.engine.flows.base import (
    SUCCEEDED,
    Item,
    Names,
    Planned,
    Rules,
    Send,
    View,
    Wait,
    WithoutOrder,
    failed,
    of_type,
)
from worker.engine.flows.common import back_off, ended_by
from worker.engine.flows.departing import stopped
from worker.results import Result, Succeeded

ADD = "addEntitlementSubscription"
AGAIN = "addEntitlementSubscription@again"
"""Tries that came due by themselves: less urgent, and no more than a share of the budget, so that ten thousand traders
who have not signed cost the others nothing."""

NOT_YET = "live account is required"

CAP_FACTOR = 12
"""The back-off grows to twelve times RETRY_CAP_SECONDS (README, "What happens when"), an hour."""


def signed_key(user_id: int) -> str:
    """The wake key of another signature of that user."""
    return f"signed:{user_id}"


@dataclass(frozen=True, slots=True)
class NotYet:
    """The wait for the next try. `tries` so far; `spent`: seconds waited for those before."""

    __pydantic_config__: ClassVar = STORED

    tries: int
    spent: float
    since: datetime
    until: datetime


@dataclass(frozen=True, kw_only=True)
class SignedFacts(Facts):
    """The entitlement, and how often it was too early."""

    entitled: bool = False
    refused: str | None = None
    """What the partner said: not yet. Cleared when the flow is planned."""
    not_yet: NotYet | None = None


class Entitlement(WithoutOrder):
    """The Market Data Agreement is signed."""

    topic = "md.signed"
    facts = SignedFacts

    def names(self, event: MdSigned) -> Names:
        """The user."""
        return Names(user_id=event.user_id, gives=True)

    def freeze(self, event: MdSigned, rules: Rules) -> MdSigned:
        """With the entitlement of the settings, if the event names none: what was asked for does not change later."""
        if event.entitlement_id is not None or rules.entitlement_id is None:
            return event
        return event.model_copy(update={"entitlement_id": rules.entitlement_id})

    def plan(self, view: View, rules: Rules) -> Planned:
        """Looks whether the user has it, adds it, and wakes those that wait for the same."""
        event = of_type(view.event, MdSigned)
        first = view.facts.entitlement_id is None
        facts = of_type(view.facts, SignedFacts).new_round()
        if facts.entitled:
            return Planned(SUCCEEDED, facts)
        if event.entitlement_id is None:
            text = "The event names no entitlementId, and TRADOVATE_TPROP_ENTITLEMENT_ID is not set."
            return Planned(failed(ErrorCode.INVALID, text), facts)
        facts = changed(facts, entitlement_id=event.entitlement_id)
        if facts.refused is not None:
            return _wait(view, rules, changed(facts, refused=None), facts.refused)
        # Planned before its time, it was woken: the step that woke it is sent now, and one call serves both.
        by_itself = facts.not_yet is not None and view.now >= facts.not_yet.until
        alike = f"{event.user_id}:{event.entitlement_id}"
        send = Send(AGAIN if by_itself else ADD, look_first=True, alike=alike)
        return Planned(stopped(view) or send, facts, (signed_key(event.user_id),) if first else ())

    def learn(self, view: View, _operation: str, result: Result) -> Planned | Facts:
        """Done; not yet; or the refusal word by word."""
        facts = of_type(view.facts, SignedFacts)
        facts = changed(facts, sent=facts.sent + view.attempts)
        if isinstance(result, Succeeded):
            return changed(facts, entitled=True)
        if result.code is ErrorCode.REJECTED and NOT_YET in result.text.lower():
            return changed(facts, refused=result.text)
        return ended_by(result, facts)

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """User and entitlement."""
        event = of_type(view.event, MdSigned)
        return {"entitlementId": event.entitlement_id, "userId": event.user_id}


def _wait(view: View, rules: Rules, facts: SignedFacts, text: str) -> Planned:
    """Not yet: waits for the next try, or gives up."""
    tries, spent = 1, 0.0
    if (waited := facts.not_yet) is not None:
        # Time in a lock-out or behind an empty budget does not count: no more than was meant to be waited.
        passed = min(view.now, waited.until) - waited.since
        tries, spent = waited.tries + 1, waited.spent + passed.total_seconds()
    delay = back_off(view, rules, tries, rules.retry_cap * CAP_FACTOR)
    left = rules.retry_for - timedelta(seconds=spent)
    if left < timedelta(milliseconds=1):
        return Planned(failed(ErrorCode.GAVE_UP, text), facts)
    until = view.now + min(delay, left)
    note = NotYet(tries, spent, view.now, until)
    return Planned(Wait((signed_key(of_type(view.event, MdSigned).user_id),), until), changed(facts, not_yet=note))
