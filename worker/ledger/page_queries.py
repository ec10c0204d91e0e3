"""What the console's pages read beside `browse`. No query here counts or walks a table, however full it is:

a page is a handful of probes of an index that leads straight to its rows, and goes on from the last row's id.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.ledger.database import Connection
from worker.ledger.story import CallSeen

NO_RESULT = "none"
"""How a call without a result is asked for: it is under way, or the replica that made it has died."""

PRESENT = timedelta(seconds=15)
"""A replica shows itself every five seconds; after three of these it counts as gone."""

_OLDEST = """
select f.id, f.topic, f.event_id, f.order_id, f.trader_id, f.created_at, s.operation, s.state, s.due,
       coalesce(s.waits_for, '{}') as waits_for, s.lease_until, s.attempts
from unnest($1::text[]) as t (topic) cross join lateral (
    select * from flow f where f.state = 'open' and f.topic = t.topic order by f.topic, f.id limit 1) as f
left join lateral (
    select * from step where flow_id = f.id and state in ('waiting', 'due', 'in_flight', 'unknown')
    order by id desc limit 1) as s on true
order by f.id limit 1
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A flow that has not ended and its step under way (`operation` None: it has none just now)."""

    id: uuid.UUID
    topic: str
    event_id: str
    order_id: str | None
    trader_id: str | None
    created_at: datetime
    operation: str | None
    state: str | None
    due: datetime | None
    waits_for: Sequence[str]
    lease_until: datetime | None
    attempts: int | None


@dataclass(frozen=True, slots=True)
class Present:
    """A replica or bridge. `there`: seen within the last seconds."""

    name: str
    role: str
    address: str | None
    seen_at: datetime
    there: bool


async def oldest_open(connection: Connection, topics: Sequence[str]) -> Waiting | None:
    """The oldest flow that has not ended."""
    row = await connection.fetchrow(_OLDEST, list(topics))
    return None if row is None else Waiting(**dict(row))


async def in_doubt(connection: Connection, topics: Sequence[str]) -> Mapping[str, int]:
    """Flows that an operator must look at, by topic."""
    rows = await connection.fetch(
        "select topic, count(*) as flows from flow where topic = any($1) and state = 'in_doubt' group by topic",
        list(topics),
    )
    return {row["topic"]: row["flows"] for row in rows}


async def outcomes_by_minute(connection: Connection, since: datetime) -> Mapping[tuple[datetime, str], int]:
    """Outcomes written from `since` on, by minute and status."""
    rows = await connection.fetch(
        "select date_bin('1 minute', created_at, 'epoch'::timestamptz) as minute, status, count(*) as outcomes"
        " from outcome where created_at >= $1 group by 1, 2",
        since,
    )
    return {(row["minute"], row["status"]): row["outcomes"] for row in rows}


async def replicas(connection: Connection) -> list[Present]:
    """Who is running, and who was until not long ago."""
    rows = await connection.fetch(
        "select name, role, address, seen_at, seen_at > now() - $1::interval as there from replica"
        " order by role desc, name",
        PRESENT,
    )
    return [Present(**dict(row)) for row in rows]


async def replayed(connection: Connection) -> Mapping[tuple[str, int], Sequence[int]]:
    """Offsets of dead letters that were replayed or dismissed, by topic (of the events) and partition."""
    rows = await connection.fetch(
        'select topic, partition, array_agg("offset" order by "offset") as offsets from replay group by 1, 2'
    )
    return {(row["topic"], row["partition"]): row["offsets"] for row in rows}


def first_id(at: datetime) -> uuid.UUID:
    """The least id that a flow of that moment can have: flow ids follow time (UUID version 7)."""
    return uuid.UUID(int=int(at.timestamp() * 1000) << 80)


async def of_account(connection: Connection, account_id: int, limit: int = 20) -> list[uuid.UUID]:
    """The flows that name an account or made it, newest first."""
    rows = await connection.fetch(
        """
        select id from (
            (select id from flow where account_id = $1 order by created_at desc limit $2)
            union (select flow_id from business_order where account_id = $1 limit $2)
        ) as found order by id desc limit $2
        """,
        account_id,
        limit,
    )
    return [row["id"] for row in rows]


async def of_call(connection: Connection, call_id: int, limit: int, before: uuid.UUID | None = None) -> list[uuid.UUID]:
    """The flows whose steps a call carried or looked for, the newest first. Some may have been pruned since."""
    rows = await connection.fetch(
        "select distinct flow_id from call, unnest(flow_ids) as f (flow_id) where id = $1 and flow_id < $3"
        " order by flow_id desc limit $2",
        call_id,
        limit,
        before or uuid.UUID(int=2**128 - 1),
    )
    return [row["flow_id"] for row in rows]


_CALL = "id, operation, endpoint, domain, kind, items, replica, at, finished_at, result, http_status, error"


async def calls(
    connection: Connection,
    *,
    operations: Sequence[str] = (),
    results: Sequence[str] = (),
    before: int | None = None,
    limit: int = 50,
) -> list[CallSeen]:
    """The last calls, older than `before`; of these operations and results, or (both empty) of all."""
    newest = before or 2**63 - 1
    if not operations and not results:
        rows = await connection.fetch(
            f"select {_CALL} from call where id < $1 order by id desc limit $2",  # noqa: S608
            newest,
            limit,
        )
        return [CallSeen(*row) for row in rows]
    # Compared as rows: asked for an operation, a result and an order by id, the planner walks all calls instead.
    rows = await connection.fetch(
        f"""
        select {_CALL} from (
            (select found.* from unnest($1::text[]) as o (operation) cross join unnest($2::text[]) as r (result)
             cross join lateral (
                select * from call c where (c.operation || ' ' || c.result, c.id) < (o.operation || ' ' || r.result, $3)
                and (c.operation || ' ' || c.result, c.id) >= (o.operation || ' ' || r.result, 0)
                order by c.operation || ' ' || c.result desc, c.id desc limit $4) as found)
            union all
            (select * from call c where $5 and c.operation = any($1) and c.result is null and c.id < $3
             order by c.id desc limit $4)
        ) as found order by id desc limit $4
        """,  # noqa: S608
        list(operations),
        [result for result in results if result != NO_RESULT],
        newest,
        limit,
        NO_RESULT in results,
    )
    return [CallSeen(*row) for row in rows]


async def operations_called(connection: Connection) -> list[str]:
    """The operations that calls were made of, by as many probes as there are operations and results."""
    rows = await connection.fetch(
        """
        with recursive kind (name) as (
            (select operation || ' ' || result from call where operation || ' ' || result is not null
             order by operation || ' ' || result limit 1)
            union all
            select (select c.operation || ' ' || c.result from call c where c.operation || ' ' || c.result > kind.name
                    order by c.operation || ' ' || c.result limit 1)
            from kind where kind.name is not null
        ) select split_part(name, ' ', 1) as operation from kind where name is not null
        union select operation from call where result is null order by operation
        """
    )
    return [row["operation"] for row in rows]
