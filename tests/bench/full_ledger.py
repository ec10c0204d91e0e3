"""A ledger after years: what its ended flows cost, how long lists and metrics take, what upkeep costs the others."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import asyncpg
import httpx

from tests.bench.figures import Figure, at_most
from tests.bench.installation import CONSOLE_TOKEN, NO_BUDGET, NO_LIMITS, Installation, ids
from tests.bench.servers import Servers
from tests.bench.sizes import Sizes
from tests.bench.years import CALLS, fill_years
from tests.support.events import purchase
from tests.support.processes import Process
from tests.support.waiting import eventually
from worker.ledger import schema
from worker.ledger.database import Database
from worker.ledger.prune import prune

PAGES = ("/flows", "/flows?state=failed", "/flows?topic=trader.purchased", "/flows?state=waiting", "/flows?q=old-77",
         "/calls", "/calls?result=unclear")  # fmt: skip
"""The console's lists: all flows, three filters, a search; all calls, and a result that no call has."""

_TIMES = 20
"""How often each page and the command is asked for in a round."""

_BURSTS = 3
"""Of each ledger, in turn, in a round."""

_LONE = 40
"""Lone events, alone and beside the pruning."""

_KEEP = timedelta(days=398)
"""In the first round: then a day's flows are old enough."""


@dataclass
class _Seen:
    """What a ledger has shown in the bursts of a run: purchases a second, bytes of WAL and ms of processor for each."""

    at: Installation
    rates: list[float] = field(default_factory=list)
    wal: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    async def burst(self, numbers: range) -> float:
        """One burst; its rate."""
        wal, taken = await self.at.count(_WAL), self.at.processor()["PostgreSQL"]
        self.rates.append(await self.at.rate(numbers, 300))
        self.wal.append((await self.at.count(_WAL) - wal) / len(numbers) / 1000)
        self.processor.append(1000 * (self.at.processor()["PostgreSQL"] - taken) / len(numbers))
        return self.rates[-1]


_WAL = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


async def ledger(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Bursts on an empty ledger and on a full one of the same server, in turn; then lists and metrics, while both
    workers are idle; then lone events beside the pruning of a day; at the end a vacuum.
    """
    costs: list[float] = []
    pages: list[float] = []
    command: list[float] = []
    metrics: list[float] = []
    alone: list[float] = []
    beside: list[float] = []
    pruned: list[float] = []
    async with (
        _filled(servers, sizes.flows) as url,
        Installation.open(servers, NO_LIMITS, NO_BUDGET) as empty_one,
        Installation.open(servers, NO_LIMITS, NO_BUDGET, ledger=url) as full_one,
    ):
        empty, full = _Seen(empty_one), _Seen(full_one)
        migrated = await _timed(schema.upgrade(url))
        started = {name: await _timed(each.at.start()) for name, each in (("empty", empty), ("full", full))}
        numbers = (range(first, first + sizes.burst) for first in count(0, sizes.burst))
        for each in (empty, full):
            await each.at.rate(next(numbers), 300)  # does not count: connections, caches
        for number in range(sizes.rounds):
            cost = []
            for turn in range(_BURSTS):
                both = (
                    (empty, full) if (number + turn) % 2 == 0 else (full, empty)
                )  # each goes first as often as second
                rates = {each is full: await each.burst(next(numbers)) for each in both}
                cost.append(100 * (1 - rates[True] / rates[False]))
            costs.append(statistics.median(cost))
            pages.append(max([await _page(full_one, page) for page in PAGES]))
            metrics.append(await _once(full_one, "/metrics"))
            command.append(await _command(full_one))
            alone.append(await _lone(full_one, next(numbers)))
            median, speed = await _beside_pruning(full_one, next(numbers), url, _KEEP - number * timedelta(days=20))
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
        Figure(f"{what}: the console's lists, slowest page", pages, "ms", at_most(50)),
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


@asynccontextmanager
async def _filled(servers: Servers, flows: int) -> AsyncIterator[str]:
    """The address of a full ledger."""
    name = f"full_{uuid.uuid4().hex[:12]}"
    url = await asyncio.to_thread(servers.postgres.create_database, name)
    try:
        await fill_years(url, flows)
        yield url
    finally:
        await asyncio.to_thread(servers.postgres.drop_database, name)


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
    """The same while flows and calls are pruned without a rest, and rows a second that are pruned."""
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
            keep -= timedelta(days=1)
    return rows / (time.monotonic() - began)


async def _vacuum(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("vacuum")
    await connection.close()
