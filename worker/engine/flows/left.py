"""`trader.left`: a trader goes for good. Everything is cancelled on LIVE and on DEMO when the trading day has ended.

Each domain is cancelled and verified by itself. One that cannot be reached does not hold up the other: the flow turns
to that one, comes back, and knows which of them is done.

From the moment the departure is executed (`begun`), its trader is given nothing more (`departing.py`). What had been
sent before, with a result that is not known yet, may still take effect: a domain is done only if it was verified when
no such result was left.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from schemas.events import TraderLeft
from schemas.outcomes import ErrorCode
from worker.engine.flows.base import (
    SUCCEEDED,
    Decision,
    Facts,
    Item,
    Names,
    OrderView,
    Planned,
    Rules,
    Send,
    View,
    Wait,
    failed,
    order_key,
    proven_key,
    warned,
)
from worker.engine.flows.common import known_user, new_round, plus
from worker.engine.flows.days import departure_due, renewal_after
from worker.engine.flows.departing import GIVES
from worker.engine.flows.purchased import KIND
from worker.results import Result, Succeeded

CANCEL = {"cancelEverything": "LIVE", "cancelEverything@demo": "DEMO"}

PATIENCE = timedelta(minutes=5)
"""What one domain is tried for before it is the other one's turn; the operation gives up after so long."""

LET_FINISH = timedelta(seconds=30)
"""How long a purchase that came before the departure may still be worked on, if RETRY_CAP_SECONDS is not shorter. It
takes a second or two; one that is held up (maintenance, an outage, a pause) must not keep its trader in."""

LOOK_AGAIN = timedelta(seconds=15)
"""Between two looks at whether the results of the trader's other calls are known, should a wake-up be lost."""

_KEPT = ("userId", "came", "since", "begun", "cancelled", "done")


class Departure:
    """A trader goes for good."""

    topic = "trader.left"

    def names(self, event: TraderLeft) -> Names:
        """The trader, with all that they bought."""
        return Names(trader_id=event.trader_id, user_id=event.user_id, order_kind=KIND, of_trader=True, departs=True)

    def details(self, _event: TraderLeft) -> bytes:
        """It asks for no order."""
        return b""

    def freeze(self, event: TraderLeft, _rules: Rules) -> TraderLeft:
        """As it is."""
        return event

    def plan(self, view: View, rules: Rules) -> Planned:
        """Waits for the day's end, then for purchases that are being made; then one domain after the other."""
        event, facts = _event(view), new_round(view.facts, _KEPT)
        first = "came" not in facts
        if first:
            facts = {**facts, "came": view.asked.isoformat()}  # a retry does not wait for the end of its own day
        # Once it is known, it stays: what has been asked for is not left halfway.
        user = facts["userId"] if "userId" in facts else known_user(view, rules, event.trader_id, event.user_id)
        if not isinstance(user, int):
            return Planned(user, facts)
        facts = {**facts, "userId": user}
        if view.on_live:
            facts = {**facts, "onLive": True}
        if "since" not in facts:
            # A departure that came before its trader was seen has overtaken what made the trader known.
            facts = {**facts, "since": (view.asked if first else view.now).isoformat()}
        came = datetime.fromisoformat(facts["came"])
        due = came if event.immediate else departure_due(came, rules.day_end)
        if view.now < due:
            return Planned(Wait((), due, pending=True), facts)
        if "begun" not in facts:
            wait, facts = _let_finish(view, facts, rules)
            if wait is not None:
                return Planned(wait, facts)
            facts = {**facts, "begun": view.now.isoformat()}
        decision, facts = _next(view, facts, rules)
        return Planned(decision, facts)

    def learn(self, view: View, operation: str, result: Result) -> Planned | Facts:
        """A domain is done, or was away for a while, or refused."""
        facts = view.facts
        if isinstance(result, Succeeded):
            facts = plus(facts, "cancelled", operation)
            return facts if _unproven(view, operation) else _done(view, facts, operation)
        if result.code is ErrorCode.GAVE_UP:
            away = facts.get("away", {})
            return {**facts, "away": {**away, operation: away.get(operation, 0) + 1}, "said": result.text}
        return {**facts, "lost": {**facts.get("lost", {}), operation: [result.code.value, result.text]}}

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """The user, and whether this worker has made a trading permission on LIVE for them."""
        return {"userId": view.facts["userId"], "_permitted_on_live": "onLive" in view.facts}


def _let_finish(view: View, facts: Facts, rules: Rules) -> tuple[Wait | None, Facts]:
    """A wait for purchases that came before the departure and are being made."""
    since = datetime.fromisoformat(facts["since"])
    making = [order_key(KIND, order.order_id) for order in view.known if _being_made(order, since)]
    until = datetime.fromisoformat(facts["until"]) if "until" in facts else None
    until = until or view.now + min(LET_FINISH, rules.retry_cap)
    if not making or view.now >= until:
        return None, facts
    return Wait(making, until), {**facts, "until": until.isoformat()}


def _being_made(order: OrderView, since: datetime) -> bool:
    if order.state != "open" or (order.asked is not None and order.asked > since):
        return False
    return order.account_id is None or order.permission_id is None


def _unproven(view: View, operation: str) -> bool:
    """Whether something that was sent before may still appear on the operation's domain."""
    return any(GIVES.get(each) == CANCEL[operation] for each in view.unproven)


def _done(view: View, facts: Facts, operation: str) -> Facts:
    came = datetime.fromisoformat(facts["came"])
    renewed = renewal_after(came)
    if CANCEL[operation] == "LIVE" and view.now >= renewed and operation not in facts.get("done", ()):
        day = f"{renewed:%d %B %Y}"
        facts = warned(facts, f"It was done after 19:00 on {day}: what the user had then is billed for the next month.")
    return plus(facts, "done", operation)


def _next(view: View, facts: Facts, rules: Rules) -> tuple[Decision, Facts]:
    """The domain that is neither done nor lost and was away least often; or the end."""
    away, lost = facts.get("away", {}), facts.get("lost", {})
    patience = min(PATIENCE, rules.retry_for)
    for operation, rounds in away.items():
        if rounds * patience >= rules.retry_for and operation not in lost:
            lost = {**lost, operation: [ErrorCode.GAVE_UP.value, facts["said"]]}
    done, cancelled = facts.get("done", ()), facts.get("cancelled", ())
    left = [each for each in CANCEL if each not in done and each not in lost]
    ready = [each for each in left if each not in cancelled or not _unproven(view, each)]
    if ready:
        operation = min(ready, key=lambda each: away.get(each, 0))
        return Send(operation, look_first=operation in cancelled), facts
    if left:
        return Wait((proven_key(view.flow_id),), view.now + LOOK_AGAIN), facts
    if not lost:
        return SUCCEEDED, facts
    text = "; ".join(f"{CANCEL[operation]}: {said}" for operation, (_, said) in lost.items())
    text += "".join(f" {CANCEL[operation]} is done." for operation in done)
    return failed(ErrorCode(next(iter(lost.values()))[0]), text), facts


def _event(view: View) -> TraderLeft:
    assert isinstance(view.event, TraderLeft)
    return view.event
