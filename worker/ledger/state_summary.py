"""What health, metrics and the console read: the ledger's state in a few indexed queries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.ledger import holds, host_table
from worker.ledger.budget import Budget
from worker.ledger.budget_view import BudgetView, budget_view
from worker.ledger.database import Connection, Database

WORKING = (
    "case when s.lease is not null or (s.state <> 'waiting' and s.due <= clock_timestamp()) or s.state = 'unknown'"
    " then 'working' else 'waiting' end"
)
"""How an open flow `f` stands, by its step `s` that has not ended: the two words for `open` that are shown."""

# Each flow is looked for by itself (`offset 0`): a queue that the server has seen empty is to it as good as an index of
# flows, and it would read the whole queue for each of them.
_OPEN = f"""
select f.topic, {WORKING} as state,
       count(*) as flows,
       extract(epoch from clock_timestamp() - min(f.created_at))::float8 as oldest
from step s cross join lateral (select topic, state, created_at from flow where id = s.flow_id offset 0) as f
where s.ended_at is null and f.state = 'open' group by 1, 2
"""  # noqa: S608 - a constant of ours


@dataclass(frozen=True, slots=True)
class Standing:
    """Budget, holds, the shared session and its hosts, as of `now` (the database's clock).

    `failure`: what the last login or renewal failed for, if none has succeeded since.
    """

    now: datetime
    budget: BudgetView
    holds: Sequence[holds.Hold]
    token_until: datetime | None
    failure: str | None
    password_until: datetime | None
    hosts: Sequence[host_table.DomainHost]

    @property
    def lockout_seconds(self) -> float:
        """Seconds until the lock-out ends, 0 without one."""
        untils = [hold.until for hold in self.holds if hold.scope == holds.ALL and hold.until is not None]
        return max(0.0, (max(untils) - self.now).total_seconds()) if untils else 0.0

    @property
    def password_seconds(self) -> float:
        """Seconds until the API user's password ends, negative after that; NaN if it has none that is known."""
        return math.nan if self.password_until is None else (self.password_until - self.now).total_seconds()

    @property
    def token_seconds(self) -> float:
        """Seconds until the shared token ends, 0 without one."""
        return max(0.0, (self.token_until - self.now).total_seconds()) if self.token_until else 0.0


async def standing(database: Database, budget: Budget) -> Standing:
    """Raises `DatabaseError`."""
    async with database.connection() as connection:
        view = await budget_view(connection, budget)
        held = await holds.live(connection)
        row = await connection.fetchrow(
            "select clock_timestamp() as now, case when token is not null then expires_at end as token_until, failure,"
            " password_expires_at as password_until from session"
        )
        places = await host_table.load(connection)
    assert row is not None
    return Standing(budget=view, holds=held, hosts=places, **dict(row))


async def server_version(connection: Connection) -> int:
    """PostgreSQL's version as it numbers it: 180004 is 18.4."""
    version: int = await connection.fetchval("select current_setting('server_version_num')::int")
    return version


async def doubts(database: Database, most: int = 1000) -> int:
    """Flows in doubt, counted up to `most`."""
    async with database.connection() as connection:
        count: int = await connection.fetchval(
            "select count(*) from (select 1 from flow where state = 'in_doubt' limit $1) as doubtful", most
        )
    return count


async def open_flows(database: Database) -> tuple[Mapping[tuple[str, str], int], Mapping[str, float]]:
    """Open flows by (topic, waiting or working), and the age of each topic's oldest in seconds."""
    async with database.connection() as connection:
        rows = await connection.fetch(_OPEN)
    counts = {(row["topic"], row["state"]): row["flows"] for row in rows}
    oldest: dict[str, float] = {}
    for row in rows:
        oldest[row["topic"]] = max(oldest.get(row["topic"], 0.0), row["oldest"])
    return counts, oldest
