"""`account.reset`: an evaluation account goes back to the open of a trading day."""

from __future__ import annotations

from schemas.events import AccountReset
from schemas.outcomes import ErrorCode
from worker.engine.flows.base import (
    SUCCEEDED,
    End,
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
)
from worker.engine.flows.common import RECHECK, ended_by, new_round, trade_date
from worker.engine.flows.purchased import KIND
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
        owner = next((order for order in view.known if _meant(order, event)), None)
        if owner is not None:
            found = {
                "userId": owner.user_id,
                "traderId": owner.trader_id,
                "accountName": owner.facts.get("accountName"),
            }
            facts = {**facts, **{name: value for name, value in found.items() if value is not None}}
        account = event.account_id if event.order_id is None else _of_order(view, rules, event.order_id)
        if isinstance(account, Wait):
            return Planned(account, facts)
        if isinstance(account, End):
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


def _meant(order: OrderView, event: AccountReset) -> bool:
    if event.order_id is not None:
        return order.order_id == event.order_id
    return order.account_id == event.account_id


def _of_order(view: View, rules: Rules, order_id: str) -> int | Wait | End:
    """The account of the order that the event names."""
    given = _event(view).account_id
    order = next((order for order in view.known if order.order_id == order_id), None)
    if order is None:
        until = view.since + rules.unknown_wait
        if view.now < until:
            return Wait((order_key(KIND, order_id),), until)
        return failed(ErrorCode.NOT_FOUND, f"Order {order_id} is not known.")
    if order.account_id is None:
        if order.state == "open":
            return Wait((order_key(KIND, order_id),), view.now + RECHECK)
        return failed(ErrorCode.NOT_FOUND, f"Order {order_id} has no account.")
    if given not in (None, order.account_id):
        return failed(ErrorCode.CONFLICT, f"Account {given} is not the one of order {order_id}.")
    return order.account_id


def _event(view: View) -> AccountReset:
    assert isinstance(view.event, AccountReset)
    return view.event
