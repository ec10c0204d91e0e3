"""What a transaction's flows share with others: traders, orders and departures. Locked and loaded by the ledger.

Pure: the ledger adds the rows (`add_trader`, `add_order`, ...); the planner reads them, and
keeps what it changes in a copy.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from worker.engine.flows.base import DepartureView, Names, OrderView, TraderView
from worker.engine.rows import DepartureRow, LivePermissionRow, OrderRow, TraderRow
from worker.engine.turns import AccountTurns


class Digests(Protocol):
    """Keyed hashes of what must be compared later and is not stored."""

    def digest(self, data: bytes) -> bytes:
        """The keyed hash of `data`."""
        ...

    def differs(self, digest: bytes, data: bytes) -> bool:
        """Whether `digest` was made of something else. False also when its key is not known any more."""
        ...


@dataclass(slots=True)
class Snapshot:
    """The rows by their keys, and what follows from them, as of the database's time `now`."""

    digests: Digests
    now: datetime
    traders: dict[str, TraderRow] = field(default_factory=dict)
    by_user: dict[int, TraderRow] = field(default_factory=dict)
    orders: dict[tuple[str, str], OrderRow] = field(default_factory=dict)
    departures: dict[tuple[str, uuid.UUID], DepartureRow] = field(default_factory=dict)
    _unproven: list[tuple[str, str]] = field(default_factory=list)  # trader key, operation
    turns: AccountTurns = field(default_factory=AccountTurns)
    _live_permissions: list[LivePermissionRow] = field(default_factory=list)
    assigned: dict[int, int] = field(default_factory=dict)  # accounts on DEMO that are no order's, and their users

    def copy(self) -> Snapshot:
        """Another one with the same rows (which never change themselves)."""
        return Snapshot(
            self.digests,
            self.now,
            dict(self.traders),
            dict(self.by_user),
            dict(self.orders),
            dict(self.departures),
            self._unproven,
            self.turns.copy(),
            self._live_permissions,
            self.assigned,
        )

    def add_trader(self, row: TraderRow) -> None:
        """Adds a trader, or replaces the one of the same id."""
        self.traders[row.trader_id] = row
        if row.user_id is not None:
            self.by_user[row.user_id] = row

    def add_order(self, row: OrderRow) -> None:
        """Adds an order, or replaces the one of the same kind and id."""
        self.orders[row.kind, row.order_id] = row

    def add_departure(self, row: DepartureRow) -> None:
        """Adds a departure, or replaces the one of the same key and flow."""
        self.departures[row.trader_key, row.flow_id] = row

    def add_unproven(self, trader_key: str, operation: str) -> None:
        """Adds a step of the trader that was sent and has no known result yet."""
        self._unproven.append((trader_key, operation))

    def add_live_permission(self, row: LivePermissionRow) -> None:
        """Adds a trading permission that was made on LIVE."""
        self._live_permissions.append(row)

    def users(self, named: Iterable[Names]) -> set[int]:
        """The users that are named, or are known to be the traders that are."""
        found: set[int] = set()
        for names in named:
            row = self.traders.get(names.trader_id) if names.trader_id is not None else None
            found |= {each for each in (names.user_id, row and row.user_id) if each is not None}
        return found

    def trader_ids(self, named: Iterable[Names]) -> set[str]:
        """The traders that are named, or whose users are."""
        found: set[str] = set()
        for names in named:
            row = self.by_user.get(names.user_id) if names.user_id is not None else None
            found |= {each for each in (names.trader_id, row and row.trader_id) if each is not None}
        return found

    def trader_view(self, names: Names, *, by_name: bool) -> TraderView:
        """The trader that an event names, by trader id or else by user id. `by_name`: the login name is compared."""
        row = self.traders.get(names.trader_id) if names.trader_id is not None else None
        theirs = self.by_user.get(names.user_id) if names.user_id is not None else None
        row = row or theirs
        if row is None:
            return TraderView(names.trader_id)
        other_name = (
            by_name
            and names.user_name is not None
            and row.user_name is not None
            and self.digests.differs(row.user_name, login_bytes(names.user_name))
        )
        taken_by = theirs.trader_id if theirs is not None and theirs.trader_id != row.trader_id else None
        return TraderView(row.trader_id, row.user_id, other_name, row.made_here, row.maker, taken_by)

    def owners(self, names: Names) -> dict[int, str]:
        """The users that are named and known, and whose they are."""
        if not names.user_ids and names.user_id is None:
            return {}
        named = {*names.user_ids, *((names.user_id,) if names.user_id is not None else ())}
        return {user_id: self.by_user[user_id].trader_id for user_id in named if user_id in self.by_user}

    def trader_keys(self, names: Names) -> set[str]:
        """The keys of the trader that an event names: by id, by user, or as the one whose account it names."""
        users, traders = self.users([names]), self.trader_ids([names])
        if not users and not traders and names.account_id is not None:
            for row in self.references(names):
                users |= {row.user_id} if row.user_id is not None else set()
                traders |= {row.trader_id} if row.trader_id is not None else set()
            if not users and not traders and names.account_id in self.assigned:
                users = {self.assigned[names.account_id]}
        return {f"u:{user}" for user in users} | {f"t:{trader}" for trader in traders}

    def turn_keys(self, names: Names) -> set[str]:
        """The keys of the queue in which events about one account wait for their turn; none for other events."""
        if names.in_turn is None:
            return set()
        rows = list(self.references(names))
        orders = {row.order_id for row in rows if "/" not in row.kind}
        accounts = {row.account_id for row in rows if row.account_id is not None}
        orders |= {names.order_id} if names.order_id is not None else set()
        accounts |= {names.account_id} if names.account_id is not None else set()
        return {f"o:{order}" for order in orders} | {f"a:{account}" for account in accounts}

    def order_view(self, row: OrderRow, trader_id: str | None = None, details: bytes | None = None) -> OrderView:
        """An order as flows see it; `trader_id` and `details` of the event that asks, to tell a repeat from a conflict.

        Of an imported order the details are not known: there it is the trader alone who tells.
        """
        if row.details is None:
            same = details is not None and row.trader_id == trader_id
        else:
            same = details is not None and not self.digests.differs(row.details, details)
        return OrderView(
            row.order_id,
            row.flow_id,
            row.state,
            same,
            row.trader_id,
            row.user_id,
            row.account_id,
            row.permission_id,
            row.facts,
            row.error_code,
            row.error_text,
            row.kind,
            row.asked_at,
        )

    def references(self, names: Names) -> Iterable[OrderRow]:
        """Orders of one kind that an event refers to: by order, account or permission id, or as its trader's.

        A purchase's account is on DEMO and a subaccount is on LIVE, and their numbers may be equal.
        """
        if not (names.permission_ids or names.account_ids or names.account_id is not None or names.of_trader):
            # Most events name an order and no more: a batch of 500 must not compare each with each.
            own = self.orders.get((names.order_kind, names.order_id)) if names.order_id is not None else None
            if own is not None:
                yield own
            return
        permissions = set(names.permission_ids)
        accounts = {*names.account_ids, *((names.account_id,) if names.account_id is not None else ())}
        users, traders = self.users([names]), self.trader_ids([names])
        for row in self.orders.values():
            if kind_of(row.kind) != kind_of(names.order_kind):
                continue
            if (
                (names.order_id is not None and (row.kind, row.order_id) == (names.order_kind, names.order_id))
                or (row.account_id is not None and row.account_id in accounts)
                or (row.permission_id is not None and row.permission_id in permissions)
                or (names.of_trader and row.trader_id is not None and row.trader_id in traders)
                or (names.of_trader and row.user_id is not None and row.user_id in users)
            ):
                yield row

    def departure_views(self, keys: Iterable[str], but: uuid.UUID) -> tuple[DepartureView, ...]:
        """The departures under any of `keys`, by other flows than `but`."""
        if not self.departures:
            return ()
        wanted = set(keys)
        found = {
            row.flow_id: DepartureView(row.flow_id, row.since, row.begun_at, row.ended)
            for row in self.departures.values()
            if row.trader_key in wanted and row.flow_id != but
        }
        return tuple(found.values())

    def unproven(self, keys: Iterable[str]) -> frozenset[str]:
        """The operations of one trader that were sent and have no known result yet."""
        wanted = set(keys)
        return frozenset(operation for key, operation in self._unproven if key in wanted)

    def on_live(self, names: Names) -> frozenset[int]:
        """Trading permissions that were made on LIVE: those that are named, and those of a trader who leaves."""
        if not self._live_permissions:
            return frozenset()
        users = self.users([names]) if names.departs else set()
        return frozenset(
            row.permission_id
            for row in self._live_permissions
            if row.permission_id in names.permission_ids or row.user_id in users
        )


def kind_of(order_kind: str) -> str:
    """The kind of an order; those that an event placed without an order id have their own numbers after a slash."""
    return order_kind.partition("/")[0]


def login_bytes(name: str) -> bytes:
    """A login name as it is compared: without spaces around it, in lower case."""
    return name.strip().lower().encode()
