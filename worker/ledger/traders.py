"""The table `trader`: which Tradovate user each trader of the shop is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from worker.engine.rows import TraderRow
from worker.ledger.database import Connection
from worker.ledger.statement import Part, Rows, bytes_in_json


async def lock(
    connection: Connection, trader_ids: Sequence[str], user_ids: Sequence[int], *, new: bool = False
) -> tuple[Sequence[TraderRow], datetime | None]:
    """Locks these traders, and those whose users these are: an event that names the user alone is about the same
    trader, and must wait for the lock. Locked in the order of their ids. `new`: those that are not there are added.

    Besides, the database's time, if there are any.
    """
    if not trader_ids and not user_ids:
        return (), None
    rows = await connection.fetch(_ADD_AND_LOCK if new else _LOCK, trader_ids, user_ids)
    if new and not {row["trader_id"] for row in rows}.issuperset(trader_ids):
        # The race: another transaction has added one, and was committed after this statement had begun.
        rows = await connection.fetch(_LOCK, trader_ids, user_ids)
    return [TraderRow(*row[:5]) for row in rows], rows[0]["now"] if rows else None


async def of_users(connection: Connection, user_ids: Collection[int]) -> Sequence[TraderRow]:
    """The traders whose users these are, for a transaction that may make one of them a trader's user: another one that
    asks for the same user waits for its end. Their rows are not locked.
    """
    if not user_ids:
        return ()
    await connection.execute(_ONE_BY_ONE, list(user_ids))
    return [TraderRow(*row) for row in await connection.fetch(_OF_USERS, list(user_ids))]


def changed_rows(traders: Sequence[TraderRow]) -> Rows:
    """The rows of `CHANGED_TRADERS`."""
    return [{**trader._asdict(), "user_name": bytes_in_json(trader.user_name)} for trader in traders]


# Each key is looked for by itself (`offset 0`, `any(array)`): planned in one piece, these may read the whole table.
_LOCK = """
select trader_id, user_id, user_name, made_here, maker, clock_timestamp() as now from trader
where trader_id = any(array(
    select unnest($1::text[])
    union
    select found.trader_id from unnest($2::bigint[]) as named (user_id) cross join lateral (
        select trader_id from trader where user_id = named.user_id offset 0) as found))
order by trader_id for update
"""

_ADD_AND_LOCK = f"""
with added as (
    insert into trader (trader_id) select unnest($1::text[]) on conflict do nothing
    returning trader_id, user_id, user_name, made_here, maker, clock_timestamp() as now),
there as ({_LOCK})
select * from added union all select * from there
"""  # noqa: S608 - a constant of ours

_BUCKETS = 256
"""Locks that all users share: the server has room for some six thousand locks in all."""

# A user of no trader has no row to lock. In the order of the locks' numbers: two transactions that take several cannot
# wait for each other.
_ONE_BY_ONE = f"""
select pg_advisory_xact_lock(1970496882, locks.number) from (
    select distinct (id & {_BUCKETS - 1})::int as number from unnest($1::bigint[]) as named (id) order by 1 offset 0
    ) as locks
"""  # noqa: S608 - a constant of ours; 1970496882 ("user") keeps these numbers apart from other locks

_OF_USERS = """
select found.* from unnest($1::bigint[]) as named (user_id) cross join lateral (
    select trader_id, user_id, user_name, made_here, maker from trader
    where user_id = named.user_id offset 0) as found
"""

CHANGED_TRADERS = Part(
    "changed_traders",
    """
with changed as materialized (
    select * from json_to_recordset(:rows)
        as changed (trader_id text, user_id bigint, user_name bytea, made_here boolean, maker uuid))
update trader set user_id = changed.user_id, user_name = changed.user_name, made_here = changed.made_here,
    maker = changed.maker
from changed
where trader.trader_id = any(array(select trader_id from changed)) and trader.trader_id = changed.trader_id
returning 1
""",
)
