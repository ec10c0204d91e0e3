"""No wake-up is missing: every change that lets a flow continue is among the keys that the flow waits for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.support.firm import application
from tests.support.views import NOW, RULES, order, view
from worker.engine.facts import DepartureDates
from worker.engine.flows import FLOWS
from worker.engine.flows.base import (
    DepartureView,
    Names,
    OrderView,
    TraderView,
    View,
    Wait,
    departure_key,
    order_key,
    trader_key,
)
from worker.engine.flows.purchased_facts import PurchasedFacts
from worker.engine.rows import OrderRow, TraderRow
from worker.engine.shared_rows import Shared
from worker.engine.snapshot import Snapshot
from worker.ledger.crypto import Vault

BOUGHT: dict[str, Any] = {
    "orderId": "100",
    "traderId": "t",
    "user": {"name": "n", "email": "n@example.com", "firstName": "F", "lastName": "L"},
    "account": {"templateAccountId": 11, "initialBalance": 1},
}
EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("trader.purchased", BOUGHT),
    ("trader.purchased", {name: BOUGHT[name] for name in ("orderId", "traderId", "account")}),
    ("trader.failed", {"traderId": "t", "orderId": "100"}),
    ("trader.failed", {"traderId": "t", "accountId": 11}),
    ("trader.failed", {"traderId": "t", "tradingPermissionIds": [21]}),
    ("trader.left", {"traderId": "t", "immediate": True}),
    ("trader.left", {"userId": 5, "immediate": True}),
    ("trader.passed", {"traderId": "t", "orderId": "100", "application": application()}),
    ("account.assigned", {"accountId": 11, "userId": 5}),
    ("account.reset", {"orderId": "100", "tradeDate": "2026-11-20"}),
    ("md.signed", {"userId": 5}),
    ("risk.changed", {"orderId": "100", "postTradeRisk": {"dailyLossAutoLiq": 900}}),
    ("account.locked", {"orderId": "100", "action": "lock", "reason": "r"}),
    ("account.unlocked", {"orderId": "100", "accountId": 11, "reason": "r"}),
]
BARE: dict[str, Any] = {"account_id": None, "permission_id": None, "facts": {}}
MAKER = uuid.UUID(int=55)
DEPARTURE = DepartureView(uuid.UUID(int=66), NOW - timedelta(hours=1))


def situations(topic: str, event: dict[str, Any]) -> Iterator[View]:
    """Where a flow may have to wait: for a trader, for another's order, for one under way, for a departure."""
    kind = "passed" if topic == "trader.passed" else "purchased"
    owns = topic in ("trader.purchased", "trader.passed")
    for trader in (TraderView("t"), TraderView("t", maker=MAKER), TraderView("t", 5)):
        for own in (None, order(state="open", kind=kind, **BARE)) if owns else (None,):
            for known in ((), (order(state="open", **BARE),), (order(state="open", permission_id=None),)):
                for departures in ((), (DEPARTURE,), (DEPARTURE._replace(begun=NOW),)):
                    yield view(
                        topic, event, trader=trader, own=own, known=() if owns else known, departures=departures,
                        facts={"lookedUp": {"name": True}} if topic == "trader.failed" else {},
                    )  # fmt: skip


def changes(shown: View, names: Any) -> Iterator[tuple[str, View]]:
    """Everything that may happen, one at a time, and the key that the ledger wakes with."""
    trader, own = shown.trader, shown.order
    if trader.trader_id is not None and trader.user_id is None:
        yield trader_key(trader.trader_id), shown._replace(trader=trader._replace(user_id=5, maker=None))
        yield trader_key(trader.trader_id), shown._replace(trader=trader._replace(maker=None))
    if own is not None and own.flow_id != shown.flow_id:
        for state in ("succeeded", "failed", "in_doubt"):
            code = None if state == "succeeded" else "in_doubt"
            yield order_key(own.kind, own.order_id), shown._replace(order=own._replace(state=state, error_code=code))
    for at, known in enumerate(shown.known):
        for later in advanced(known):
            others = (*shown.known[:at], later, *shown.known[at + 1 :])
            yield order_key(known.kind, known.order_id), shown._replace(known=others)
    if names.order_id is not None and not names.owns_order and not shown.known:
        for later in advanced(order(names.order_id, state="open", **BARE)):
            yield order_key("purchased", names.order_id), shown._replace(known=(later,))
    for at, departure in enumerate(shown.departures):
        ended = (*shown.departures[:at], departure._replace(ended=True), *shown.departures[at + 1 :])
        yield departure_key(departure.flow_id), shown._replace(departures=ended)


def advanced(known: OrderView) -> Iterator[OrderView]:
    """How an order that is under way may go on."""
    yield known._replace(account_id=11)
    yield known._replace(account_id=11, permission_id=21)
    yield known._replace(state="succeeded", account_id=11, permission_id=21)
    yield known._replace(state="failed", account_id=None)


@pytest.mark.parametrize(("topic", "event"), EVENTS)
def test_what_lets_a_flow_go_on_wakes_it(topic: str, event: dict[str, Any]) -> None:
    """If the flow no longer waits after a change, the key of that change is one that it waited for."""
    flow = FLOWS[topic]
    forgotten = set()
    for shown in situations(topic, event):
        planned = flow.plan(shown, RULES)
        if not isinstance(planned.decision, Wait) or planned.decision.until <= shown.now:
            continue
        for key, later in changes(shown, flow.names(shown.event)):
            after = flow.plan(later._replace(facts=planned.facts), RULES)
            if not isinstance(after.decision, Wait) and key not in planned.decision.keys:
                forgotten.add((key, str(planned.decision), type(after.decision).__name__))
    assert forgotten == set()


# -- the other half: a change in a row wakes its key, without any code of a flow


def order_row(**changes: Any) -> OrderRow:
    given = {"state": "open", "account_id": None, "permission_id": None, **changes}
    return OrderRow(
        "purchased", "100", uuid.UUID(int=8), given["state"], b"", "t", None, given["account_id"],
        given["permission_id"], PurchasedFacts(), None, None, NOW,
    )  # fmt: skip


def shared(*rows: OrderRow | TraderRow) -> Shared:
    """What a transaction has loaded."""
    snapshot = Snapshot(Vault(["a key of the tests that is long enough"]), NOW)
    for row in rows:
        if isinstance(row, OrderRow):
            snapshot.add_order(row)
        else:
            snapshot.add_trader(row)
    return Shared(snapshot)


@pytest.mark.parametrize(
    ("name", "value"), [("account_id", 11), ("permission_id", 21), ("state", "succeeded"), ("state", "failed")]
)
def test_an_order_in_which_something_has_changed_wakes(name: str, value: Any) -> None:
    """A new account, permission or end wakes what waits for the order; an order that was only read wakes nothing."""
    changed, row = shared(order_row()), order_row()
    assert changed.wakes() == set()
    changed.put_order(row._replace(**{name: value}))
    assert changed.wakes() == {order_key("purchased", "100")}


def test_a_trader_whose_user_is_known_or_no_longer_created_wakes() -> None:
    """The creation of a user that ended without a user wakes as well: another flow may create it."""
    changed = shared(*(TraderRow(each, maker=MAKER) for each in ("known", "freed")))
    assert changed.wakes() == set()
    changed.learn_user(Names(trader_id="known"), 5, made_here=True)
    changed.drop_maker("freed", MAKER)
    assert changed.wakes() == {trader_key("known"), trader_key("freed")}


@pytest.mark.parametrize("withdrawn", [False, True])
def test_a_departure_that_has_ended_wakes(withdrawn: bool) -> None:
    """Whether it was executed or withdrawn."""
    changed, flow_id = shared(), uuid.UUID(int=66)
    changed.note_departure(flow_id, ["u:5"], DepartureDates(NOW, NOW))
    assert changed.wakes() == set()
    changed.end_departure(flow_id, withdrawn=withdrawn)
    assert changed.wakes() == {departure_key(flow_id)}
