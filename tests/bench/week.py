"""A week of steady load in an hour: what of it levels off, and what is kept for ever.

Time is compressed where the program is asked to forget: the bench prunes as a replica does, with its own functions, but
keeps two compressed days; autovacuum looks every second, which would be every three minutes of the week. The load is
the week's. Calls stay for two hours, whatever is asked, for the rate budget counts them: an hour shows their growth.
A shorter run has fewer flows, and the least number of dead rows for a vacuum is lowered as much; its indexes have so
few pages that one more is some per cent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console

from tests.bench.figures import Figure, at_most
from tests.bench.installation import NO_BUDGET, NO_LIMITS, PURCHASED, Installation
from tests.bench.plot import plot
from tests.bench.servers import Servers
from tests.bench.sizes import Sizes
from tests.support.events import purchase
from tests.support.waiting import let_time_pass
from worker.ledger.database import Database, DatabaseError
from worker.ledger.ended_counts import count_on
from worker.ledger.prune import prune

RATE = 10
"""Events a second: in an hour a week of five thousand a day."""

_HOUR = 3_600

_TRADERS = 2_000

_SAMPLES = 70
"""Ten for each day."""

_REPLICAS = 2

MEMORY, CONNECTIONS = "memory of a worker, MB", "connections to PostgreSQL"
OPEN, ENDED = "flows that have not ended", "flows in the ledger"
TABLES, INDEXES = "tables of flows, MB", "their indexes, MB"
FOR_EVER, CALLS = "orders and traders, kept for ever, MB", "calls, kept for two hours, MB"

_LEVEL = (MEMORY, CONNECTIONS, ENDED, TABLES, INDEXES)
"""What must not grow in the last three days, which are from the middle of the fourth day to that of the last."""

_OF_FLOWS = "('flow', 'step', 'outcome', 'account_turn', 'note', 'departure')"

_MOST_OPEN = 100
"""Flows, ten seconds of the load: with more the week has gone another way, and its sizes say nothing."""

_GROWN = 5
"""Tables and indexes that are shown one by one."""

_SIZES = f"""
select (select count(*) from pg_stat_activity where datname = current_database()) as "{CONNECTIONS}",
    (select count(*) from flow where state = 'open') as "{OPEN}",
    (select count(*) from flow) as "{ENDED}",
    sum(pg_table_size(oid)) filter (where of_flows) / 1e6 as "{TABLES}",
    sum(pg_indexes_size(oid)) filter (where of_flows) / 1e6 as "{INDEXES}",
    sum(pg_total_relation_size(oid)) filter (where relname in ('business_order', 'trader')) / 1e6 as "{FOR_EVER}",
    sum(pg_total_relation_size(oid)) filter (where relname = 'call') / 1e6 as "{CALLS}"
from (select oid, relname, relname in {_OF_FLOWS} as of_flows
      from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace) as tables
"""  # noqa: S608 - constants of ours

_PARTS = f"""
select i.relname, pg_table_size(i.oid) / 1e3 as size
from pg_class as t
join pg_class as i on i.oid = t.oid or i.oid = any(array(select indexrelid from pg_index where indrelid = t.oid))
where t.relnamespace = 'public'::regnamespace and t.relname in {_OF_FLOWS}
"""  # noqa: S608 - constants of ours

_THRESHOLDS = """
select relname, split_part(option, '=', 2)::int as rows from pg_class, unnest(reloptions) as option
where relkind = 'r' and option like 'autovacuum_vacuum_threshold=%'
"""


async def week(servers: Servers, sizes: Sizes) -> list[Figure]:
    """A week of steady load, compressed: two replicas; purchases, failures, locks and repeats."""
    async with (
        _quick_autovacuum(servers.postgres.url),
        Installation.open(servers, NO_LIMITS, NO_BUDGET) as at,
    ):
        await _lower_thresholds(at.env["DATABASE_URL"], sizes.seconds / _HOUR)
        await at.start(_REPLICAS)
        run = _Week(at, sizes.seconds)
        await run.through()
    title = f"{sizes.seconds} s for a week; a mark a tenth of a day; each from 0 to its largest value"
    console = Console(width=200, highlight=False)
    console.print(plot(run.seen, title))
    grown = sorted(run.parts, key=lambda part: _grew(run.parts[part]), reverse=True)[:_GROWN]
    console.print(plot({part: run.parts[part] for part in grown}, "those that grew most in the last three days, kB"))
    return [
        *(
            Figure(f"week: {what}, growth in the last three days", [_growth(run.seen[what])], "%", at_most(10))
            for what in _LEVEL
        ),
        Figure(
            "week: flows that have not ended, on the last day",
            [_then_and_now(run.seen[OPEN])[1]],
            "flows",
            at_most(_MOST_OPEN),
            digits=0,
        ),
        Figure("week: events", [run.sent], "events", digits=0),
    ]


@dataclass
class _Week:
    """The load, the pruning and the looks at it, side by side."""

    at: Installation
    seconds: int
    seen: dict[str, list[float]] = field(default_factory=dict)
    parts: dict[str, list[float]] = field(default_factory=dict)  # each table of flows, and each index of one
    sent: int = 0
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def through(self) -> None:
        """Returns when the week has passed."""
        others = [asyncio.create_task(work()) for work in (self._forget, self._look)]
        await self._load()
        self._ended.set()
        await asyncio.gather(*others)

    async def _load(self) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < self.seconds:
            due = int(passed * RATE)
            for topic, events in _events(range(self.sent, due)).items():
                await self.at.send(events, topic)
            self.sent = due
            await let_time_pass(0.2)

    async def _forget(self) -> None:
        day = timedelta(seconds=self.seconds / 7)
        database = Database(self.at.env["DATABASE_URL"], 1)
        while not await self._passes(day.total_seconds() / 48):
            with suppress(DatabaseError):  # cut off, on a machine that is too busy: the next turn, as a replica does
                await prune(database, 2 * day, 2 * day, seconds=1.0)
                await count_on(database)
        await database.close()

    async def _look(self) -> None:
        connection = await asyncpg.connect(self.at.env["DATABASE_URL"])
        while not await self._passes(self.seconds / _SAMPLES):
            row: dict[str, Any] = {MEMORY: max(_megabytes(each.pid) for each in self.at.replicas)}
            row |= dict(await connection.fetchrow(_SIZES) or {})
            for what, value in row.items():
                self.seen.setdefault(what, []).append(float(value))
            for part, size in await connection.fetch(_PARTS):
                self.parts.setdefault(part, []).append(float(size))
        await connection.close()

    async def _passes(self, seconds: float) -> bool:
        """Whether the week ends before so many seconds have passed."""
        try:
            async with asyncio.timeout(seconds):
                return await self._ended.wait()
        except TimeoutError:
            return False


def _growth(samples: Sequence[float]) -> float:
    """Per cent."""
    then, now = _then_and_now(samples)
    return 100 * (now / then - 1)


def _grew(samples: Sequence[float]) -> float:
    then, now = _then_and_now(samples)
    return now - then


def _then_and_now(samples: Sequence[float]) -> tuple[float, float]:
    """The fourth day and the last, each the median of its samples."""
    day = max(1, len(samples) // 7)
    then, now = sorted(samples[3 * day : 4 * day]), sorted(samples[-day:])
    return then[len(then) // 2], now[len(now) // 2]


def _events(numbers: range) -> dict[str, list[dict[str, Any]]]:
    """Of ten events six are purchases, one comes again; two are the failures of traders whose order is some minutes
    old, one is the lock of another one's account.
    """
    events: dict[str, list[dict[str, Any]]] = {}
    for number in numbers:
        ten, kind = number - number % 10, number % 10
        if kind < 7:
            made = number if kind < 6 else ten
            events.setdefault(PURCHASED, []).append(purchase(made, trader=made % _TRADERS))
        elif (older := ten + kind - 7 - 100 * RATE) >= 0:
            topic, more = ("account.locked", {"action": "lock"}) if kind == 9 else ("trader.failed", {})
            body = {
                "eventId": f"{topic}-{number}",
                "traderId": f"cust-{older % _TRADERS}",
                "orderId": f"{100_000 + older}",
            }
            events.setdefault(topic, []).append({**body, "reason": "a test", **more})
    return events


def _megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


@asynccontextmanager
async def _quick_autovacuum(url: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(url)
    try:
        await _set(connection, ["alter system set autovacuum_naptime = '1s'"])
        yield
    finally:
        await _set(connection, ["alter system reset autovacuum_naptime"])
        await connection.close()


async def _lower_thresholds(url: str, part: float) -> None:
    """Of what the tables ask for before they are vacuumed. `part`: of the load of the hour."""
    connection = await asyncpg.connect(url)
    for table, rows in await connection.fetch(_THRESHOLDS):
        await connection.execute(f"alter table {table} set (autovacuum_vacuum_threshold = {round(rows * part)})")
    await connection.close()


async def _set(connection: Any, statements: Sequence[str]) -> None:
    for statement in (*statements, "select pg_reload_conf()"):
        await connection.execute(statement)
