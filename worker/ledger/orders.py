"""The table `business_order`: who owns each order, what it asked for, what it got."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from worker.engine.rows import OrderRow
from worker.ledger.columns import columns
from worker.ledger.database import Again, Connection

_COLUMNS = (
    "kind, order_id, flow_id, state, details, trader_id, user_id, account_id, permission_id, facts, error_code,"
    " error_text, asked_at"
)


async def lock(connection: Connection, keys: Collection[tuple[str, str]]) -> Sequence[OrderRow]:
    """Locks the orders of these kinds and ids, in this order."""
    if not keys:
        return ()
    kinds, order_ids = [kind for kind, _ in sorted(keys)], [order_id for _, order_id in sorted(keys)]
    return [OrderRow(*row) for row in await connection.fetch(_LOCK, kinds, order_ids)]


async def lock_by_what_they_got(
    connection: Connection, accounts: Collection[int], permissions: Collection[int]
) -> Sequence[OrderRow]:
    """Locks the orders that have got one of these accounts or trading permissions."""
    if not accounts and not permissions:
        return ()
    found = await connection.fetch(_LOCK_BY_WHAT_THEY_GOT, sorted(accounts), sorted(permissions))
    return [OrderRow(*row) for row in found]


async def lock_of_traders(
    connection: Connection, trader_ids: Collection[str], user_ids: Collection[int]
) -> Sequence[OrderRow]:
    """Locks all orders of these traders and users."""
    if not trader_ids and not user_ids:
        return ()
    found = await connection.fetch(_LOCK_OF_TRADERS, sorted(trader_ids), sorted(user_ids))
    return [OrderRow(*row) for row in found]


async def write(connection: Connection, orders: Sequence[OrderRow]) -> None:
    """Writes orders that are new or have changed. Raises `Again` when another transaction was quicker.

    The primary key closes the race of two events that name a new order at once: the second one finds an owner that is
    not the one it read, writes nothing, and its transaction is run again.
    """
    if orders:
        written = await connection.fetch(_WRITE, *columns(orders, *_COLUMNS.replace(" ", "").split(",")))
        if len(written) != len(orders):
            raise Again


_LOCK = f"""
select {_COLUMNS} from business_order
where (kind, order_id) in (select * from unnest($1::text[], $2::text[]))
order by kind, order_id for update
"""  # noqa: S608 - a constant of ours

# Each key is a probe of its own index: of two conditions joined by `or`, the planner may read the whole table.
_LOCK_BY_WHAT_THEY_GOT = f"""
select {_COLUMNS} from business_order
where (kind, order_id) in (
    select kind, order_id from unnest($1::bigint[]) as named (account_id) join business_order using (account_id)
    union
    select kind, order_id from unnest($2::bigint[]) as named (permission_id) join business_order using (permission_id))
order by kind, order_id for update
"""  # noqa: S608 - a constant of ours

_LOCK_OF_TRADERS = f"""
select {_COLUMNS} from business_order
where (kind, order_id) in (
    select kind, order_id from unnest($1::text[]) as named (trader_id) join business_order using (trader_id)
    union
    select kind, order_id from unnest($2::bigint[]) as named (user_id) join business_order using (user_id))
order by kind, order_id for update
"""  # noqa: S608 - a constant of ours

_WRITE = f"""
insert into business_order as owned ({_COLUMNS})
select * from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::bytea[], $6::text[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::jsonb[], $11::text[], $12::text[], $13::timestamptz[])
on conflict (kind, order_id) do update set flow_id = excluded.flow_id, state = excluded.state,
    details = excluded.details, trader_id = excluded.trader_id, user_id = excluded.user_id,
    account_id = excluded.account_id, permission_id = excluded.permission_id, facts = excluded.facts,
    error_code = excluded.error_code, error_text = excluded.error_text, asked_at = excluded.asked_at
where owned.flow_id = excluded.flow_id or owned.state = 'failed'
returning 1
"""  # noqa: S608 - a constant of ours
