"""Loads what a transaction's flows share with others, locked, for the engine.

Locks are always taken in the same order: traders by id, orders by kind and id, departures, queues of accounts, then
steps. Two transactions that touch the same trader, order or queue run one after the other, so that no wake-up can fall
between a look and a wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain

from worker.engine.event_flow import touched_by
from worker.engine.flows.base import Names
from worker.engine.rows import FlowRow
from worker.engine.snapshot import Snapshot
from worker.ledger import departures, live_permissions, orders, traders, turns
from worker.ledger import flows as flow_rows
from worker.ledger.clock import DatabaseClock
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection


async def load(
    connection: Connection,
    flows: Sequence[FlowRow],
    vault: Vault,
    clock: DatabaseClock,
    now: datetime | None = None,
    *,
    new: bool = False,
) -> Snapshot:
    """Locks and reads what the flows name. `now`: the database's time, if it has been read; else it is read here, and
    set. `new`: traders that are not in the ledger yet get a row.
    """
    named = [touched_by(flow) for flow in flows]
    snapshot = await load_named(connection, named, vault, clock, now, new=new)
    in_turn = [(flow.id, names) for flow, names in zip(flows, named, strict=True) if names.in_turn is not None]
    queues = set().union(*(snapshot.turn_keys(names) for _, names in in_turn))
    snapshot.turns = await turns.load(connection, queues, [flow_id for flow_id, _ in in_turn], len(in_turn) * new)
    return snapshot


async def load_named(
    connection: Connection,
    named: Sequence[Names],
    vault: Vault,
    clock: DatabaseClock,
    now: datetime | None = None,
    *,
    new: bool = False,
) -> Snapshot:
    """The same of what is named otherwise."""
    trader_ids = sorted({names.trader_id for names in named if names.trader_id is not None})
    user_ids = sorted({names.user_id for names in named if names.user_id is not None})
    locked, read = await traders.lock(connection, trader_ids, user_ids, new=new)
    if now is None and read is not None:
        clock.set(read)
    snapshot = Snapshot(vault, now or read or await clock.read(connection))
    for trader in locked:
        snapshot.add_trader(trader)
    unknown = {*user_ids, *chain.from_iterable(names.user_ids for names in named)} - snapshot.by_user.keys()
    for trader in await traders.of_users(connection, unknown):
        if trader.trader_id not in snapshot.traders:
            snapshot.add_trader(trader)
    keys = {(names.order_kind, names.order_id) for names in named if names.order_id is not None}
    accounts = {names.account_id for names in named if names.account_id is not None}
    accounts |= {account for names in named for account in names.account_ids}
    permissions = {permission for names in named for permission in names.permission_ids}
    all_of = [names for names in named if names.of_trader]
    found = [
        *await orders.lock(connection, keys),
        *await orders.lock_by_what_they_got(connection, accounts, permissions),
        *await orders.lock_of_traders(connection, snapshot.trader_ids(all_of), snapshot.users(all_of)),
    ]
    for order in found:
        snapshot.add_order(order)
    whose = {names.account_id for names in named if names.account_id is not None and names.asks_whose_account}
    snapshot.assigned |= await flow_rows.assigned(connection, whose - {order.account_id for order in found})
    leavers = snapshot.users(names for names in named if names.departs)
    for permission in await live_permissions.find(connection, permissions, leavers):
        snapshot.add_live_permission(permission)
    leaving = set().union(*(snapshot.trader_keys(names) for names in named if names.departs))
    given = set().union(*(snapshot.trader_keys(names) for names in named if names.gives))
    for departure in await departures.lock(connection, leaving | given):
        snapshot.add_departure(departure)
    for trader_key, operation in await departures.unproven(connection, leaving):
        snapshot.add_unproven(trader_key, operation)
    return snapshot
