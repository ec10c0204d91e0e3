"""What a pure flow is shown, made by hand: no ledger, no partner."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import orjson

from schemas.events import EVENTS, Event
from worker.engine.facts import Facts, facts_of, stored_facts
from worker.engine.flows import FLOWS, ORDER_FACTS
from worker.engine.flows.base import DepartureView, OrderView, Planned, Queue, Rules, Send, TraderView, View
from worker.results import Result

NOW = datetime(2026, 11, 18, 16, 0, tzinfo=UTC)
"""A Wednesday, ten in the morning in Chicago."""

RULES = Rules(account_prefix="EVAL", plan_id=301, entitlement_id=31)

FLOW = uuid.UUID(int=7)

Given = Facts | Mapping[str, Any] | None


def order(order_id: str = "100", *, trader: str | None = "t", kind: str = "purchased", **changes: Any) -> OrderView:
    """An order that succeeded with account 11 and permission 21; `facts` as they are stored."""
    given: dict[str, Any] = {
        "flow_id": uuid.UUID(int=8),
        "state": "succeeded",
        "same_details": True,
        "user_id": 5,
        "account_id": 11,
        "permission_id": 21,
        "facts": {"accountId": 11, "accountName": f"EVAL{order_id}", "tradingPermissionId": 21},
        "error_code": None,
        "error_text": None,
    }
    given |= changes
    given["facts"] = facts_of(ORDER_FACTS[kind], given["facts"], order_id)
    return OrderView(order_id=order_id, trader_id=trader, kind=kind, **given)


def view(
    topic: str,
    event: dict[str, Any],
    facts: Given = None,
    *,
    user: int | None = None,
    trader: TraderView | None = None,
    known: Sequence[OrderView] = (),
    own: OrderView | None = None,
    after: timedelta = timedelta(0),
    owners: dict[int, str] | None = None,
    at: datetime = NOW,
    came: datetime | None = None,
    departures: Sequence[DepartureView] = (),
    unproven: Iterable[str] = (),
    queue: Queue | None = None,
    on_live: Iterable[int] = (),
    attempts: int = 1,
) -> View:
    """The view of a flow of `topic` on `event`, `after` it was accepted at `at`; `facts`: or as they are stored.

    `attempts`: how often a step whose result is learned was sent.
    """
    shown = trader or TraderView(event.get("traderId"), user)
    return View(
        FLOW,
        _frozen(topic, orjson.dumps(event)),
        facts if isinstance(facts, Facts) else _facts(topic, orjson.dumps(facts or {})),
        shown,
        own,
        known,
        at,
        at + after,
        owners or {},
        came,
        departures,
        frozenset(unproven),
        queue,
        frozenset(on_live),
        attempts,
    )


@cache
def _frozen(topic: str, event: bytes) -> Event:
    """Events are immutable: a test that shows one in a thousand situations reads it once."""
    return FLOWS[topic].freeze(EVENTS[topic].model_validate_json(event), RULES)  # type: ignore[no-any-return]


@cache
def _facts(topic: str, stored: bytes) -> Facts:
    """Facts are immutable, too."""
    return facts_of(FLOWS[topic].facts, orjson.loads(stored), topic)


def plan(topic: str, event: dict[str, Any], facts: Given = None, **more: Any) -> Planned:
    """What the flow decides."""
    return FLOWS[topic].plan(view(topic, event, facts, **more), RULES)


def learn(topic: str, event: dict[str, Any], facts: Given, operation: str, end: Result, **more: Any) -> Planned:
    """What the flow decides after a step's end."""
    shown = view(topic, event, facts, **more)
    learned = FLOWS[topic].learn(shown, operation, end)
    return learned if isinstance(learned, Planned) else plan(topic, event, learned, **more)


def known(planned: Planned) -> Mapping[str, Any]:
    """What the flow has learned, as it is stored."""
    return stored_facts(planned.facts)


def sent(planned: Planned) -> Send:
    """The decision, which has to be a step."""
    assert isinstance(planned.decision, Send), planned.decision
    return planned.decision
