"""`account.reset`: an evaluation account goes back to the open of a trading day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from schemas.events import AccountReset
from worker.engine.facts import Facts, changed
from worker.engine.flows.account_ref import account_of, owner_facts
from worker.engine.flows.base import SUCCEEDED, Item, Names, Planned, Rules, Send, View, WithoutOrder, of_type
from worker.engine.flows.common import ended_by, trade_date
from worker.results import Result, Succeeded

RESET = "resetDemoAccountState"


@dataclass(frozen=True, kw_only=True)
class ResetFacts(Facts):
    """The account and its owner, and whether it is done."""

    reset: bool = False

    def kept(self) -> Self:
        """The account's owner."""
        return type(self)(user_id=self.user_id, trader_id=self.trader_id)


class Reset(WithoutOrder):
    """An account goes back to the open of a trading day."""

    topic = "account.reset"
    facts = ResetFacts

    def names(self, event: AccountReset) -> Names:
        """The account, the order."""
        return Names(order_id=event.order_id, account_id=event.account_id)

    def plan(self, view: View, rules: Rules) -> Planned:
        """The account is found, by its order if need be, and goes with the others of the same trading day."""
        event, facts = of_type(view.event, AccountReset), of_type(view.facts, ResetFacts).new_round()
        if facts.reset:
            return Planned(SUCCEEDED, facts)
        facts = owner_facts(view, event, facts)
        account = account_of(view, event, rules)
        if not isinstance(account, int):
            return Planned(account, facts)
        return Planned(Send(RESET, alike=event.trade_date.isoformat()), changed(facts, account_id=account))

    def learn(self, view: View, _operation: str, result: Result) -> Planned | Facts:
        """Done, or the refusal."""
        if not isinstance(result, Succeeded):
            return ended_by(result, view.facts)
        return changed(of_type(view.facts, ResetFacts), reset=True)

    def item(self, view: View, _operation: str, _rules: Rules) -> Item:
        """The account and the day."""
        day = of_type(view.event, AccountReset).trade_date
        return {"accountId": view.facts.account_id, "resetTradeDate": trade_date(day)}
