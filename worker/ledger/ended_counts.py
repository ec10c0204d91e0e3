"""How many flows have ended, by topic and state: kept, for to count millions takes seconds.

`ledger.counted_to` is a moment: `ended_count` has the flows in the ledger that ended before it, and only those after it
are still to be counted. A transaction that changes the counts holds the row of `ledger`; it locks its flows before.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from worker.ledger.database import Connection, Database

LATE = timedelta(minutes=10)
"""A flow's end is written with the time at which its transaction began. None of ours lasts as long: each of its few
statements is cut off after 25 s (`connection.LIMITS`)."""

_MOST = 50_000
"""Flows that are counted in a transaction: some tens of milliseconds, out of the index and the newest pages."""


async def count_on(database: Database) -> bool:
    """Counts what has ended since the last time; whether there is more, because that was long ago."""
    async with database.transaction() as connection:
        since = await _locked(connection)
        to: datetime | None = await connection.fetchval(_TO, since, LATE, _MOST)
        if to is None:
            return False
        await connection.execute(_COUNT, since, to)
        await connection.execute("update ledger set counted_to = $1", to)
    return True


async def ended_flows(database: Database) -> Mapping[tuple[str, str], int]:
    """Ended flows by topic and state, those in doubt among them."""
    async with database.connection() as connection:
        return {(row["topic"], row["state"]): row["flows"] for row in await connection.fetch(_ENDED)}


async def reopened(connection: Connection, flow_id: uuid.UUID) -> None:
    """An operator retries this flow, which is locked: if it had ended, it is one less."""
    await leave(connection, await connection.fetch("select topic, state, ended_at from flow where id = $1", flow_id))


async def leave(connection: Connection, flows: Sequence[Mapping[str, object]]) -> None:
    """These flows are deleted or opened again. Rows of topic, state and time of their end."""
    if not flows:
        return
    counted_to = await _locked(connection)
    gone = Counter(
        (row["topic"], row["state"])
        for row in flows
        if isinstance(row["ended_at"], datetime) and row["ended_at"] < counted_to
    )
    await connection.execute(
        "update ended_count set flows = ended_count.flows - gone.flows"
        " from unnest($1::text[], $2::text[], $3::bigint[]) as gone (topic, state, flows)"
        " where ended_count.topic = gone.topic and ended_count.state = gone.state",
        [topic for topic, _ in gone],
        [state for _, state in gone],
        list(gone.values()),
    )


async def count_again(connection: Connection) -> None:
    """Flows were added that ended in the past (a ledger that was lost is rebuilt): all are counted again."""
    await connection.execute("update ledger set counted_to = '1970-01-01'")
    await connection.execute("delete from ended_count")


async def _locked(connection: Connection) -> datetime:
    counted_to: datetime = await connection.fetchval("select counted_to from ledger for update")
    return counted_to


# Up to where to count: so many flows further, and null if there are none that may be counted yet.
_TO = """
select max(ended_at) + interval '1 microsecond' from (
    select ended_at from flow
    where state in ('succeeded', 'failed') and ended_at >= $1 and ended_at < statement_timestamp() - $2::interval
    order by ended_at limit $3) as next
"""

_COUNT = """
insert into ended_count (topic, state, flows)
select topic, state, count(*) from flow
where state in ('succeeded', 'failed') and ended_at >= $1 and ended_at < $2 group by topic, state
on conflict (topic, state) do update set flows = ended_count.flows + excluded.flows
"""

_ENDED = """
select topic, state, sum(flows)::bigint as flows from (
    select topic, state, flows from ended_count
    union all
    select topic, state, count(*) from flow
    where state in ('succeeded', 'failed') and ended_at >= (select counted_to from ledger) group by topic, state
    union all
    select topic, state, count(*) from flow where state = 'in_doubt' group by topic, state) as counted
group by topic, state
"""
