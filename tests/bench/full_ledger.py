"""A ledger after years: what its ended flows cost, how long lists and metrics take, what upkeep costs the others."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

import asyncpg
import httpx

from tests.bench.figures import Figure, at_most
from tests.bench.installation import CONSOLE_TOKEN, NO_BUDGET, NO_LIMITS, Installation, ids
from tests.bench.servers import Servers
from tests.bench.sizes import Sizes
from tests.bench.years import CALLS, first_number, full_ledger
from tests.support.events import purchase
from tests.support.processes import Process
from tests.support.waiting import eventually
from tests.support.work import ACCOUNTS, CREATED, USERS, Work, purchases
from worker.ledger import schema
from worker.ledger.database import Database
from worker.ledger.prune import prune

PAGES = ("/", "/flows", "/flows?state=failed", "/flows?topic=trader.purchased", "/flows?state=waiting",
         "/flows?q=old-77", "/calls", "/calls?result=unclear", "/reconcile", "/flows/{id}",
         "/flows/{id}/story")  # fmt: skip
"""The console's: the overview; all flows, three filters, a search; all calls, and a result that no call has; a flow
that ended half a year ago.
"""

_TIMES = 20
"""How often each page and the command is asked for in a round."""

_BURSTS = 3
"""Of each ledger, in turn, in a round."""

_LONE = 40
"""Lone events, alone and beside the pruning."""

_DAY, _MONTH = timedelta(days=1), timedelta(days=30)
"""What is pruned at a time; what a small ledger keeps."""

_HUNDREDS = 10
"""Calls' worth of purchases that are taken in and dispatched, in each round, on each ledger."""


@dataclass
class _Seen:
    """What a ledger has shown: without a worker, milliseconds for a hundred purchases; in the bursts, purchases a
    second, and kB of WAL and milliseconds of processor for each.
    """

    at: Installation
    intake: list[float] = field(default_factory=list)
    dispatch: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    wal: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    async def hundreds(self, numbers: range) -> None:
        """Takes purchases in, and claims and records both calls of each, in this process; the medians of a hundred."""
        database = Database(self.at.env["DATABASE_URL"], 1)
        work, taken_in, dispatched = Work(database), [], []
        for first in numbers[: 100 * _HUNDREDS : 100]:
            taken_in.append(1000 * await _timed(work.accept("trader.purchased", purchases(first, 100))))
            dispatched.append(1000 * await _timed(_both_calls(work)))
        await database.close()
        self.intake.append(statistics.median(taken_in))
        self.dispatch.append(statistics.median(dispatched))

    async def burst(self, numbers: range) -> float:
        """One burst; its rate."""
        wal, taken = await self.at.count(_WAL), self.at.processor()["PostgreSQL"]
        self.rates.append(await self.at.rate(numbers, 300))
        self.wal.append((await self.at.count(_WAL) - wal) / len(numbers) / 1000)
        self.processor.append(1000 * (self.at.processor()["PostgreSQL"] - taken) / len(numbers))
        return self.rates[-1]


_AGE = "select now() - min(ended_at) from flow where state in ('succeeded', 'failed')"
_OLD = """
select id from flow where state in ('succeeded', 'failed') and ended_at > now() - interval '180 days'
order by ended_at limit 1
"""
_WAL = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


async def ledger(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Intake, dispatch and bursts on an empty ledger and on a full one of the same server, in turn; then pages, lists
    and metrics, while both workers are idle; then lone events beside the pruning of the oldest days; at the end vacuum.
    """
    costs: list[float] = []
    pages: dict[str, list[float]] = {page: [] for page in PAGES}
    command: list[float] = []
    metrics: list[float] = []
    alone: list[float] = []
    beside: list[float] = []
    pruned: list[float] = []
    async with (
        full_ledger(servers, sizes.flows) as url,
        Installation.open(servers, NO_LIMITS, NO_BUDGET) as empty_one,
        Installation.open(servers, NO_LIMITS, NO_BUDGET, ledger=url) as full_one,
    ):
        empty, full = _Seen(empty_one), _Seen(full_one)
        old = await _found(url, _OLD)
        most = max(sizes.burst, 100 * _HUNDREDS)
        numbers = (range(first, first + most) for first in count(await first_number(url), most))
        migrated = await _timed(schema.upgrade(url))
        for number in range(sizes.rounds):
            both = (empty, full) if number % 2 == 0 else (full, empty)
            for each in both:
                await each.hundreds(next(numbers))
        started = {name: await _timed(each.at.start()) for name, each in (("empty", empty), ("full", full))}
        for each in (empty, full):
            await each.at.rate(next(numbers)[: sizes.burst], 300)  # does not count: connections, caches
        for number in range(sizes.rounds):
            cost = []
            for turn in range(_BURSTS):
                both = (
                    (empty, full) if (number + turn) % 2 == 0 else (full, empty)
                )  # each goes first as often as second
                rates = {each is full: await each.burst(next(numbers)[: sizes.burst]) for each in both}
                cost.append(100 * (1 - rates[True] / rates[False]))
            costs.append(statistics.median(cost))
            for page, times in pages.items():
                times.append(await _page(full_one, page.format(id=old)))
            metrics.append(await _once(full_one, "/metrics"))
            command.append(await _command(full_one))
            alone.append(await _lone(full_one, next(numbers)))
            median, speed = await _beside_pruning(full_one, next(numbers), url, await _found(url, _AGE))
            beside.append(median)
            pruned.append(speed)
        vacuum = await _timed(_vacuum(url))
    what = f"{sizes.flows:,} ended flows"
    return [
        Figure(f"{what}: cost, of the rate", costs, "%", at_most(5)),
        Figure(f"{what}: rate", full.rates, "a second", digits=0),
        Figure("empty ledger: rate", empty.rates, "a second", digits=0),
        Figure(f"{what}: WAL for a purchase", full.wal, "kB"),
        Figure("empty ledger: WAL for a purchase", empty.wal, "kB"),
        Figure(f"{what}: processor time of PostgreSQL for a purchase", full.processor, "ms", digits=2),
        Figure("empty ledger: processor time of PostgreSQL for a purchase", empty.processor, "ms", digits=2),
        Figure(f"{what}: intake of 100 purchases", full.intake, "ms"),
        Figure("empty ledger: intake of 100 purchases", empty.intake, "ms"),
        Figure(f"{what}: dispatch of 100 purchases, two calls", full.dispatch, "ms"),
        Figure("empty ledger: dispatch of 100 purchases, two calls", empty.dispatch, "ms"),
        *(Figure(f"{what}: console, {page}", times, "ms", at_most(50)) for page, times in pages.items()),
        Figure(f"{what}: flows list, without the start of Python", command, "ms", at_most(50)),
        Figure(f"{what}: metrics", metrics, "ms", at_most(100)),
        Figure(f"{what}: a lone event", alone, "ms"),
        Figure(f"{what}: a lone event beside the pruning", beside, "ms"),
        Figure(f"{what}: pruning, flows and calls", pruned, "rows a second", digits=0),
        Figure(f"{what}: db upgrade", [migrated], "s"),
        Figure(f"{what}: a worker's start until it is ready", [started["full"]], "s"),
        Figure("empty ledger: a worker's start until it is ready", [started["empty"]], "s"),
        Figure(f"{what}, {CALLS * sizes.flows:,} calls: vacuum of all tables", [vacuum], "s"),
    ]


async def _found(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _both_calls(work: Work) -> None:
    assert await work.send(USERS, {"userId": 7_000_000}) == 100
    assert await work.send(ACCOUNTS, CREATED) == 100


async def _timed(work: Awaitable[object]) -> float:
    """Seconds."""
    began = time.monotonic()
    await work
    return time.monotonic() - began


async def _page(at: Installation, page: str) -> float:
    """The console's median time for a page, to the last byte: milliseconds."""
    headers = {"Authorization": f"Bearer {CONSOLE_TOKEN}"}
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as client:
        return statistics.median([await _got(client, f"{at.replicas[0].address}{page}") for _ in range(_TIMES)])


async def _once(at: Installation, page: str) -> float:
    """A page that nobody has asked for in the last seconds: what is read rarely is read now. Milliseconds."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await _got(client, f"{at.replicas[0].address}{page}")


async def _got(client: httpx.AsyncClient, url: str) -> float:
    began = time.monotonic()
    (await client.get(url)).raise_for_status()
    return 1000 * (time.monotonic() - began)


async def _command(at: Installation) -> float:
    """The median time of `flows list`, with its connection to the database: milliseconds."""
    with Process([sys.executable, "-m", "tests.bench.listing", str(_TIMES)], at.env, cold=True) as process:
        await eventually(lambda: process.returncode is not None, 120)
        assert process.returncode == 0, process.stderr
        taken: list[float] = json.loads(process.stdout)
        return statistics.median(taken)


async def _lone(at: Installation, numbers: range) -> float:
    """The median time of a lone event from its arrival to its outcome, the partner's included: milliseconds."""
    taken = []
    for number in numbers[:_LONE]:
        began = await at.send([purchase(number)])
        taken.append(1000 * ((await at.arrivals(ids(range(number, number + 1)), 60))[0] - began))
    return statistics.median(taken)


async def _beside_pruning(at: Installation, numbers: range, url: str, keep: timedelta) -> tuple[float, float]:
    """The same while flows and calls are pruned without a rest, a day after the other, and rows a second that are."""
    database, ended = Database(url, 1), asyncio.Event()
    pruning = asyncio.create_task(_prune(database, keep, ended))
    beside = await _lone(at, numbers)
    ended.set()
    speed = await pruning
    await database.close()
    return beside, speed


async def _prune(database: Database, keep: timedelta, ended: asyncio.Event) -> float:
    rows, began = 0, time.monotonic()
    while not ended.is_set():
        pruned = await prune(database, keep, timedelta(days=14), seconds=0.1)
        rows += pruned.rows
        if not pruned.more:
            keep = max(keep - _DAY, _MONTH)
    return rows / (time.monotonic() - began)


async def _vacuum(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("vacuum")
    await connection.close()
