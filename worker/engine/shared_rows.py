"""Traders, orders and departures as one transaction changes them.

Which flows must be planned again follows from what has changed in these rows (`wakes`), and is decided here alone: a
flow that learns something cannot forget to wake another one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from worker.engine.facts import DepartureDates, OrderFacts, changed
from worker.engine.flows.base import Names, departure_key, order_key, trader_key
from worker.engine.rows import DepartureRow, OrderRow, TraderRow
from worker.engine.snapshot import Snapshot, login_bytes


@dataclass(slots=True)
class Shared:
    """`before`: the rows as they were loaded. `rows`: a copy, with all changes so far."""

    before: Snapshot
    rows: Snapshot = field(init=False)
    new_users: dict[str, int] = field(default_factory=dict)  # traders whose user has become known, and the user
    _to_write: set[tuple[str, str]] = field(default_factory=set)  # orders
    _ended: set[uuid.UUID] = field(default_factory=set)  # flows whose departure has ended
    _withdrawn: dict[uuid.UUID, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = self.before.copy()

    def take_order(
        self,
        names: Names,
        flow_id: uuid.UUID,
        facts: OrderFacts,
        details: bytes,
        asked: datetime,
        *,
        reopen: bool = False,
    ) -> OrderFacts:
        """Makes the flow the order's owner if it has none yet, or if its owner has failed. Returns the flow's `facts`,
        with what a former owner left behind, as far as the ledger knows.

        `reopen`: the owner itself takes it up again after it had ended in doubt.
        """
        assert names.order_id is not None
        key, digest = (names.order_kind, names.order_id), self.rows.digests.digest(details)
        row = self.rows.orders.get(key)
        if row is None:
            start = facts.at_start()
            self.put_order(
                OrderRow(*key, flow_id, "open", digest, names.trader_id, None, None, None, start, None, None, asked)
            )
            return facts
        if row.state != "failed" and not (reopen and row.flow_id == flow_id):
            return facts
        left = row.facts.left_behind(row.user_id)
        if row.trader_id != names.trader_id:
            # What another trader's event left behind is that trader's until it has been looked at.
            row = row._replace(user_id=None, account_id=None, permission_id=None)
        self.put_order(
            row._replace(
                flow_id=flow_id,
                state="open",
                details=digest,
                asked_at=asked,
                trader_id=names.trader_id,
                facts=type(facts)(left=left),
                error_code=None,
                error_text=None,
            )
        )
        return changed(facts, left=left)

    def put_order(self, row: OrderRow, *, write: bool = True) -> None:
        """The order as it is now; without `write`, only this transaction's other flows see it."""
        self.rows.add_order(row)
        if write:
            self._to_write.add((row.kind, row.order_id))

    def learn_user(self, names: Names, user_id: int, *, made_here: bool) -> None:
        """Notes which user the trader is, if that was not known before."""
        row = self.rows.traders.get(names.trader_id) if names.trader_id is not None else None
        if row is None or row.user_id is not None:
            return
        row = row._replace(user_id=user_id, made_here=made_here, maker=None)
        if names.user_name is not None:
            row = row._replace(user_name=self.rows.digests.digest(login_bytes(names.user_name)))
        self.rows.add_trader(row)
        self.new_users[row.trader_id] = user_id

    def set_maker(self, trader_id: str | None, flow_id: uuid.UUID) -> None:
        """The flow is now the one that makes the trader's user."""
        row = self.rows.traders.get(trader_id) if trader_id is not None else None
        if row is not None and row.maker != flow_id:
            self.rows.add_trader(row._replace(maker=flow_id))

    def drop_maker(self, trader_id: str | None, flow_id: uuid.UUID) -> None:
        """The flow does not make the trader's user any more, if it did."""
        row = self.rows.traders.get(trader_id) if trader_id is not None else None
        if row is not None and row.maker == flow_id:
            self.rows.add_trader(row._replace(maker=None))

    def note_departure(self, flow_id: uuid.UUID, keys: Iterable[str], dates: DepartureDates) -> None:
        """A departure is under way, under each key of its trader."""
        for key in keys:
            row = self.rows.departures.get((key, flow_id)) or DepartureRow(key, flow_id, *dates, ended=False)
            self.rows.add_departure(row._replace(begun_at=dates.begun, ended=False))

    def end_departure(self, flow_id: uuid.UUID, *, withdrawn: bool) -> None:
        """A departure has ended. `withdrawn`: before it had begun, or by an operator."""
        self._ended.add(flow_id)
        for key in [each for each in self.rows.departures if each[1] == flow_id]:
            if withdrawn:
                del self.rows.departures[key]
                self._withdrawn[flow_id] = None
            else:
                self.rows.add_departure(self.rows.departures[key]._replace(ended=True))

    @property
    def withdrawn(self) -> Sequence[uuid.UUID]:
        """Flows whose departures are deleted."""
        return list(self._withdrawn)

    def changed_traders(self) -> Sequence[TraderRow]:
        """Traders to be written."""
        return [row for key, row in self.rows.traders.items() if row is not self.before.traders.get(key)]

    def changed_orders(self) -> Sequence[OrderRow]:
        """Orders to be written, in the order of locks."""
        return [self.rows.orders[key] for key in sorted(self._to_write)]

    def changed_departures(self) -> Sequence[DepartureRow]:
        """Departures to be written."""
        return [row for key, row in self.rows.departures.items() if row != self.before.departures.get(key)]

    def wakes(self) -> set[str]:
        """The keys that wake the flows which wait for a row that has changed.

        A trader: the user has become known, or its making has ended. An order: it has got an account or a permission,
        or has ended. A departure: it has ended. An event of an account: it has ended.
        """
        wakes = {departure_key(flow_id) for flow_id in self._ended}
        for trader in self.changed_traders():
            before = self.before.traders.get(trader.trader_id)
            if before is not None and (
                trader.user_id != before.user_id or (before.maker is not None and trader.maker is None)
            ):
                wakes.add(trader_key(trader.trader_id))
        for key, order in self.rows.orders.items():
            old = self.before.orders.get(key)
            if order is not old and _news(order) != (_news(old) if old is not None else ("open", None, None)):
                wakes.add(order_key(order.kind, order.order_id))
        return wakes | self.rows.turns.wakes()


def _news(row: OrderRow) -> tuple[str, int | None, int | None]:
    return row.state, row.account_id, row.permission_id
