"""What several flows decide alike: whose user it is, whether another event asked for the same, when to try again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TypeVar

from schemas.countries import is_restricted
from schemas.outcomes import ErrorCode, Status
from worker.backoff import Schedule, draw_of
from worker.engine.facts import F, Facts, changed
from worker.engine.flows.base import (
    End,
    OrderView,
    Planned,
    Rules,
    View,
    Wait,
    failed,
    order_key,
    trader_key,
)
from worker.results import Failure

T = TypeVar("T")

RECHECK = timedelta(minutes=5)
"""A wait for another flow ends when that flow wakes it. This is the time limit in case the wake-up is lost."""


def permitted(facts: F, permission: int, status: str | None) -> F:
    """The facts with a trading permission. One that was found revoked or declined (`status`) is no reason to create
    another.
    """
    found = changed(facts, trading_permission_id=permission)
    if status is None:
        return found
    return found.warned(f"Trading permission {permission} is {status}; no other one was created.")


def permission_pair(domain: str, account_id: int, user_id: int) -> str:
    """What two steps say alike that ask for the same trading permission."""
    return f"{domain}:{account_id}:{user_id}"


def ended_by(result: Failure, facts: Facts) -> Planned:
    """The flow ends as its step did."""
    status = Status.IN_DOUBT if result.code is ErrorCode.IN_DOUBT else Status.FAILED
    return Planned(End(status, result.code, result.text), facts)


def known_user(view: View, rules: Rules, trader_id: str | None, user_id: int | None) -> int | Wait | End:
    """The user that an event is about; a trader without one is waited for, and then not found."""
    trader = view.trader
    if trader_id is not None and trader.user_id is not None:
        if user_id not in (None, trader.user_id):
            return failed(ErrorCode.CONFLICT, f"Trader {trader_id} is known with another Tradovate user.")
        return trader.user_id
    if trader_id is not None and trader.maker is not None:
        return Wait((trader_key(trader_id),), view.now + RECHECK)  # their user may be another one than the event says
    if user_id is not None:
        if trader.taken_by is not None:
            return failed(ErrorCode.CONFLICT, f"Tradovate user {user_id} is known as another trader's.")
        return user_id
    if trader_id is None:
        return failed(ErrorCode.NOT_FOUND, "The event names no trader.")
    until = view.since + rules.unknown_wait
    if view.now >= until:
        return failed(ErrorCode.NOT_FOUND, f"No Tradovate user is known for trader {trader_id}.")
    return Wait((trader_key(trader_id),), until)


def follow(view: View, order: OrderView) -> Planned:
    """Another event asked for this order before: same details get the same ids, no call; others are a conflict."""
    if not order.same_details:
        text = f"Order {order.order_id} was already placed with other details; it is untouched."
        return Planned(failed(ErrorCode.CONFLICT, text), view.facts)
    if order.state == "open":
        return Planned(Wait((order_key(order.kind, order.order_id),), view.now + RECHECK), view.facts)
    code = ErrorCode(order.error_code) if order.error_code else None
    return Planned(End(Status(order.state), code, order.error_text), view.facts.with_ids_of(order.facts))


def restricted(*countries: str | None) -> End | None:
    """A trader from a country on CME's list never reaches Tradovate."""
    if is_restricted(*countries):
        return failed(ErrorCode.RESTRICTED_COUNTRY, "The trader's country is on CME's restricted list.")
    return None


def trade_date(day: date) -> Mapping[str, int]:
    """A day as Tradovate writes it (TradeDate)."""
    return {"year": day.year, "month": day.month, "day": day.day}


def jitter(view: View, number: int) -> float:
    """A number in [0, 1) that follows from the flow and `number`: flows draw no back-off at random."""
    return draw_of(view.flow_id.bytes, number)


def back_off(view: View, rules: Rules, tries: int, cap: timedelta) -> timedelta:
    """Before try number `tries` + 1: exponential, with full jitter, never longer than `cap`."""
    schedule = Schedule(rules.retry_base.total_seconds(), cap.total_seconds())
    return timedelta(seconds=schedule.delay(tries, lambda: jitter(view, tries)))


def plus(some: tuple[T, ...], *more: T) -> tuple[T, ...]:
    """Some values and more of them, each once."""
    return tuple(dict.fromkeys([*some, *more]))
