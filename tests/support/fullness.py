"""A ledger as it is after a year, written by the server: flows that have ended, wait, or are due; calls, outcomes."""

from __future__ import annotations

import asyncpg

RECENT_CALLS = 3_000
"""Calls of the last hour."""

_FLOW = """
insert into flow (id, topic, event_id, partition, "offset", trader_id, user_id, order_id, account_id, state, attempts,
    facts, body, created_at, ended_at, asked_at)
"""

_ENDED = f"""
insert into trader (trader_id, user_id, made_here) select 'old-' || i, 1000000 + i, true from generate_series(1, $n) i;

insert into business_order (kind, order_id, flow_id, state, details, trader_id, user_id, account_id, permission_id,
    asked_at)
select 'purchased', 'old-' || i, lpad(to_hex(i), 32, '0')::uuid, 'succeeded', '\\x00', 'old-' || i, 1000000 + i,
    2000000 + i, 3000000 + i, now()
from generate_series(1, $n) i;

-- ended, over the year
{_FLOW}
select lpad(to_hex(i), 32, '0')::uuid, (array['trader.purchased', 'md.signed', 'trader.failed'])[1 + i % 3],
    'old-' || i, i % 12, i, 'old-' || i, 1000000 + i, 'old-' || i, 2000000 + i,
    (array['succeeded', 'failed'])[1 + (i % 20) / 19], 1, '{{}}', null,
    now() - interval '400 days' * i / $n, now() - interval '400 days' * i / $n, now() - interval '400 days' * i / $n
from generate_series(1, $n) i;
insert into step (flow_id, operation, rank, state, trader_key, due, attempts, call_ids, ended_at)
select lpad(to_hex(i), 32, '0')::uuid, o, 4, 'done', 'u:' || (1000000 + i), now() - interval '400 days' * i / $n, 1,
    array[i], now() - interval '400 days' * i / $n
from generate_series(1, $n) i, unnest(array['createEvaluationUsers', 'createEvaluationAccounts']) o;
-- an account each, and one that is locked and unlocked all the time
insert into account_turn (key, place, flow_id, subject, begun_at, ended, ousted, must_act)
select k, i, lpad(to_hex(i), 32, '0')::uuid, 'action', now(), true, false, false
from generate_series(1, $n) i, unnest(array['a:' || (2000000 + i), 'a:1']) k;
select setval('account_place', $n);
insert into outcome (outcome_id, flow_id, topic, event_id, status, body, lease_until, created_at, published_at)
select 'old-' || i, lpad(to_hex(i), 32, '0')::uuid, 'trader.purchased', 'old-' || i, 'succeeded', '{{}}',
    now() - interval '400 days' * i / $n, now() - interval '400 days' * i / $n, now() - interval '400 days' * i / $n
from generate_series(1, $n) i;
insert into ended_count select topic, state, count(*) from flow where ended_at is not null group by 1, 2;
update ledger set counted_to = now();
"""  # noqa: S608 - constants of ours

_OPEN = f"""
-- open: one in ten waits for an order, one in ten is due later, one in a hundred is being sent
{_FLOW}
select lpad(to_hex(16777216 + i), 32, '0')::uuid, 'trader.failed', 'waits-' || i, i % 12, i, 'w-' || i, null,
    'w-' || i, null, 'open', 0, '{{}}', '\\x00', now() - interval '1 hour', null, now()
from generate_series(1, $n / 10) i;
insert into step (flow_id, operation, rank, state, trader_key, due, waits_for, wait_hashes)
select lpad(to_hex(16777216 + i), 32, '0')::uuid, 'plan', 0, 'waiting', 't:w-' || i, now() + interval '1 hour',
    array['order:purchased:w-' || i, 'trader:w-' || i], array[i % 4096, i * 7 % 4096]
from generate_series(1, $n / 10) i;
{_FLOW}
select lpad(to_hex(33554432 + i), 32, '0')::uuid, 'trader.purchased', 'due-' || i, i % 12, i, 'd-' || i, null,
    'd-' || i, null, 'open', 1, '{{}}', '\\x00', now() - interval '1 hour', null, now()
from generate_series(1, $n / 10) i;
insert into step (flow_id, operation, rank, state, trader_key, due)
select lpad(to_hex(33554432 + i), 32, '0')::uuid, 'updateContactInfo', 10, 'due', 't:d-' || i, now() + interval '1 hour'
from generate_series(1, $n / 10) i;
{_FLOW}
select lpad(to_hex(50331648 + i), 32, '0')::uuid, 'trader.purchased', 'flies-' || i, i % 12, i, 'f-' || i, null,
    'f-' || i, null, 'open', 1, '{{}}', '\\x00', now(), null, now()
from generate_series(1, $n / 100) i;
insert into step (flow_id, operation, rank, state, trader_key, due, lease, lease_until)
select lpad(to_hex(50331648 + i), 32, '0')::uuid, 'createEvaluationUsers', 6, 'in_flight', 't:f-' || i, now(),
    gen_random_uuid(), now() + interval '1 hour'
from generate_series(1, $n / 100) i;
"""  # noqa: S608 - constants of ours

_OTHERS = """
insert into call (operation, endpoint, domain, kind, items, replica, at, finished_at, result, http_status)
select o, o, 'live', 'send', 100, 'old', now() - interval '400 days' * i / $n, now() - interval '400 days' * i / $n,
    'answer', 200
from generate_series(1, $n / 2) i, unnest(array['createEvaluationUsers', 'createEvaluationAccounts']) o;
insert into hold (scope, reason, until, cleared_at)
select 'endpoint:e' || i, 'a penalty ticket', now() - interval '1 day', now() from generate_series(1, $n / 100) i;
insert into signal (topic, id) select 'md.signed', i from generate_series(1, $n) i;
insert into risk_status (account_id, version, status) select i, 1, '{}' from generate_series(1, $n) i;
insert into live_permission select i, i, i from generate_series(1, $n / 10) i;
"""

_RECENT = """
insert into call (operation, endpoint, domain, kind, items, replica, at, finished_at, result, http_status)
select 'createEvaluationUsers', 'createEvaluationUsers', 'live', 'send', 100, 'old', now() - interval '1 second' * i,
    now() - interval '1 second' * i, 'answer', 200
from generate_series(1, $c) i;
"""


async def fill(url: str, flows: int) -> None:
    """Writes so many ended flows, a fifth as many open ones, and what belongs to a ledger of that age, into a database.
    Its tables are not analysed, and never by themselves. It takes as long as it takes: the worker's own
    connections give up after 30 s, which a busy machine may need.
    """
    seed = (_ENDED + _OPEN + _OTHERS + _RECENT).replace("$n", str(flows)).replace("$c", str(RECENT_CALLS))
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            for table in await connection.fetch("select relname from pg_stat_user_tables"):
                await connection.execute(f"alter table {table['relname']} set (autovacuum_enabled = off)")
            if flows:
                await connection.execute(seed)
    finally:
        await connection.close()
