"""`trader.left`: a trader goes for good. Everything is cancelled on LIVE and on DEMO when the trading day has ended.

Each domain is cancelled and verified by itself. One that cannot be reached does not hold up the other: the flow turns
to that one, comes back, and knows which of them is done.
"""

from __future__ import annotations

from datetime import timedelta

from schemas.events import TraderLeft
from schemas.outcomes import ErrorCode
from worker.flows.base import (
    SUCCEEDED,
    Facts,
    Failed,
    Item,
    Names,
    Planned,
    Rules,
    Send,
    StepEnd,
    View,
    Wait,
    failed,
    order_key,
)
from worker.flows.common import RECHECK, afresh, known_user, over, plus
from worker.flows.days import day_end
from worker.flows.purchased import KIND

CANCEL = {"cancelEverything": "LIVE", "cancelEverything@demo": "DEMO"}

PATIENCE = timedelta(minutes=5)
"""What one domain is tried for before it is the other one's turn; the operation gives up after so long."""


class Departure:
    """A trader goes for good."""

    topic = "trader.left"

    def names(self, event: TraderLeft) -> Names:
        """The trader, with all that they bought."""
        return Names(trader_id=event.trader_id, user_id=event.user_id, order_kind=KIND, of_trader=True)

    def details(self, _event: TraderLeft) -> bytes:
        """It asks for no order."""
        return b""

    def freeze(self, event: TraderLeft, _rules: Rules) -> TraderLeft:
        """As it is."""
        return event

    def plan(self, view: View, rules: Rules) -> Planned:
        """Waits for the day's end, then for accounts that are being made; then one domain after the other."""
        event, facts = _event(view), afresh(view.facts, ("userId", "done"))
        # Once it is known, it stays: what has been asked for is not left halfway.
        user = facts["userId"] if "userId" in facts else known_user(view, rules, event.trader_id, event.user_id)
        if not isinstance(user, int):
            return Planned(user, facts) if isinstance(user, Wait) else over(user, facts)
        facts = {**facts, "userId": user}
        # The day under way when the event came: at its very end the next one may have begun already.
        ends = None if event.immediate else day_end(view.since, rules.day_end)
        if ends is not None and view.now < ends:
            return Planned(Wait((), ends, pending=True), facts)
        making = [order_key(KIND, order.order_id) for order in view.known if _being_made(order.state, order.account_id)]
        if making:
            # What they make after the cancellation would let the trader in again.
            return Planned(Wait(making, view.now + RECHECK), facts)
        return _next(facts, rules)

    def learn(self, view: View, operation: str, end: StepEnd) -> Planned | Facts:
        """A domain is done, or was away for a while, or refused."""
        facts = view.facts
        if not isinstance(end, Failed):
            return plus(facts, "done", operation)
        if end.code is ErrorCode.GAVE_UP:
            away = facts.get("away", {})
            return {**facts, "away": {**away, operation: away.get(operation, 0) + 1}, "said": end.text}
        return {**facts, "lost": {**facts.get("lost", {}), operation: [end.code.value, end.text]}}

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """The user."""
        return {"userId": view.facts["userId"]}


def _next(facts: Facts, rules: Rules) -> Planned:
    """The domain that is neither done nor lost and was away least often; or the end."""
    away, lost = facts.get("away", {}), facts.get("lost", {})
    patience = min(PATIENCE, rules.retry_for)
    for operation, rounds in away.items():
        if rounds * patience >= rules.retry_for and operation not in lost:
            lost = {**lost, operation: [ErrorCode.GAVE_UP.value, facts["said"]]}
    left = [each for each in CANCEL if each not in facts.get("done", ()) and each not in lost]
    if left:
        return Planned(Send(min(left, key=lambda each: away.get(each, 0))), facts)
    if not lost:
        return over(SUCCEEDED, facts)
    text = "; ".join(f"{CANCEL[operation]}: {said}" for operation, (_, said) in lost.items())
    done = "".join(f" {CANCEL[operation]} is done." for operation in facts.get("done", ()))
    return over(failed(ErrorCode(next(iter(lost.values()))[0]), f"{text}{done}"), facts)


def _being_made(state: str, account_id: int | None) -> bool:
    return state == "open" and account_id is None


def _event(view: View) -> TraderLeft:
    assert isinstance(view.event, TraderLeft)
    return view.event
