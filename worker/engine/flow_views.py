"""What a flow may look at when it decides: its event and facts, and its trader and order. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from worker.engine.event_flow import touched_by
from worker.engine.flows import FLOWS
from worker.engine.flows.base import Names, View
from worker.engine.rows import FlowRow, OrderRow
from worker.engine.shared_rows import Shared
from worker.engine.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class FlowViews:
    """`shared`: what the flows of a transaction share, with its changes. `now`: the transaction's time."""

    shared: Shared
    now: datetime

    def names(self, flow: FlowRow) -> Names:
        """Whom and what the flow names: its event, and what it has come across since."""
        return touched_by(flow)

    def _view(self, flow: FlowRow, names: Names) -> View:
        shared = self.shared.rows
        order = None
        row = _own_order(shared, names)
        if row is not None:
            mine = row.flow_id == flow.id
            order = shared.order_view(row, names.trader_id, None if mine else FLOWS[flow.topic].details(flow.event))
        keys = shared.trader_keys(names) if names.departs or (names.gives and shared.departures) else ()
        return View(
            flow.id,
            flow.event,
            flow.facts,
            # Under which name the user signs in matters only to a flow that does not know the user yet.
            shared.trader_view(names, by_name=flow.facts.user_id is None),
            order,
            [shared.order_view(each) for each in shared.references(names) if each.flow_id != flow.id],
            flow.created_at,
            self.now,
            shared.owners(names),
            flow.asked_at,
            shared.departure_views(keys, flow.id),
            shared.unproven(keys) if names.departs else frozenset(),
            shared.turns.queue(flow.id) if names.in_turn is not None else None,
            shared.on_live(names),
        )

    def introduce(self, flow: FlowRow) -> View:
        """What the flow may look at. Its ids go into the outcome, and say which calls name its trader."""
        names = self.names(flow)
        if names.in_turn is not None:
            self.shared.rows.turns.join(flow.id, self.shared.rows.turn_keys(names))
        view = self._view(flow, names)
        if flow.user_id is None:
            flow.user_id = view.trader.user_id
        if flow.trader_id is None:
            flow.trader_id = view.trader.trader_id
        meant = self._meant(names)
        if meant is not None:
            flow.order_id = flow.order_id or meant.order_id
            flow.account_id = meant.account_id if flow.account_id is None else flow.account_id
            if meant.user_id is not None:
                flow.owner_key = f"u:{meant.user_id}"
        elif names.account_id in self.shared.rows.assigned:
            flow.owner_key = f"u:{self.shared.rows.assigned[names.account_id]}"
        return view

    def meant(self, flow: FlowRow) -> OrderRow | None:
        """The one order that the event means by another id than its own, and which is its trader's."""
        return self._meant(self.names(flow))

    def _meant(self, names: Names) -> OrderRow | None:
        if names.owns_order or names.of_trader:
            return None
        rows = [
            row
            for row in self.shared.rows.references(names)
            if "/" not in row.kind  # placed without an order id
            and names.trader_id in (None, row.trader_id)
            and names.user_id in (None, row.user_id)
        ]
        return rows[0] if len(rows) == 1 else None

    def own_order(self, flow: FlowRow) -> OrderRow | None:
        """The order that the flow's event asks for, whichever flow owns it."""
        return _own_order(self.shared.rows, self.names(flow))


def _own_order(rows: Snapshot, names: Names) -> OrderRow | None:
    if not names.owns_order or names.order_id is None:
        return None
    return rows.orders.get((names.order_kind, names.order_id))
