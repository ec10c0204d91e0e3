"""`account.assigned`: an account is given to a user; a live permission of that pair is what was asked for.

On DEMO, or on LIVE after a graduation. The numbers of accounts and trading permissions of the two domains may be equal.
"""

from __future__ import annotations

from schemas.events import AccountAssigned
from worker.engine.flows import passed
from worker.engine.flows.base import SUCCEEDED, Facts, Item, Names, Planned, Rules, Send, View
from worker.engine.flows.common import ended_by, new_round, permitted
from worker.engine.flows.departing import stopped
from worker.results import Result, Succeeded

PERMISSION = {"DEMO": "createTradingPermission", "LIVE": "createTradingPermission@live"}


class Assignment:
    """An account is given to a user."""

    topic = "account.assigned"

    def names(self, event: AccountAssigned) -> Names:
        """The account and the user. An account of LIVE is what an order of `trader.passed` has got."""
        names = Names(user_id=event.user_id, account_id=event.account_id, gives=True)
        return names._replace(order_kind=passed.KIND, on_live=True) if event.domain == "LIVE" else names

    def details(self, _event: AccountAssigned) -> bytes:
        """It asks for no order."""
        return b""

    def freeze(self, event: AccountAssigned, _rules: Rules) -> AccountAssigned:
        """As it is."""
        return event

    def plan(self, view: View, _rules: Rules) -> Planned:
        """Looks first, so that neither another event nor a topic read again makes a second permission."""
        facts = new_round(view.facts, ())
        if "tradingPermissionId" in facts:
            return Planned(SUCCEEDED, facts)
        event = _event(view)
        if event.domain == "LIVE":
            facts = {**facts, "domain": event.domain}  # `reconcile` reads it when the event is gone
        alike = f"{event.account_id}:{event.user_id}"  # the same pair twice is one request
        return Planned(stopped(view) or Send(PERMISSION[event.domain], look_first=True, alike=alike), facts)

    def learn(self, view: View, _operation: str, result: Result) -> Planned | Facts:
        """The permission's id, or the refusal."""
        if not isinstance(result, Succeeded):
            return ended_by(result, view.facts)
        return permitted(view.facts, result.value)

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """Account and user."""
        event = _event(view)
        return {"accountId": event.account_id, "userId": event.user_id}


def _event(view: View) -> AccountAssigned:
    assert isinstance(view.event, AccountAssigned)
    return view.event
