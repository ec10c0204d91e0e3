"""The table `account_turn`: the events of each account in the order in which they were accepted.

Queues are locked by their keys (advisory, for the transaction), after traders, orders and departures, before steps. So
of two transactions that accept events of one account at once the second one sees the first one's place, also where no
order of the ledger has the account.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence

from worker.engine.rows import TurnRow
from worker.engine.turns import AccountTurns
from worker.ledger.columns import columns
from worker.ledger.database import Connection

_COLUMNS = "key, place, flow_id, subject, begun_at, ended, ousted, must_act"


async def load(
    connection: Connection, keys: Collection[str], flow_ids: Sequence[uuid.UUID], places: int
) -> AccountTurns:
    """Locks the queues of these keys, and those in which the flows stand, and reads what `AccountTurns` says of them.

    `places`: how many new places are needed.
    """
    turns = AccountTurns()
    if not flow_ids:
        return turns
    stand = await connection.fetch(_STAND, list(flow_ids))
    named = sorted({*keys, *(row["key"] for row in stand)})
    await connection.execute(_LOCK, named)
    for row in await connection.fetch(_READ, named, list(flow_ids)):
        turns.add(TurnRow(*row))
    if places:
        rows = await connection.fetch("select nextval('account_place') from generate_series(1, $1)", places)
        turns.places = sorted(row[0] for row in rows)
    return turns


async def write(connection: Connection, rows: Sequence[TurnRow]) -> None:
    """Writes rows that are new or have changed."""
    if rows:
        await connection.execute(_WRITE, *columns(rows, *_COLUMNS.split(", ")))


async def oust(connection: Connection, flow_ids: Sequence[uuid.UUID]) -> None:
    """Ends the steps of these flows, which are planned again at once and end. But none whose call may still take
    effect: one that is in flight, or whose result was lost so lately that its first look-up is not due.
    """
    if flow_ids:
        await connection.execute(_OUST, list(flow_ids))


_BUCKETS = 256
"""Locks that all queues share, by a hash of the key. The server has room for some six thousand locks in all
(`max_locks_per_transaction`), and a batch of 500 events may name 500 accounts."""

# In the order of the locks' numbers: two transactions that take several cannot wait for each other.
_LOCK = f"""
select pg_advisory_xact_lock(1953853806, locks.number) from (
    select distinct (hashtextextended(key, 0) & {_BUCKETS - 1})::int as number from unnest($1::text[]) as named (key)
    order by 1 offset 0) as locks
"""  # noqa: S608 - a constant of ours; 1953853806 ("turn") keeps these numbers apart from other locks

# Each flow, key and subject is looked for by itself (`offset 0`): planned in one piece, these may read the whole table.
_STAND = """
select distinct mine.key from unnest($1::uuid[]) as f (id) cross join lateral (
    select key from account_turn where flow_id = f.id offset 0) as mine
"""

_READ = f"""
with named as (select key, subject from unnest($1::text[]) as k (key) cross join unnest(array['action', 'limits']) as
        s (subject)),
own as materialized (
    select mine.* from unnest($2::uuid[]) as f (id) cross join lateral (
        select {_COLUMNS} from account_turn where flow_id = f.id offset 0) as mine)
select * from own
union
select other.* from own cross join unnest(array['action', 'limits']) as s (subject) cross join lateral (
    select {_COLUMNS} from account_turn before
    where before.key = own.key and before.subject = s.subject and before.place < own.place and not before.ended
    order by before.place desc limit 1) as other
union
select other.* from named cross join lateral (
    select {_COLUMNS} from account_turn last
    where last.key = named.key and last.subject = named.subject and not last.ended
    order by last.place desc limit 1) as other
union
select other.* from named cross join lateral (
    select {_COLUMNS} from account_turn begun
    where begun.key = named.key and begun.subject = named.subject and begun.begun_at is not null
    order by begun.place desc limit 1) as other
"""  # noqa: S608 - constants of ours

_WRITE = f"""
insert into account_turn ({_COLUMNS})
select * from unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::timestamptz[], $6::boolean[], $7::boolean[],
    $8::boolean[])
on conflict (key, place) do update set begun_at = excluded.begun_at, ended = excluded.ended, ousted = excluded.ousted
"""  # noqa: S608 - a constant of ours

# A step that was never sent only reads. One that has been looked up before was lost long ago.
_OUST = """
with away as (
    update step set state = 'refused', ended_at = clock_timestamp(), memory = '{}'
    where flow_id = any($1) and lease is null and (state = 'due' or state = 'unknown'
        and (attempts = 0 or due <= clock_timestamp() or coalesce((memory #>> '{retrying,look_ups}')::int, 0) > 0))
    returning flow_id, trader_key, attempts),
counted as (
    update flow set attempts = greatest(flow.attempts, away.attempts) from away where flow.id = away.flow_id),
waiting as (
    update step set due = clock_timestamp() where flow_id = any($1) and lease is null and state = 'waiting')
insert into step (flow_id, operation, rank, state, trader_key, due)
select flow_id, 'plan', 0, 'waiting', trader_key, clock_timestamp() from away
"""
