"""The table `business_order`: who owns each order, what it asked for, what it got."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from worker.engine.facts import FactsUnreadable, facts_of, stored_facts
from worker.engine.flows import ORDER_FACTS
from worker.engine.rows import OrderRow
from worker.engine.snapshot import kind_of
from worker.ledger.database import Connection
from worker.ledger.errors import Cause, DatabaseUnavailable
from worker.ledger.statement import Part, Rows, bytes_in_json

_COLUMNS = (
    "kind, order_id, flow_id, state, details, trader_id, user_id, account_id, permission_id, facts, error_code,"
    " error_text, asked_at"
)


async def purchase(connection: Connection, order_id: str) -> OrderRow | None:
    """The purchase of that id; not locked."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} from business_order where kind = 'purchased' and order_id = $1",  # noqa: S608 - ours
        order_id,
    )
    return None if row is None else _order(row)


async def last_account(connection: Connection) -> int | None:
    """The youngest account on DEMO that a purchase has brought or an import has found; None: there is none yet."""
    account: int | None = await connection.fetchval(
        "select account_id from business_order where account_id is not null and state = 'succeeded'"
        " and kind in ('purchased', 'purchased/import') order by account_id desc limit 1"
    )
    return account


async def lock(connection: Connection, keys: Collection[tuple[str, str]]) -> Sequence[OrderRow]:
    """Locks the orders of these kinds and ids, in this order."""
    if not keys:
        return ()
    kinds, order_ids = zip(*sorted(keys), strict=True)
    return [_order(row) for row in await connection.fetch(_LOCK, kinds, order_ids)]


async def lock_by_what_they_got(
    connection: Connection, accounts: Collection[int], permissions: Collection[int]
) -> Sequence[OrderRow]:
    """Locks the orders that have got one of these accounts or trading permissions."""
    if not accounts and not permissions:
        return ()
    found = await connection.fetch(_LOCK_BY_WHAT_THEY_GOT, sorted(accounts), sorted(permissions))
    return [_order(row) for row in found]


async def lock_of_traders(
    connection: Connection, trader_ids: Collection[str], user_ids: Collection[int]
) -> Sequence[OrderRow]:
    """Locks all orders of these traders and users."""
    if not trader_ids and not user_ids:
        return ()
    found = await connection.fetch(_LOCK_OF_TRADERS, sorted(trader_ids), sorted(user_ids))
    return [_order(row) for row in found]


def written_rows(orders: Sequence[OrderRow]) -> Rows:
    """The rows of `ORDERS`."""
    return [
        {**order._asdict(), "details": bytes_in_json(order.details), "facts": stored_facts(order.facts)}
        for order in orders
    ]


def _order(row: Any) -> OrderRow:
    """An order in a row with `_COLUMNS`. Raises `DatabaseUnavailable` if its facts are not of their type: nothing is
    decided about an order that another release may have written.
    """
    kind, order_id = row["kind"], row["order_id"]
    try:
        facts = facts_of(ORDER_FACTS[kind_of(kind)], row["facts"], f"order {order_id} ({kind})")
    except FactsUnreadable as error:
        raise DatabaseUnavailable(Cause.SCHEMA, said=error.sentence) from None
    return OrderRow(*row)._replace(facts=facts)


_LOCK = f"""
select {_COLUMNS} from business_order
where (kind, order_id) in (select * from unnest($1::text[], $2::text[]))
order by kind, order_id for update
"""  # noqa: S608 - a constant of ours

# Each key is looked for by itself, and `offset 0` keeps it so: planned in one piece, these may read the whole table.
_LOCK_THESE = f"""
select found.* from (select kind, order_id from these order by kind, order_id) as named cross join lateral (
    select {_COLUMNS} from business_order
    where kind = named.kind and order_id = named.order_id offset 0 for update) as found
"""  # noqa: S608 - a constant of ours

_LOCK_BY_WHAT_THEY_GOT = f"""
with these as (
    select found.* from unnest($1::bigint[]) as named (id) cross join lateral (
        select kind, order_id from business_order where account_id = named.id offset 0) as found
    union
    select found.* from unnest($2::bigint[]) as named (id) cross join lateral (
        select kind, order_id from business_order where permission_id = named.id offset 0) as found)
{_LOCK_THESE}
"""  # noqa: S608 - constants of ours

_LOCK_OF_TRADERS = f"""
with these as (
    select found.* from unnest($1::text[]) as named (id) cross join lateral (
        select kind, order_id from business_order where trader_id = named.id offset 0) as found
    union
    select found.* from unnest($2::bigint[]) as named (id) cross join lateral (
        select kind, order_id from business_order where user_id = named.id offset 0) as found)
{_LOCK_THESE}
"""  # noqa: S608 - constants of ours

ORDERS = Part(
    "orders",
    f"""
insert into business_order as owned ({_COLUMNS})
select {_COLUMNS} from json_to_recordset(:rows) as written (kind text, order_id text, flow_id uuid, state text,
    details bytea, trader_id text, user_id bigint, account_id bigint, permission_id bigint, facts jsonb,
    error_code text, error_text text, asked_at timestamptz)
on conflict (kind, order_id) do update set flow_id = excluded.flow_id, state = excluded.state,
    details = excluded.details, trader_id = excluded.trader_id, user_id = excluded.user_id,
    account_id = excluded.account_id, permission_id = excluded.permission_id, facts = excluded.facts,
    error_code = excluded.error_code, error_text = excluded.error_text, asked_at = excluded.asked_at
where owned.flow_id = excluded.flow_id or owned.state = 'failed'
returning 1
""",  # noqa: S608 - a constant of ours
)
"""Orders that are new or have changed. The primary key closes the race of two events that name a new order at once: the
second one finds another owner than it has read, and its row is not written.
"""
