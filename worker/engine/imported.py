"""What a firm has at Tradovate already, as rows of the ledger: as if this worker had created it. Pure.

A line of `import` was proven by what Tradovate says (`Holding`). Here is decided what it means beside what the ledger
knows: it becomes rows, or is known already, or is refused with the reason. The first line stands.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from worker.engine.changes import Changes
from worker.engine.flows.base import Names
from worker.engine.flows.purchased import KIND
from worker.engine.flows.purchased_facts import PurchasedFacts
from worker.engine.rows import OrderRow, TraderRow
from worker.engine.shared_rows import Shared
from worker.engine.snapshot import Snapshot, kind_of, login_bytes

WITHOUT_ORDER = f"{KIND}/import"
"""The kind of the order that stands for an account whose line names no order: its id is the account's name or id."""

_SPACE = uuid.UUID("6d0a4c1e-6f0b-4f0e-9d0f-0d6b1a0f5c11")
"""Makes the flow ids of orders that no flow of this ledger made: the same for the same order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A line as it stands in the file. `number`: of its first line there, from 1."""

    number: int
    trader_id: str
    user_id: int | None = None
    user_name: str | None = None
    order_id: str | None = None
    account_id: int | None = None
    account_name: str | None = None
    purchased_at: datetime | None = None
    derived: bool = False  # the account's name follows from the order, and is not in the file

    @property
    def has_account(self) -> bool:
        """Whether the line names an account; else it is about a trader alone."""
        return self.account_id is not None or self.account_name is not None

    @property
    def order_key(self) -> tuple[str, str] | None:
        """Kind and id of the order that the line stands for."""
        if self.order_id is not None:
            return KIND, self.order_id
        if self.account_id is not None:
            return WITHOUT_ORDER, str(self.account_id)
        return None if self.account_name is None else (WITHOUT_ORDER, self.account_name)

    @property
    def names(self) -> Names:
        """What the ledger has to load for it."""
        kind, order_id = self.order_key or (KIND, None)
        return Names(
            trader_id=self.trader_id,
            user_id=self.user_id,
            user_name=self.user_name,
            order_id=order_id,
            order_kind=kind,
            account_id=self.account_id,
        )


@dataclass(frozen=True, slots=True)
class Holding:
    """A line that Tradovate has proven: the user, the account and its trading permission, which is that user's."""

    given: Given
    user_id: int
    user_name: str | None = None  # None: not known
    account_id: int | None = None
    account_name: str | None = None  # None: not known
    permission_id: int | None = None

    @property
    def names(self) -> Names:
        """What the ledger has to load and lock for it."""
        permissions = () if self.permission_id is None else (self.permission_id,)
        return self.given.names._replace(
            user_id=self.user_id, user_name=self.user_name, account_id=self.account_id, permission_ids=permissions
        )


class ImportVerdict(Enum):
    """What became of a line that is right."""

    IMPORTED = "imported"
    KNOWN = "known"  # the ledger has had it


class _Orders:
    """Purchases by their account and by their trading permission."""

    def __init__(self, rows: Snapshot) -> None:
        self._of: dict[tuple[str, int], list[OrderRow]] = defaultdict(list)
        for row in rows.orders.values():
            self.add(row)

    def add(self, row: OrderRow) -> None:
        if kind_of(row.kind) != KIND:
            return  # a subaccount is on LIVE, and its number may be equal
        for what, each in (("account", row.account_id), ("permission", row.permission_id)):
            if each is not None:
                self._of[what, each].append(row)

    def of_account(self, account_id: int) -> Sequence[OrderRow]:
        return self._of.get(("account", account_id), ())

    def of(self, holding: Holding) -> Sequence[OrderRow]:
        found = () if holding.permission_id is None else self._of.get(("permission", holding.permission_id), ())
        return [*(() if holding.account_id is None else self.of_account(holding.account_id)), *found]

    def for_line(self, rows: Snapshot, given: Given, account_id: int | None) -> OrderRow | None:
        """The order that a line stands for; without an order id, any of the trader's with its account."""
        own = rows.orders.get(given.order_key) if given.order_key is not None else None
        if own is not None or given.order_id is not None or account_id is None:
            return own
        return next((row for row in self.of_account(account_id) if row.trader_id == given.trader_id), None)


ZONES_DIFFER = timedelta(days=1)
"""A day without a zone is taken as Chicago's: elsewhere it has begun before."""


def known(rows: Snapshot, lines: Sequence[Given], now: datetime) -> Sequence[ImportVerdict | str | None]:
    """What the ledger alone says of each line: known, or refused with the reason; None: Tradovate has to be asked."""
    orders = _Orders(rows)
    return [
        # No departure would end what was bought after it.
        "purchasedAt is in the future."
        if given.purchased_at is not None and given.purchased_at > now + ZONES_DIFFER
        else _known(rows, orders, given)
        for given in lines
    ]


def _known(rows: Snapshot, orders: _Orders, given: Given) -> ImportVerdict | str | None:
    trader = rows.traders.get(given.trader_id)
    if trader is None or trader.user_id is None:
        return None
    if given.user_id is not None:
        if trader.user_id != given.user_id:
            return _other_user(given.trader_id)
    elif trader.user_name is None or rows.digests.differs(trader.user_name, login_bytes(given.user_name or "")):
        return None
    if given.order_key is None:
        return ImportVerdict.KNOWN
    order = orders.for_line(rows, given, given.account_id)
    if order is None or order.state != "succeeded" or order.trader_id != given.trader_id:
        return None
    same_id = given.account_id in (None, order.account_id)
    same_name = given.account_name in (None, order.facts.account_name)
    return ImportVerdict.KNOWN if same_id and same_name and order.user_id == trader.user_id else None


class Importing:
    """The lines of one transaction, in their order, against `snapshot`: locked, with rows of all traders that it names.

    `now`: when they are imported, which dates what has no date of its own.
    """

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self._shared = Shared(snapshot)
        self._orders = _Orders(snapshot)
        self._now = now

    def add(self, holding: Holding) -> ImportVerdict | str:
        """Decides what the line means, and keeps its rows; a text: why it is refused."""
        trader = self._shared.rows.traders.get(holding.given.trader_id) or TraderRow(holding.given.trader_id)
        refused = self._trader_refused(holding, trader) or self._order_refused(holding)
        if refused is not None:
            return refused
        new = trader.user_id is None
        if new:
            self._shared.rows.traders.setdefault(trader.trader_id, trader)
            self._shared.learn_user(holding.names, holding.user_id, made_here=False)
        return ImportVerdict.IMPORTED if self._put_order(holding) or new else ImportVerdict.KNOWN

    def _trader_refused(self, holding: Holding, trader: TraderRow) -> str | None:
        if trader.user_id not in (None, holding.user_id):
            return _other_user(trader.trader_id)
        if trader.maker is not None:
            return f"A user of trader {trader.trader_id} is just being created by an event."
        theirs = self._shared.rows.by_user.get(holding.user_id)
        if theirs is not None and theirs.trader_id != trader.trader_id:
            return f"User {holding.user_id} is trader {theirs.trader_id}'s already: one user is one trader."
        return None

    def _order_refused(self, holding: Holding) -> str | None:
        given, rows = holding.given, self._shared.rows
        if holding.account_id is None:
            return None
        order = rows.orders.get(given.order_key) if given.order_key is not None else None
        if order is not None and given.order_id is not None:
            if order.trader_id != given.trader_id:
                return f"Order {given.order_id} is another trader's already."
            if order.state in ("open", "in_doubt"):
                return f"Order {given.order_id} is an event's, which is {order.state.replace('_', ' ')}."
            if order.state == "succeeded" and order.account_id != holding.account_id:
                return f"Order {given.order_id} has another account already, {order.account_id}."
        for row in self._orders.of(holding):
            if row.trader_id not in (None, given.trader_id):
                return f"Account {holding.account_id} is trader {row.trader_id}'s already."
            named = row.kind == KIND and given.order_id is not None
            if named and row.order_id != given.order_id and row.state == "succeeded":
                return f"Account {holding.account_id} is order {row.order_id}'s already."
        return None

    def _put_order(self, holding: Holding) -> bool:
        """Whether the ledger did not have it."""
        given, key = holding.given, holding.given.order_key
        if key is None or holding.account_id is None:
            return False
        before = self._orders.for_line(self._shared.rows, given, holding.account_id)
        if before is not None and before.state == "succeeded":
            return False
        row = OrderRow(
            *key,
            flow_id=uuid.uuid5(_SPACE, "\n".join(key)),
            state="succeeded",
            details=None,
            trader_id=given.trader_id,
            user_id=holding.user_id,
            account_id=holding.account_id,
            permission_id=holding.permission_id,
            facts=PurchasedFacts(
                user_id=holding.user_id,
                account_id=holding.account_id,
                account_name=holding.account_name,
                trading_permission_id=holding.permission_id,
            ),
            error_code=None,
            error_text=None,
            asked_at=min(given.purchased_at or self._now, self._now),
        )
        self._shared.put_order(row)
        self._orders.add(row)
        return True

    def changes(self) -> Changes:
        """What the transaction writes; flows that wait for one of these traders or orders are woken."""
        shared = self._shared
        return Changes(
            self._now,
            traders=shared.changed_traders(),
            orders=shared.changed_orders(),
            wakes=sorted(shared.wakes()),
            new_trader_keys={f"t:{trader_id}": f"u:{user_id}" for trader_id, user_id in shared.new_users.items()},
        )


def _other_user(trader_id: str) -> str:
    return f"Trader {trader_id} is known with another Tradovate user."
