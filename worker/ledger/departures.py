"""The table `departure`: which traders leave, and what that means for steps that give them something.

A departure is written when its trader is known, once for each key that the trader's steps may have (`u:<userId>`,
`t:<traderId>`), and stays for as long as its flow. Rows are locked after traders and orders, before steps.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from worker.engine.flows.base import DepartureView
from worker.engine.flows.departing import COMES_BACK, GIVES, DepartureVerdict, strictest
from worker.engine.rows import DepartureRow
from worker.ledger import steps
from worker.ledger.columns import columns
from worker.ledger.database import Connection


async def lock(connection: Connection, trader_keys: Collection[str]) -> Sequence[DepartureRow]:
    """Locks the departures under these keys."""
    if not trader_keys:
        return ()
    return [DepartureRow(*row) for row in await connection.fetch(_LOCK, sorted(trader_keys))]


async def unproven(connection: Connection, trader_keys: Collection[str]) -> Sequence[tuple[str, str]]:
    """Trader key and operation of steps that give something to these traders, were sent and have no known result."""
    if not trader_keys:
        return ()
    rows = await connection.fetch(_UNPROVEN, sorted(trader_keys), list(GIVES))
    return [(row["trader_key"], row["operation"]) for row in rows]


async def write(connection: Connection, departures: Sequence[DepartureRow], withdrawn: Sequence[uuid.UUID]) -> None:
    """Writes departures that are new or have changed, and deletes those of the flows `withdrawn`."""
    if departures:
        await connection.execute(_WRITE, *columns(departures, "trader_key", "flow_id", "since", "begun_at", "ended"))
    if withdrawn:
        await connection.execute("delete from departure where flow_id = any($1::uuid[])", list(withdrawn))


async def turn_away(connection: Connection, step_ids: Sequence[int]) -> set[int]:
    """Of these steps, which give something and are locked, those that a departure keeps from being sent: each is ended
    and its flow is planned again. To be called under `BEGIN_LOCK`: a departure's own calls begin behind it as well.
    """
    rows = await connection.fetch(
        "select step.id, flow.topic, flow.asked_at, departure.flow_id, departure.since, departure.begun_at,"
        " departure.ended from step join flow on flow.id = step.flow_id"
        " join departure on departure.trader_key = step.trader_key"
        " where step.id = any($1) and departure.flow_id <> step.flow_id",
        list(step_ids),
    )
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row["id"], []).append(row)
    away = [step_id for step_id, theirs in found.items() if _verdict(theirs) is not DepartureVerdict.GO]
    if away:
        await steps.plan_again(connection, away)
    return set(away)


def _verdict(rows: Sequence[Any]) -> DepartureVerdict:
    views = [DepartureView(row["flow_id"], row["since"], row["begun_at"], row["ended"]) for row in rows]
    return strictest(views, rows[0]["asked_at"], comes_back=rows[0]["topic"] == COMES_BACK)


_LOCK = """
select trader_key, flow_id, since, begun_at, ended
from unnest($1::text[]) as named (trader_key) join departure using (trader_key)
order by trader_key, flow_id for update of departure
"""

_UNPROVEN = """
select named.trader_key, sent.operation from unnest($1::text[]) as named (trader_key) cross join lateral (
    select operation, state, attempts from step
    where step.trader_key = named.trader_key and ended_at is null offset 0) as sent
where sent.attempts > 0 and sent.state in ('in_flight', 'unknown') and sent.operation = any($2)
"""

_WRITE = """
insert into departure (trader_key, flow_id, since, begun_at, ended)
select * from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::boolean[])
on conflict (trader_key, flow_id) do update set begun_at = excluded.begun_at, ended = excluded.ended
"""
