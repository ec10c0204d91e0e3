"""`trader.left`: a trader goes for good. Everything is cancelled on LIVE and on DEMO when the trading day has ended.

Each domain is cancelled and verified by itself. One that cannot be reached does not hold up the other: the flow turns
to that one, comes back, and knows which of them is done.

From the moment the departure is executed (`begun`), its trader is given nothing more (`departing.py`). Calls that were
sent before and have no known result may still take effect. So a domain is done only if it was verified after the last
such result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from schemas.events import TraderLeft
from schemas.outcomes import ErrorCode
from worker.engine.facts import STORED, DepartureDates, Facts, Trouble, changed
from worker.engine.flows.base import (
    SUCCEEDED,
    Decision,
    Item,
    Names,
    OrderView,
    Planned,
    Rules,
    Send,
    View,
    Wait,
    WithoutOrder,
    failed,
    of_type,
    order_key,
    proven_key,
)
from worker.engine.flows.common import known_user
from worker.engine.flows.days import departure_due, renewal_after
from worker.engine.flows.departing import GIVES
from worker.engine.flows.purchased import KIND
from worker.results import Result, Succeeded

LIVE, DEMO = "LIVE", "DEMO"
"""The domains, in the order in which they are cancelled."""

CANCEL: Mapping[str, str] = {LIVE: "cancelEverything", DEMO: "cancelEverything@demo"}
"""The operation of each domain."""

PATIENCE = timedelta(minutes=5)
"""What one domain is tried for before it is the other one's turn; the operation gives up after so long."""

LET_FINISH = timedelta(seconds=30)
"""How long a purchase that came before the departure may still be worked on, if RETRY_CAP_SECONDS is not shorter. It
takes a second or two; one that is held up (maintenance, an outage, a pause) must not keep its trader in."""

RESULTS_AGAIN = timedelta(seconds=15)
"""Between two looks at whether the results of the trader's other calls are known, should a wake-up be lost."""


@dataclass(frozen=True, slots=True)
class Cancelling:
    """What is known of one domain. `cancelled`: nothing is in force there; `done`: and nothing may appear any more.

    `away`: how often it was tried for `PATIENCE` in vain; `lost`: why it is not tried any more.
    """

    __pydantic_config__: ClassVar = STORED

    cancelled: bool = False
    done: bool = False
    away: int = 0
    lost: Trouble | None = None


@dataclass(frozen=True, kw_only=True)
class LeftFacts(Facts):
    """The departure's times, and how far each domain is."""

    came: datetime | None = None
    """When it was asked for. A retry does not wait for the end of its own day."""
    since: datetime | None = None
    """What was asked for later is of a trader who comes back. None: the trader is not known yet."""
    until: datetime | None = None
    """Until when what came before it may finish."""
    begun: datetime | None = None
    """Since when nothing more is given to the trader."""
    on_live: bool = False
    """This worker has made a trading permission on LIVE for the user."""
    said: str | None = None
    """What was said of the domain that was away last."""
    live: Cancelling = Cancelling()
    demo: Cancelling = Cancelling()

    @property
    def departure(self) -> DepartureDates | None:
        """Its dates, once its trader is known."""
        return None if self.since is None else DepartureDates(self.since, self.begun)

    def kept(self) -> Self:
        """What is done and cancelled stays so; a domain that was away or refused is tried again."""
        live, demo = (Cancelling(each.cancelled, each.done) for each in (self.live, self.demo))
        return type(self)(
            user_id=self.user_id, came=self.came, since=self.since, begun=self.begun, live=live, demo=demo
        )

    @property
    def domains(self) -> Mapping[str, Cancelling]:
        """How far each domain is."""
        return {LIVE: self.live, DEMO: self.demo}

    def with_domain(self, domain: str, **changes: Any) -> Self:
        """The facts with changes of one domain."""
        if domain == LIVE:
            return changed(self, live=replace(self.live, **changes))
        return changed(self, demo=replace(self.demo, **changes))


class Departure(WithoutOrder):
    """A trader goes for good."""

    topic = "trader.left"
    facts = LeftFacts

    def names(self, event: TraderLeft) -> Names:
        """The trader, with all that they bought."""
        return Names(trader_id=event.trader_id, user_id=event.user_id, order_kind=KIND, of_trader=True, departs=True)

    def plan(self, view: View, rules: Rules) -> Planned:
        """Waits for the day's end, then for purchases that are being made; then one domain after the other."""
        event, facts = of_type(view.event, TraderLeft), of_type(view.facts, LeftFacts).new_round()
        first, came = facts.came is None, facts.came or view.asked
        facts = changed(facts, came=came)
        # Once it is known, it stays: what has been asked for is not left halfway.
        user = facts.user_id or known_user(view, rules, event.trader_id, event.user_id)
        if not isinstance(user, int):
            return Planned(user, facts)
        # A departure that came before its trader was seen has overtaken what made the trader known.
        since = facts.since or (view.asked if first else view.now)
        facts = changed(facts, user_id=user, on_live=facts.on_live or bool(view.on_live), since=since)
        due = came if event.immediate else departure_due(came, rules.day_end)
        if view.now < due:
            return Planned(Wait((), due, pending=True), facts)
        if facts.begun is None:
            wait = _let_finish(view, since, facts.until or view.now + min(LET_FINISH, rules.retry_cap))
            if wait is not None:
                return Planned(wait, changed(facts, until=wait.until))
            facts = changed(facts, begun=view.now)
        facts = _with_lost(facts, rules)
        return Planned(_next(view, facts), facts)

    def learn(self, view: View, operation: str, result: Result) -> Planned | Facts:
        """A domain is done, or was away for a while, or refused."""
        facts = of_type(view.facts, LeftFacts)
        domain = next(each for each, cancel in CANCEL.items() if cancel == operation)
        if isinstance(result, Succeeded):
            facts = facts.with_domain(domain, cancelled=True)
            return facts if _unproven(view, domain) else _done(view, facts, domain)
        if result.code is ErrorCode.GAVE_UP:
            return changed(facts.with_domain(domain, away=facts.domains[domain].away + 1), said=result.text)
        return facts.with_domain(domain, lost=Trouble(result.code, result.text))

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """The user, and whether this worker has made a trading permission on LIVE for them."""
        facts = of_type(view.facts, LeftFacts)
        return {"userId": facts.user_id, "_permitted_on_live": facts.on_live}


def _let_finish(view: View, since: datetime, until: datetime) -> Wait | None:
    """A wait for purchases that came before the departure and are being made."""
    making = [order_key(KIND, order.order_id) for order in view.known if _being_made(order, since)]
    return Wait(making, until) if making and view.now < until else None


def _being_made(order: OrderView, since: datetime) -> bool:
    if order.state != "open" or (order.asked is not None and order.asked > since):
        return False
    return order.account_id is None or order.permission_id is None


def _unproven(view: View, domain: str) -> bool:
    """Whether something that was sent before may still appear on the domain."""
    return any(GIVES.get(each) == domain for each in view.unproven)


def _done(view: View, facts: LeftFacts, domain: str) -> Facts:
    assert facts.came is not None
    renewed = renewal_after(facts.came)
    if domain == LIVE and view.now >= renewed and not facts.live.done:
        day = f"{renewed:%d %B %Y}"
        facts = facts.warned(f"It was done after 19:00 on {day}: what the user had then is billed for the next month.")
    return facts.with_domain(domain, done=True)


def _with_lost(facts: LeftFacts, rules: Rules) -> LeftFacts:
    """The facts with the domains that have been away for too long."""
    patience = min(PATIENCE, rules.retry_for)
    for domain, each in facts.domains.items():
        if each.lost is None and each.away and each.away * patience >= rules.retry_for:
            facts = facts.with_domain(domain, lost=Trouble(ErrorCode.GAVE_UP, facts.said or ""))
    return facts


def _next(view: View, facts: LeftFacts) -> Decision:
    """The domain that is neither done nor lost and was away least often; or the end."""
    domains = facts.domains
    left = [domain for domain, each in domains.items() if not each.done and each.lost is None]
    ready = [domain for domain in left if not domains[domain].cancelled or not _unproven(view, domain)]
    if ready:
        domain = min(ready, key=lambda each: domains[each].away)
        return Send(CANCEL[domain], look_first=domains[domain].cancelled)
    if left:
        return Wait((proven_key(view.flow_id),), view.now + RESULTS_AGAIN)
    lost = [(domain, each.lost) for domain, each in domains.items() if each.lost is not None]
    if not lost:
        return SUCCEEDED
    text = "; ".join(f"{domain}: {trouble.text}" for domain, trouble in lost)
    text += "".join(f" {domain} is done." for domain, each in domains.items() if each.done)
    return failed(lost[0][1].code, text)
