"""What flows leave behind when they are pruned: that a trader has failed, left or signed is known for ever.

Without it, `reconcile` would miss what Tradovate has rightly ended. All statements may be repeated.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from worker.ledger.database import Connection


async def remember(connection: Connection, flow_ids: Sequence[uuid.UUID]) -> None:
    """Notes with orders and traders what these flows, which have ended, have changed. In the transaction that deletes
    them.
    """
    for statement in (_SIGNED, _FAILED, _LEFT, _SIGNED_BEFORE, _ASSIGNED):
        await connection.execute(statement, flow_ids)


# The flows are found by their ids (`offset 0`): planned in one piece, the index of a topic may be read besides.
_SIGNED = """
update trader set signed_at = greatest(trader.signed_at, f.asked_at),
    entitlement_id = coalesce((f.facts ->> 'entitlementId')::bigint, trader.entitlement_id)
from (select * from flow where id = any($1::uuid[]) offset 0) as f cross join lateral (
    select trader_id from trader where user_id = f.user_id offset 0) as its
where f.topic = 'md.signed' and f.error_code is distinct from 'cancelled'
    and trader.trader_id = its.trader_id
"""

# The same rule as in operate/reconcile/standing.py: what ended as `conflict` was another's, for example.
_FAILED = """
update business_order o set ended_at = greatest(o.ended_at, f.ended_at)
from (select * from flow where id = any($1::uuid[]) offset 0) as f cross join lateral (
    select kind, order_id from business_order
    where trader_id = f.trader_id and (
        f.facts -> 'tradingPermissionIds' @> to_jsonb(permission_id)
        or ((f.state = 'succeeded' or f.error_code in ('rejected', 'gave_up', 'in_doubt'))
            and (account_id = f.account_id or order_id = f.order_id)))
    offset 0) as its
where f.topic = 'trader.failed' and o.kind = its.kind and o.order_id = its.order_id
"""

_LEFT = """
update business_order o set ended_at = greatest(o.ended_at, d.begun_at)
from departure d join flow f on f.id = d.flow_id cross join lateral (
    select kind, order_id, asked_at from business_order where trader_id = f.trader_id
    union select kind, order_id, asked_at from business_order where user_id = f.user_id
    offset 0) as its
where d.flow_id = any($1::uuid[]) and d.begun_at is not null and its.asked_at <= d.since
    and o.kind = its.kind and o.order_id = its.order_id
"""

_SIGNED_BEFORE = """
update trader set signed_at = null, entitlement_id = null
from departure d join flow f on f.id = d.flow_id cross join lateral (
    select trader_id from trader where user_id = f.user_id offset 0) as its
where d.flow_id = any($1::uuid[]) and d.begun_at is not null and trader.trader_id = its.trader_id
    and trader.signed_at <= d.since
"""

_ASSIGNED = """
update business_order o set ended_at = null
from (select * from flow where id = any($1::uuid[]) offset 0) as f cross join lateral (
    select kind, order_id from business_order where account_id = f.account_id and user_id = f.user_id offset 0) as its
where f.topic = 'account.assigned' and f.state = 'succeeded'
    and o.kind = its.kind and o.order_id = its.order_id and o.ended_at < f.asked_at
"""
