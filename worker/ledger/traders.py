"""The table `trader`: which Tradovate user each trader of the shop is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from worker.engine.rows import TraderRow
from worker.ledger.columns import columns
from worker.ledger.database import Connection


async def add(connection: Connection, trader_ids: Sequence[str]) -> None:
    """Adds the traders that are not there yet."""
    if trader_ids:
        await connection.execute(
            "insert into trader (trader_id) select unnest($1::text[]) on conflict do nothing", trader_ids
        )


async def lock(connection: Connection, trader_ids: Sequence[str], user_ids: Sequence[int]) -> Sequence[TraderRow]:
    """Locks these traders, and those whose users these are: an event that names the user alone is about the same
    trader, and must wait for the lock. Locked in the order of their ids.
    """
    if not trader_ids and not user_ids:
        return ()
    return [TraderRow(*row) for row in await connection.fetch(_LOCK, trader_ids, user_ids)]


async def of_users(connection: Connection, user_ids: Collection[int]) -> Sequence[TraderRow]:
    """The traders whose users these are; not locked."""
    if not user_ids:
        return ()
    return [TraderRow(*row) for row in await connection.fetch(_OF_USERS, list(user_ids))]


async def write(connection: Connection, traders: Sequence[TraderRow]) -> None:
    """Writes traders that have changed."""
    if traders:
        await connection.execute(_WRITE, *columns(traders, "trader_id", "user_id", "user_name", "made_here", "maker"))


# Each key is looked for by itself (`offset 0`): planned in one piece, these may read the whole table.
_LOCK = """
select trader_id, user_id, user_name, made_here, maker from trader
where trader_id in (
    select unnest($1::text[])
    union
    select found.trader_id from unnest($2::bigint[]) as named (user_id) cross join lateral (
        select trader_id from trader where user_id = named.user_id offset 0) as found)
order by trader_id for update
"""

_OF_USERS = """
select found.* from unnest($1::bigint[]) as named (user_id) cross join lateral (
    select trader_id, user_id, user_name, made_here, maker from trader
    where user_id = named.user_id offset 0) as found
"""

_WRITE = """
update trader set user_id = changed.user_id, user_name = changed.user_name, made_here = changed.made_here,
    maker = changed.maker
from unnest($1::text[], $2::bigint[], $3::bytea[], $4::boolean[], $5::uuid[])
    as changed (trader_id, user_id, user_name, made_here, maker)
where trader.trader_id = changed.trader_id
"""
