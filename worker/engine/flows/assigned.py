"""`account.assigned`: an account is given to a user; a live permission of that pair is what was asked for.

On DEMO, or on LIVE after a graduation. The numbers of accounts and trading permissions of the two domains may be equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.events import AccountAssigned
from worker.engine.facts import Facts, changed
from worker.engine.flows import passed
from worker.engine.flows.base import SUCCEEDED, Item, Names, Planned, Rules, Send, View, WithoutOrder, of_type
from worker.engine.flows.common import ended_by, permission_pair, permitted
from worker.engine.flows.departing import stopped
from worker.results import Result, Succeeded

PERMISSION = {"DEMO": "createTradingPermission", "LIVE": "createTradingPermission@live"}


@dataclass(frozen=True, kw_only=True)
class AssignedFacts(Facts):
    """The trading permission, once it is there."""

    domain: Literal["LIVE"] | None = None
    """Of an account on LIVE: `reconcile` reads it when the event is gone."""


class Assignment(WithoutOrder):
    """An account is given to a user."""

    topic = "account.assigned"
    facts = AssignedFacts

    def names(self, event: AccountAssigned) -> Names:
        """The account and the user. An account of LIVE is what an order of `trader.passed` has got."""
        names = Names(user_id=event.user_id, account_id=event.account_id, gives=True)
        return names._replace(order_kind=passed.KIND, on_live=True) if event.domain == "LIVE" else names

    def plan(self, view: View, _rules: Rules) -> Planned:
        """Looks first, so that neither another event nor a topic read again makes a second permission."""
        facts = of_type(view.facts, AssignedFacts).new_round()
        if facts.trading_permission_id is not None:
            return Planned(SUCCEEDED, facts)
        event = of_type(view.event, AccountAssigned)
        if event.domain == "LIVE":
            facts = changed(facts, domain="LIVE")
        alike = permission_pair(event.domain, event.account_id, event.user_id)  # the same pair twice is one request
        return Planned(stopped(view) or Send(PERMISSION[event.domain], look_first=True, alike=alike), facts)

    def learn(self, view: View, _operation: str, result: Result) -> Planned | Facts:
        """The permission's id, or the refusal."""
        if not isinstance(result, Succeeded):
            return ended_by(result, view.facts)
        return permitted(view.facts, result.value["tradingPermissionId"], result.value.get("permissionStatus"))

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """Account and user."""
        event = of_type(view.event, AccountAssigned)
        return {"accountId": event.account_id, "userId": event.user_id}
