"""A ledger of years, written by the server: ended flows of every kind and the calls that they needed, over 399 days.

Ids of events, orders and outcomes are spread over their indexes, as a shop's UUIDs are; rows are as large as real ones.
Indexes are built afterwards: five million flows with twenty million calls take 22 GB and a quarter of an hour.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from tests.bench.servers import Servers
from worker.ledger import ended_counts, schema
from worker.ledger.database import Database

CALLS = 4
"""Calls for each flow: most are sent alone, and some are looked up."""

_WHEN = "now() - interval '399 days' * (($n - i)::float8 / $n) - interval '61 minutes'"
"""The last call is no longer in the rolling hour, and nothing is pruned yet."""

_TRADER = "(1 + i % ($n / 2))"
_FACTS = """'{"userId": 1000001, "accountId": 2000001, "accountName": "EVAL100234", "tradingPermissionId": 3000001}'"""

_SEED = f"""
insert into trader (trader_id, user_id, made_here)
select 'old-' || i, 1000000 + i, true from generate_series(1, $n / 2) i;

insert into business_order (kind, order_id, flow_id, state, details, trader_id, user_id, account_id, permission_id,
    asked_at, facts)
select 'purchased', md5('o' || i)::uuid::text, md5('f' || i)::uuid, 'succeeded', '\\x0011223344556677',
    'old-' || {_TRADER}, 1000000 + {_TRADER}, 2000000 + i, 3000000 + i, now(), {_FACTS}
from generate_series(1, $n * 6 / 10) i;

insert into flow (id, topic, event_id, record_key, partition, "offset", trader_id, user_id, order_id, account_id, state,
    attempts, facts, content, created_at, ended_at, asked_at)
select (lpad(to_hex((extract(epoch from t) * 1000)::bigint), 12, '0') || '7' || substr(md5('f' || i), 1, 3) || '8'
        || substr(md5('f' || i), 4, 15))::uuid,
    case when i % 10 < 6 then 'trader.purchased' when i % 10 < 8 then 'trader.failed' when i % 10 < 9 then 'md.signed'
        else 'account.locked' end,
    md5('e' || i)::uuid::text, ('old-' || {_TRADER})::bytea, i % 12, i, 'old-' || {_TRADER}, 1000000 + {_TRADER},
    case when i % 10 < 8 then md5('o' || i)::uuid::text end, 2000000 + i,
    case when i % 20 = 7 then 'failed' else 'succeeded' end, 1, {_FACTS}, sha256(i::text::bytea), t, t, t
from (select i, {_WHEN} as t from generate_series(1, $n) i) as each;

insert into step (flow_id, operation, rank, state, trader_key, due, arrived, attempts, call_ids, result, created_at,
    ended_at)
select f.id, o, 4, 'done', 'u:' || user_id, created_at, created_at, 1, array["offset" * {CALLS} + n],
    '{{"userId": 1000001}}', created_at, ended_at
from flow f, unnest(array['createEvaluationUsers', 'createEvaluationAccounts']) with ordinality as named (o, n)
where topic = 'trader.purchased' or n = 1 order by f.id;

-- a thousand accounts that are locked and unlocked all the time
insert into account_turn (key, place, flow_id, subject, begun_at, ended, ousted, must_act)
select k || (2000000 + account_id % 1000), "offset", id, 'action', created_at, true, false, false
from flow, unnest(array['a:', 'o:']) k where topic = 'account.locked' order by id;
select setval('account_place', $n);

insert into outcome (outcome_id, flow_id, topic, event_id, status, record_key, body, lease_until, created_at,
    published_at)
select md5('out' || "offset"), id, topic, event_id, 'succeeded', record_key,
    jsonb_build_object('outcomeId', md5('out' || "offset"), 'eventId', event_id, 'topic', topic, 'status', 'succeeded',
        'occurredAt', ended_at, 'traderId', trader_id, 'orderId', order_id, 'facts', facts)::text::bytea,
    ended_at, ended_at, ended_at
from flow order by id;

insert into call (operation, endpoint, domain, kind, items, flow_ids, generation, replica, at, finished_at, result,
    http_status)
select o, o, 'live', 'send', 1, array[md5('c' || i)::uuid], i / 1000, 'worker-7d9f8b6c5-abcde', t,
    t + interval '150 ms', 'answer', 200
from (select i, (array['createEvaluationUsers', 'createEvaluationAccounts', 'revokeTradingPermissions',
        'addEntitlementSubscription'])[1 + i % 4] as o, {_WHEN.replace("$n", "$c")} as t
      from generate_series(1, $c) i) as each;

insert into signal (topic, id) select 'md.signed', i from generate_series(1, $n / 10) i;
"""  # noqa: S608 - constants of ours

_TABLES = ("trader", "business_order", "flow", "step", "account_turn", "outcome", "call", "signal")

_GROWN = ("trader", "business_order")
"""Their rows were written short and have grown in their pages, which are full: the room that a table leaves in each
page for that is used up."""

_INDEXES = """
select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as made, c.conname as named,
    pg_get_constraintdef(c.oid) as says, i.indrelid::regclass::text as table
from pg_index i left join pg_constraint c on c.conindid = i.indexrelid where i.indrelid::regclass::text = any($1)
"""


@asynccontextmanager
async def full_ledger(servers: Servers, flows: int) -> AsyncIterator[str]:
    """The address of a full ledger. If the server's data are kept, it is the one of an earlier run, or it stays for the
    next. Raises `AssertionError` if the one that is kept is another one.
    """
    if not servers.kept:
        url = servers.postgres.create_database(name := f"full_{uuid.uuid4().hex[:12]}")
        try:
            await _fill(url, flows)
            yield url
        finally:
            servers.postgres.drop_database(name)
        return
    name = f"full_{flows}_{_digest()}"
    there = await asyncpg.connect(servers.postgres.url)
    try:
        others = [
            row["datname"] for row in await there.fetch("select datname from pg_database where datname ~ '^full_'")
        ]
        if "full_unfinished" in others:
            servers.postgres.drop_database("full_unfinished")
            others.remove("full_unfinished")
        if name not in others:
            assert not others, (
                f"{others[0]} is kept, of another size or schema: remove the directory, or rename it to {name}"
            )
            await _fill(servers.postgres.create_database("full_unfinished"), flows)
            await there.execute(f'alter database full_unfinished rename to "{name}"')
    finally:
        await there.close()
    url = servers.postgres.url.replace("/postgres?", f"/{name}?")
    await _forget_last_run(url)
    yield url


async def _forget_last_run(url: str) -> None:
    """Its session with another partner, and its calls of the last hour, which each claim would count."""
    connection = await asyncpg.connect(url)
    await connection.execute("update session set token = null, generation = 0")
    await connection.execute("delete from call where at > now() - interval '61 minutes'")
    await connection.execute("vacuum call")
    await connection.close()


async def first_number(url: str) -> int:
    """The first purchase that no earlier run has sent to this ledger."""
    connection = await asyncpg.connect(url)
    try:
        last = await connection.fetchval(
            "select max(substr(event_id, 3)::int) from flow where event_id >= 'e-' and event_id < 'e.'"
            " and topic = 'trader.purchased'"
        )
        return 0 if last is None else int(last) + 1
    finally:
        await connection.close()


async def _fill(url: str, flows: int) -> None:
    """Makes the schema and fills it. It is left vacuumed and analysed, as autovacuum leaves one that grew slowly, and
    its ended flows are counted.
    """
    await schema.upgrade(url)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("set maintenance_work_mem = '1GB'; set synchronous_commit = off")
        indexes = await connection.fetch(_INDEXES, list(_TABLES))
        for each in indexes:
            await connection.execute(
                f"alter table {each['table']} drop constraint {each['named']}"
                if each["named"]
                else f"drop index {each['name']}"
            )
        for table in _GROWN:
            await connection.execute(f"alter table {table} set (fillfactor = 90)")
        seed = _SEED.replace("$n", str(flows)).replace("$c", str(CALLS * flows))
        for statement in seed.strip().rstrip(";").split(";\n"):
            await connection.execute(statement)
        for table in _GROWN:
            await connection.execute(f"alter table {table} set (fillfactor = 50)")
        for each in indexes:
            await connection.execute(_again(each))
        await _count(url)
        await connection.execute("vacuum analyze")
        await connection.execute("checkpoint")
    finally:
        await connection.close()


def _again(index: Any) -> str:
    if index["named"]:
        return f"alter table {index['table']} add constraint {index['named']} {index['says']}"
    return str(index["made"])


async def _count(url: str) -> None:
    database = Database(url, 1)
    while await ended_counts.count_on(database):
        pass
    await database.close()


def _digest() -> str:
    """Changes with the tables and what is written into them, not with what is said about them or when they are vacuumed
    and analysed.
    """
    migrations = sorted((Path(schema.__file__).parent / "migrations/versions").glob("*.py"))
    said = re.sub(r"--.*|\s+", "", "".join([*(each.read_text() for each in migrations), _SEED]))
    said = re.sub(r",?autovacuum_\w+=[\d.]+", "", said).replace("with()", "")
    return hashlib.sha256(said.encode()).hexdigest()[:12]
