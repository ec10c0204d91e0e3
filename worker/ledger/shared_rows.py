"""The rows that flows share - traders and orders - loaded and locked for one transaction, written back in bulk.

Locks are always taken in the same order: traders by id, then orders by kind and id, then steps. Two transactions
that touch the same trader or order run one after the other, so a wake-up cannot fall between a look and a wait.

What wakes the flows that wait for such a row follows from what has changed in it (`SharedRows.news`), and is decided
here alone: a flow that learns something cannot forget to tell it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from worker.engine.flows.base import LEFT, Facts, Names, OrderView, TraderView, left_behind, order_key, trader_key
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection
from worker.ledger.writes import Writes, columns


@dataclass(slots=True)
class TraderRow:
    """A trader of the shop, and the Tradovate user that is theirs."""

    trader_id: str
    user_id: int | None
    user_name: bytes | None
    made_here: bool
    maker: uuid.UUID | None
    dirty: bool = False
    _was: tuple[int | None, uuid.UUID | None] = field(init=False)

    def __post_init__(self) -> None:
        self._was = self.user_id, self.maker

    @property
    def has_news(self) -> bool:
        """Whether a flow that waits for the trader may go on: the user has become known, or its making has ended."""
        user_id, maker = self._was
        return self.user_id != user_id or (maker is not None and self.maker is None)


@dataclass(slots=True)
class OrderRow:
    """An order: its owner, what it asked for, what it got."""

    kind: str
    order_id: str
    flow_id: uuid.UUID
    state: str
    details: bytes
    trader_id: str | None
    user_id: int | None
    account_id: int | None
    permission_id: int | None
    facts: dict[str, Any]
    error_code: str | None
    error_text: str | None
    asked_at: datetime
    dirty: bool = False
    _was: tuple[str, int | None, int | None] = field(init=False)

    def __post_init__(self) -> None:
        self._was = self._told

    @property
    def _told(self) -> tuple[str, int | None, int | None]:
        return self.state, self.account_id, self.permission_id

    @property
    def has_news(self) -> bool:
        """Whether a flow that waits for the order may go on: it has got an account or a permission, or has ended."""
        return self._told != self._was


_TRADER_COLUMNS = "trader_id, user_id, user_name, made_here, maker"
_ORDER_COLUMNS = (
    "kind, order_id, flow_id, state, details, trader_id, user_id, account_id, permission_id, facts, error_code,"
    " error_text, asked_at"
)


@dataclass(slots=True)
class SharedRows:
    """The traders and orders that a transaction's flows name."""

    vault: Vault
    traders: dict[str, TraderRow] = field(default_factory=dict)
    by_user: dict[int, TraderRow] = field(default_factory=dict)
    orders: dict[tuple[str, str], OrderRow] = field(default_factory=dict)

    async def load(self, connection: Connection, named: Sequence[Names], *, new: bool) -> None:
        """Locks and reads what `named` names; `new`: traders that are not there yet get a row."""
        await self._load_traders(connection, named, new=new)
        await self._load_orders(connection, named)

    async def _load_traders(self, connection: Connection, named: Sequence[Names], *, new: bool) -> None:
        trader_ids = sorted({names.trader_id for names in named if names.trader_id is not None})
        user_ids = sorted({names.user_id for names in named if names.user_id is not None})
        if new and trader_ids:
            await connection.execute(
                "insert into trader (trader_id) select unnest($1::text[]) on conflict do nothing", trader_ids
            )
        if trader_ids or user_ids:
            # By either id: an event that names the user alone is about the same trader, and must wait for the lock.
            for row in await connection.fetch(
                f"select {_TRADER_COLUMNS} from trader where trader_id in (select unnest($1::text[])"  # noqa: S608
                " union select t.trader_id from unnest($2::bigint[]) as n (u) join trader t on t.user_id = n.u)"
                " order by trader_id for update",
                trader_ids,
                user_ids,
            ):
                self._add_trader(TraderRow(*row))
        owned = set().union(*(names.user_ids for names in named)) - self.by_user.keys()
        if owned:
            for row in await connection.fetch(
                f"select {_TRADER_COLUMNS} from unnest($1::bigint[]) as n (u)"  # noqa: S608 - a constant of ours
                " join trader on user_id = n.u",
                list(owned),
            ):
                if row["trader_id"] not in self.traders:
                    self._add_trader(TraderRow(*row))

    def news(self) -> set[str]:
        """The keys that wake whoever waits for the traders and orders in which something has changed."""
        traders = {trader_key(row.trader_id) for row in self.traders.values() if row.has_news}
        return traders | {order_key(row.kind, row.order_id) for row in self.orders.values() if row.has_news}

    async def _load_orders(self, connection: Connection, named: Sequence[Names]) -> None:
        keys = sorted({(names.order_kind, names.order_id) for names in named if names.order_id is not None})
        accounts = sorted(
            {names.account_id for names in named if names.account_id is not None}.union(
                *(names.account_ids for names in named)
            )
        )
        permissions = sorted({each for names in named for each in names.permission_ids})
        rows: list[Any] = []
        if keys:
            rows += await connection.fetch(
                f"select {_ORDER_COLUMNS} from business_order"  # noqa: S608 - a constant of ours
                " where (kind, order_id) in (select * from unnest($1::text[], $2::text[]))"
                " order by kind, order_id for update",
                [kind for kind, _ in keys],
                [order_id for _, order_id in keys],
            )
        if accounts or permissions:
            rows += await connection.fetch(
                _orders_of("account_id", "permission_id", "bigint"),
                accounts,
                permissions,
            )
        whole = [names for names in named if names.of_trader]
        if whole:
            rows += await connection.fetch(
                _orders_of("trader_id", "user_id", "text"),
                sorted(self._traders(whole)),
                sorted(self._users(whole)),
            )
        for row in rows:
            self.orders.setdefault((row["kind"], row["order_id"]), OrderRow(*row))

    def _users(self, named: Iterable[Names]) -> set[int]:
        """The users that are named, or are known to be the traders that are."""
        found = {names.user_id for names in named if names.user_id is not None}
        rows = (self.traders.get(names.trader_id) for names in named if names.trader_id is not None)
        return found | {row.user_id for row in rows if row is not None and row.user_id is not None}

    def _traders(self, named: Iterable[Names]) -> set[str]:
        """The traders that are named, or whose users are."""
        found = {names.trader_id for names in named if names.trader_id is not None}
        rows = (self.by_user.get(names.user_id) for names in named if names.user_id is not None)
        return found | {row.trader_id for row in rows if row is not None}

    def _add_trader(self, row: TraderRow) -> None:
        self.traders[row.trader_id] = row
        if row.user_id is not None:
            self.by_user[row.user_id] = row

    def trader_view(self, names: Names) -> TraderView:
        """The trader that an event names, by trader id or else by user id."""
        row = self.traders.get(names.trader_id) if names.trader_id is not None else None
        if row is None and names.user_id is not None:
            row = self.by_user.get(names.user_id)
        if row is None:
            return TraderView(names.trader_id)
        other = (
            names.user_name is not None
            and row.user_name is not None
            and self.vault.differs(row.user_name, _login(names.user_name))
        )
        theirs = self.by_user.get(names.user_id) if names.user_id is not None else None
        taken_by = theirs.trader_id if theirs is not None and theirs.trader_id != row.trader_id else None
        return TraderView(row.trader_id, row.user_id, other, row.made_here, row.maker, taken_by)

    def owners(self, names: Names) -> dict[int, str]:
        """The users that are named and known, and whose they are."""
        named = {*names.user_ids, *((names.user_id,) if names.user_id is not None else ())}
        return {user_id: self.by_user[user_id].trader_id for user_id in named if user_id in self.by_user}

    def keys(self, names: Names) -> set[str]:
        """The keys of the trader that an event names: by id, by user, or as the one whose account it names."""
        users, traders = self._users([names]), self._traders([names])
        if not users and not traders and names.account_id is not None:
            for row in self.references(names):
                users |= {row.user_id} if row.user_id is not None else set()
                traders |= {row.trader_id} if row.trader_id is not None else set()
        return {f"u:{user}" for user in users} | {f"t:{trader}" for trader in traders}

    def order_view(self, row: OrderRow, details: bytes | None = None) -> OrderView:
        """An order as flows see it; `details` of the event that asks, to tell a repeat from a conflict."""
        same = details is not None and not self.vault.differs(row.details, details)
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
        permissions = set(names.permission_ids)
        accounts = {*names.account_ids, *((names.account_id,) if names.account_id is not None else ())}
        if not (permissions or accounts or names.of_trader):
            # Most events name an order and no more: a batch of 500 must not compare each with each.
            own = self.orders.get((names.order_kind, names.order_id)) if names.order_id is not None else None
            if own is not None:
                yield own
            return
        users, traders = self._users([names]), self._traders([names])
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

    def take_order(
        self, names: Names, flow_id: uuid.UUID, details: bytes, asked: datetime, *, reopen: bool = False
    ) -> Facts | None:
        """Makes the flow the order's owner if nobody owns it yet, or if the one who did has failed. Then returns what
        that one left behind, as far as the ledger knows.

        `reopen`: the owner itself takes it up again after it had ended in doubt.
        """
        assert names.order_id is not None
        key, digest = (names.order_kind, names.order_id), self.vault.digest(details)
        row = self.orders.get(key)
        if row is None:
            row = OrderRow(*key, flow_id, "open", digest, names.trader_id, None, None, None, {}, None, None, asked)
            row.dirty = True
            self.orders[key] = row
            return None
        if row.state != "failed" and not (reopen and row.flow_id == flow_id):
            return None
        left = left_behind(names, {"userId": row.user_id, **row.facts})
        if row.trader_id != names.trader_id:
            # What another trader's event left behind is that trader's until it has been looked at.
            row.user_id = row.account_id = row.permission_id = None
        row.flow_id, row.state, row.details, row.asked_at = flow_id, "open", digest, asked
        row.trader_id, row.facts = names.trader_id, {LEFT: left}
        row.error_code, row.error_text, row.dirty = None, None, True
        return left

    def learn_user(self, names: Names, user_id: int, *, made_here: bool) -> bool:
        """Notes which user the trader is; true when that was not known before."""
        row = self.traders.get(names.trader_id) if names.trader_id is not None else None
        if row is None or row.user_id is not None:
            return False
        row.user_id, row.made_here, row.maker, row.dirty = user_id, made_here, None, True
        if names.user_name is not None:
            row.user_name = self.vault.digest(_login(names.user_name))
        self.by_user[user_id] = row
        return True

    def set_maker(self, trader_id: str | None, flow_id: uuid.UUID) -> None:
        """The flow is now the one that makes the trader's user."""
        row = self.traders.get(trader_id) if trader_id is not None else None
        if row is not None and row.maker != flow_id:
            row.maker, row.dirty = flow_id, True

    def drop_maker(self, trader_id: str | None, flow_id: uuid.UUID) -> None:
        """Gives the making back, if the flow had it."""
        row = self.traders.get(trader_id) if trader_id is not None else None
        if row is not None and row.maker == flow_id:
            row.maker, row.dirty = None, True

    def add_writes(self, writes: Writes) -> None:
        """Adds what has changed to the transaction's writes."""
        traders = [row for row in self.traders.values() if row.dirty]
        if traders:
            writes.add(
                "traders",
                "update trader set user_id = n.user_id, user_name = n.user_name, made_here = n.made_here,"
                " maker = n.maker from unnest($1::text[], $2::bigint[], $3::bytea[], $4::boolean[], $5::uuid[])"
                " as n (trader_id, user_id, user_name, made_here, maker) where trader.trader_id = n.trader_id"
                " returning 1",
                *columns(traders, "trader_id", "user_id", "user_name", "made_here", "maker"),
            )
        orders = [row for row in self.orders.values() if row.dirty]
        if orders:
            # The primary key closes the race of two events that name a new order at once; whoever comes second finds
            # an owner that is not the one it read, writes nothing, and is run anew.
            writes.add(
                "orders",
                f"insert into business_order as o ({_ORDER_COLUMNS})"  # noqa: S608 - a constant of ours
                " select * from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::bytea[], $6::text[],"
                " $7::bigint[], $8::bigint[], $9::bigint[], $10::jsonb[], $11::text[], $12::text[], $13::timestamptz[])"
                " on conflict (kind, order_id) do update set flow_id = excluded.flow_id, state = excluded.state,"
                " details = excluded.details, trader_id = excluded.trader_id, user_id = excluded.user_id,"
                " account_id = excluded.account_id, permission_id = excluded.permission_id, facts = excluded.facts,"
                " error_code = excluded.error_code, error_text = excluded.error_text, asked_at = excluded.asked_at"
                " where o.flow_id = excluded.flow_id or o.state = 'failed' returning 1",
                *columns(orders, *_ORDER_COLUMNS.replace(" ", "").split(",")),
                rows=len(orders),
            )


def _orders_of(first: str, second: str, kind: str) -> str:
    """The orders that have one of `$1` in their column `first` or one of `$2` in `second`, locked in their order.

    Each key is a probe of its own index: of two conditions joined by `or`, the planner may walk the table.
    """
    return (
        f"select {_ORDER_COLUMNS} from business_order where (kind, order_id) in ("  # noqa: S608 - constants of ours
        f"select o.kind, o.order_id from unnest($1::{kind}[]) as n (key) join business_order o on o.{first} = n.key"
        f" union select o.kind, o.order_id from unnest($2::bigint[]) as n (key) join business_order o"
        f" on o.{second} = n.key) order by kind, order_id for update"
    )


def kind_of(order_kind: str) -> str:
    """The kind of an order; those that an event placed without an order id have their own numbers after a slash."""
    return order_kind.partition("/")[0]


def _login(name: str) -> bytes:
    return name.strip().lower().encode()
