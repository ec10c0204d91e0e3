"""Which account an event means that names it by `accountId`, by `orderId`, or by both. Pure."""

from __future__ import annotations

from typing import Protocol

from schemas.outcomes import ErrorCode
from worker.engine.facts import F, changed
from worker.engine.flows.base import End, OrderView, Rules, View, Wait, failed, order_key
from worker.engine.flows.common import RECHECK
from worker.engine.flows.purchased import KIND


class Refers(Protocol):
    """An event that refers to an account."""

    @property
    def account_id(self) -> int | None: ...

    @property
    def order_id(self) -> str | None: ...


def account_of(view: View, event: Refers, rules: Rules) -> int | Wait | End:
    """The account's id. An order that is not known, or that is being made, is waited for.

    An account that belongs to no order of the ledger is taken as it is given.
    """
    if event.order_id is None:
        assert event.account_id is not None
        return event.account_id
    order = next((order for order in view.known if order.order_id == event.order_id), None)
    if order is None:
        until = view.since + rules.unknown_wait
        if view.now < until:
            return Wait((order_key(KIND, event.order_id),), until)
        return failed(ErrorCode.NOT_FOUND, f"Order {event.order_id} is not known.")
    if order.account_id is None:
        if order.state == "open":
            return Wait((order_key(KIND, event.order_id),), view.now + RECHECK)
        return failed(ErrorCode.NOT_FOUND, f"Order {event.order_id} has no account.")
    if event.account_id not in (None, order.account_id):
        return failed(ErrorCode.CONFLICT, f"Account {event.account_id} is not the one of order {event.order_id}.")
    return order.account_id


def owner_facts(view: View, event: Refers, facts: F) -> F:
    """The facts with what the ledger knows of the account's owner."""
    owner = next((order for order in view.known if _meant(order, event)), None)
    if owner is None:
        return facts
    name = owner.facts.account_name
    return changed(
        facts,
        user_id=facts.user_id if owner.user_id is None else owner.user_id,
        trader_id=facts.trader_id if owner.trader_id is None else owner.trader_id,
        account_name=facts.account_name if name is None else name,
    )


def _meant(order: OrderView, event: Refers) -> bool:
    if event.order_id is not None:
        return order.order_id == event.order_id
    return order.account_id == event.account_id
