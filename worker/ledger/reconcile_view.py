"""What the ledger knows of traders, for `reconcile`: page by page, and again for single ones.

A page is read without locks. What changes meanwhile is seen by reading a trader again: a `LedgerTrader` that equals the
former one says that nothing has.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from worker.ledger.database import Connection

TOPICS = (
    "trader.purchased", "trader.failed", "trader.left", "md.signed", "account.assigned", "trader.passed",
)  # fmt: skip
"""Events that change what a trader has at Tradovate, or is entitled to."""


class OrderSeen(NamedTuple):
    """An order and what it got. `ended_at`: the trader failed or left, by an event that has been pruned since."""

    kind: str
    order_id: str
    flow_id: uuid.UUID
    state: str  # open, succeeded, failed, in_doubt
    account_id: int | None
    account_name: str | None
    permission_id: int | None
    asked_at: datetime
    ended_at: datetime | None


class FlowSeen(NamedTuple):
    """A flow of the trader. The ids are those of its event or its facts."""

    id: uuid.UUID
    topic: str
    event_id: str
    state: str  # open, in_doubt, succeeded, failed
    error_code: str | None
    order_id: str | None
    account_id: int | None
    asked_at: datetime
    permission_id: int | None
    permission_ids: Sequence[int]  # that are revoked now
    entitlement_id: int | None
    domain: str | None  # of an account that was assigned; None: DEMO


class DepartureSeen(NamedTuple):
    """A departure of the trader that has not been withdrawn."""

    flow_id: uuid.UUID
    since: datetime
    begun_at: datetime | None
    ended: bool


class LedgerTrader(NamedTuple):
    """A trader with a Tradovate user. `signed_at`, `entitlement_id`: what a signature brought whose event has been
    pruned since. `anothers`: accounts on DEMO that other traders with the same user have got.
    """

    trader_id: str
    user_id: int
    signed_at: datetime | None
    entitlement_id: int | None
    orders: Sequence[OrderSeen]
    flows: Sequence[FlowSeen]
    departures: Sequence[DepartureSeen]
    anothers: frozenset[int] = frozenset()


class Making(NamedTuple):
    """A purchase without an account. `asked`: names of the shop's choice that the account may have."""

    order_id: str
    asked: Sequence[str]
    in_doubt: bool


async def page(connection: Connection, after: str | None, size: int) -> list[LedgerTrader]:
    """The next traders in the order of their ids, those that have a user."""
    return await _whole(connection, await connection.fetch(_PAGE, after, size))


async def again(connection: Connection, trader_ids: Iterable[str]) -> list[LedgerTrader]:
    """These traders, as they are now."""
    return await _whole(connection, await connection.fetch(_THESE, sorted(trader_ids)))


async def size(connection: Connection) -> int:
    """How many traders have a user, for a progress bar: walks an index of them, once in a run."""
    count: int = await connection.fetchval("select count(*) from trader where user_id is not null")
    return count


async def known_accounts(connection: Connection, account_ids: Sequence[int]) -> set[int]:
    """Which of these accounts the ledger has as somebody's, by an order or an event."""
    rows = await connection.fetch(_KNOWN_ACCOUNTS, list(account_ids))
    return {row["account_id"] for row in rows}


async def makings(connection: Connection) -> list[Making]:
    """All purchases that may be making an account, or may have made one, that the ledger does not know."""
    return [Making(*row) for row in await connection.fetch(_MAKINGS)]


async def _whole(connection: Connection, traders: Sequence[Any]) -> list[LedgerTrader]:
    if not traders:
        return []
    ids, users = [row["trader_id"] for row in traders], [row["user_id"] for row in traders]
    orders = _by_trader(await connection.fetch(_ORDERS, ids, users), OrderSeen)
    flows = _by_trader(await connection.fetch(_FLOWS, ids, users), FlowSeen)
    departures = _by_trader(await connection.fetch(_DEPARTURES, ids, users), DepartureSeen)
    anothers = _by_trader(await connection.fetch(_ANOTHERS, ids, users), int)
    return [
        LedgerTrader(
            row["trader_id"],
            row["user_id"],
            row["signed_at"],
            row["entitlement_id"],
            orders[row["trader_id"]],
            flows[row["trader_id"]],
            departures[row["trader_id"]],
            frozenset(anothers[row["trader_id"]]),
        )
        for row in traders
    ]


def _by_trader(rows: Iterable[Any], kind: Any) -> dict[str, tuple[Any, ...]]:
    """Rows by their first column, in the order in which they came."""
    found: dict[str, list[Any]] = defaultdict(list)
    for trader_id, *values in rows:
        found[trader_id].append(kind(*values))
    return defaultdict(tuple, {trader_id: tuple(each) for trader_id, each in found.items()})


_TRADER = "trader_id, user_id, signed_at, entitlement_id"

_PAGE = f"""
select {_TRADER} from trader where ($1::text is null or trader_id > $1) and user_id is not null
order by trader_id limit $2
"""  # noqa: S608 - a constant of ours

# Each key is looked for by itself, and `offset 0` keeps it so: planned in one piece, these may read the whole table.
_THESE = f"""
select found.* from unnest($1::text[]) as named (id) cross join lateral (
    select {_TRADER} from trader where trader_id = named.id offset 0) as found
where found.user_id is not null order by found.trader_id
"""  # noqa: S608 - a constant of ours

_ORDERS = """
select named.trader_id, found.* from unnest($1::text[], $2::bigint[]) as named (trader_id, user_id) cross join lateral (
    select kind, order_id, flow_id, state, account_id, facts ->> 'accountName' as account_name, permission_id, asked_at,
        ended_at
    from business_order where trader_id = named.trader_id
    union
    select kind, order_id, flow_id, state, account_id, facts ->> 'accountName', permission_id, asked_at, ended_at
    from business_order where user_id = named.user_id and trader_id is null offset 0) as found
order by named.trader_id, found.asked_at, found.order_id
"""

_FLOW = """
id, topic, event_id, state, error_code, order_id, account_id, asked_at, (facts ->> 'tradingPermissionId')::bigint,
array(select value::bigint from jsonb_array_elements_text(coalesce(facts -> 'tradingPermissionIds', '[]')) as value),
(facts ->> 'entitlementId')::bigint, facts ->> 'domain'
"""

# By trader or user alone: with their topics in the same condition, the planner may read all events of these topics.
_FLOWS = f"""
select named.trader_id, found.* from unnest($1::text[], $2::bigint[]) as named (trader_id, user_id) cross join lateral (
    select {_FLOW} from (select * from flow where trader_id = named.trader_id offset 0) as its
    where topic = any(array{list(TOPICS)})
    union
    select {_FLOW} from (select * from flow where user_id = named.user_id offset 0) as its
    where topic = any(array{list(TOPICS)}) offset 0) as found
order by named.trader_id, found.id
"""  # noqa: S608 - constants of ours

# One row, though a departure is written under each key of its trader.
_DEPARTURES = """
select distinct named.trader_id, found.* from unnest($1::text[], $2::bigint[]) as named (trader_id, user_id)
cross join lateral (
    select flow_id, since, begun_at, ended from departure
    where trader_key in ('t:' || named.trader_id, 'u:' || named.user_id) offset 0) as found
order by named.trader_id, found.since, found.flow_id
"""

_ANOTHERS = """
select named.trader_id, found.* from unnest($1::text[], $2::bigint[]) as named (trader_id, user_id) cross join lateral (
    select distinct account_id from business_order where user_id = named.user_id and trader_id <> named.trader_id
    and account_id is not null and kind not like 'passed%' offset 0) as found
"""

_KNOWN_ACCOUNTS = """
select named.account_id from unnest($1::bigint[]) as named (account_id)
where exists (select from business_order o where o.account_id = named.account_id offset 0)
or exists (select from (select * from flow where account_id = named.account_id offset 0) as f
    where f.topic = 'account.assigned' and f.state <> 'failed' and f.facts ->> 'domain' is distinct from 'LIVE')
"""

_ASKED = """order_id, array(select jsonb_array_elements_text(
    coalesce(facts -> 'asked', '[]') || coalesce(facts -> 'left' -> 'asked', '[]')))"""

# An open flow's ids are facts (`flows.changed_rows`); names are `PurchasedFacts.asked`, of the former owner too. Each
# state has an index of its own.
_MAKINGS = f"""
select {_ASKED}, false from flow
where state = 'open' and topic = 'trader.purchased' and order_id is not null and facts ->> 'accountId' is null
union all
select {_ASKED}, true from flow
where state = 'in_doubt' and topic = 'trader.purchased' and order_id is not null and account_id is null
"""  # noqa: S608 - a constant of ours
