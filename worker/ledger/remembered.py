"""What flows leave behind when they are pruned: that a trader has failed, left or signed is known for ever.

Without it, `reconcile` would miss what Tradovate has rightly ended. All of it may be repeated.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.ledger import orders, traders
from worker.ledger.columns import column
from worker.ledger.database import Connection


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What flows leave behind: rows of traders and orders, each as long as the arguments of its statement."""

    signed: Sequence[Any]
    signed_before: Sequence[Any]
    failed: Sequence[Any]
    departed: Sequence[Any]
    assigned: Sequence[Any]


async def what_is_left(connection: Connection, flow_ids: Sequence[uuid.UUID]) -> LeftBehind:
    """What these flows, which have ended, have changed. Locks nothing."""
    queries = (_SIGNED, _SIGNED_BEFORE, _FAILED, _LEFT, _ASSIGNED)
    return LeftBehind(*[await connection.fetch(query, flow_ids) for query in queries])


async def remember(connection: Connection, left: LeftBehind) -> None:
    """Notes it with orders and traders, in the transaction that deletes the flows. Locks them: a replica may be at work
    for the same ones.
    """
    await traders.lock(connection, sorted({row[0] for row in (*left.signed, *left.signed_before)}), ())
    await orders.lock(connection, {(row[0], row[1]) for row in (*left.failed, *left.departed, *left.assigned)})
    for rows, written in (
        (left.signed, _SET_SIGNED),
        (left.failed, _SET_ENDED),
        (left.departed, _SET_ENDED),
        (left.signed_before, _CLEAR_SIGNED),
        (left.assigned, _CLEAR_ENDED),
    ):
        if rows:
            await connection.execute(written, *map(column, zip(*rows, strict=True)))


# Each row is looked for by itself, and `offset 0` keeps it so: planned in one piece, these may read the whole table.
_FLOW = "unnest($1::uuid[]) as gone (id) cross join lateral (select * from flow where id = gone.id offset 0) as f"
_DEPARTURE = f"{_FLOW} cross join lateral (select * from departure where flow_id = f.id offset 0) as d"  # noqa: S608

_SIGNED = f"""
select its.trader_id, max(f.asked_at),
    (array_agg((f.facts ->> 'entitlementId')::bigint order by f.asked_at desc))[1]
from {_FLOW} cross join lateral (select trader_id from trader where user_id = f.user_id offset 0) as its
where f.topic = 'md.signed' and f.error_code is distinct from 'cancelled' group by 1
"""  # noqa: S608 - constants of ours, like those below

# The same rule as in operate/reconcile/standing.py: what ended as `conflict` was another's, for example.
_FAILED = f"""
select its.kind, its.order_id, max(f.ended_at)
from {_FLOW} cross join lateral (
    select kind, order_id, account_id, permission_id from business_order where trader_id = f.trader_id offset 0) as its
where f.topic = 'trader.failed' and (
    f.facts -> 'tradingPermissionIds' @> to_jsonb(its.permission_id)
    or ((f.state = 'succeeded' or f.error_code in ('rejected', 'gave_up', 'in_doubt'))
        and (its.account_id = f.account_id or its.order_id = f.order_id)))
group by 1, 2
"""  # noqa: S608

_LEFT = f"""
select its.kind, its.order_id, max(d.begun_at)
from {_DEPARTURE} cross join lateral (
    select kind, order_id, asked_at from business_order where trader_id = f.trader_id
    union select kind, order_id, asked_at from business_order where user_id = f.user_id
    offset 0) as its
where d.begun_at is not null and its.asked_at <= d.since group by 1, 2
"""  # noqa: S608

_SIGNED_BEFORE = f"""
select its.trader_id, max(d.since)
from {_DEPARTURE} cross join lateral (select trader_id from trader where user_id = f.user_id offset 0) as its
where d.begun_at is not null group by 1
"""  # noqa: S608

_ASSIGNED = f"""
select its.kind, its.order_id, max(f.asked_at)
from {_FLOW} cross join lateral (
    select kind, order_id, user_id from business_order where account_id = f.account_id offset 0) as its
where f.topic = 'account.assigned' and f.state = 'succeeded' and its.user_id = f.user_id
    and f.facts ->> 'domain' is distinct from 'LIVE' group by 1, 2
"""  # noqa: S608

_SET_SIGNED = """
update trader set signed_at = greatest(signed_at, at), entitlement_id = coalesce(entitlement, entitlement_id)
from unnest($1::text[], $2::timestamptz[], $3::bigint[]) as its (id, at, entitlement) where trader_id = its.id
"""

_CLEAR_SIGNED = """
update trader set signed_at = null, entitlement_id = null
from unnest($1::text[], $2::timestamptz[]) as its (id, at) where trader_id = its.id and signed_at <= its.at
"""

_SET_ENDED = """
update business_order o set ended_at = greatest(o.ended_at, its.at)
from unnest($1::text[], $2::text[], $3::timestamptz[]) as its (kind, id, at)
where o.kind = its.kind and o.order_id = its.id
"""

_CLEAR_ENDED = """
update business_order o set ended_at = null
from unnest($1::text[], $2::text[], $3::timestamptz[]) as its (kind, id, at)
where o.kind = its.kind and o.order_id = its.id and o.ended_at < its.at
"""
