"""`account.reset`: an evaluation account goes back to the open of a trading day."""

from __future__ import annotations

from schemas.events import AccountReset
from worker.engine.flows.account_ref import account_of, owner_facts
from worker.engine.flows.base import SUCCEEDED, Facts, Item, Names, Planned, Rules, Send, View
from worker.engine.flows.common import ended_by, new_round, trade_date
from worker.results import Result, Succeeded

RESET = "resetDemoAccountState"


class Reset:
    """An account goes back to the open of a trading day."""

    topic = "account.reset"

    def names(self, event: AccountReset) -> Names:
        """The account, the order."""
        return Names(order_id=event.order_id, account_id=event.account_id)

    def details(self, _event: AccountReset) -> bytes:
        """It asks for no order."""
        return b""

    def freeze(self, event: AccountReset, _rules: Rules) -> AccountReset:
        """As it is."""
        return event

    def plan(self, view: View, rules: Rules) -> Planned:
        """The account is found, by its order if need be, and goes with the others of the same trading day."""
        event, facts = _event(view), new_round(view.facts, ("userId", "traderId"))
        if facts.get("reset"):
            return Planned(SUCCEEDED, facts)
        facts = owner_facts(view, event, facts)
        account = account_of(view, event, rules)
        if not isinstance(account, int):
            return Planned(account, facts)
        return Planned(Send(RESET, alike=event.trade_date.isoformat()), {**facts, "accountId": account})

    def learn(self, view: View, _operation: str, result: Result) -> Planned | Facts:
        """Done, or the refusal."""
        if not isinstance(result, Succeeded):
            return ended_by(result, view.facts)
        return {**view.facts, "reset": True}

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """The account and the day."""
        day = _event(view).trade_date
        return {
            "accountId": view.facts["accountId"],
            "resetTradeDate": trade_date(day),
        }


def _event(view: View) -> AccountReset:
    assert isinstance(view.event, AccountReset)
    return view.event
