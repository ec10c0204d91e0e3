"""A ledger after years: what its ended flows cost, and how long lists of flows take."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx

from tests.bench.figures import Figure, at_most
from tests.bench.installation import CONSOLE_TOKEN, NO_BUDGET, NO_LIMITS, Installation
from tests.bench.servers import Servers
from tests.bench.sizes import Sizes
from tests.support.fullness import fill_ended
from tests.support.processes import Process
from tests.support.waiting import eventually
from worker.ledger import schema

PAGES = ("/flows", "/flows?state=failed", "/flows?topic=trader.purchased", "/flows?q=old-77")
"""The console's list: all flows, two filters, and a search."""

_TIMES = 20
"""How often each page and the command is asked for in a round."""


async def ledger(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Bursts on an empty ledger and on a full one, in turn; then the lists, while both workers are idle."""
    costs: list[float] = []
    rates: dict[str, list[float]] = {"empty": [], "full": []}
    console: list[float] = []
    command: list[float] = []
    async with (
        _filled(servers, sizes.flows) as url,
        Installation.open(servers, NO_LIMITS, NO_BUDGET) as empty,
        Installation.open(servers, NO_LIMITS, NO_BUDGET, ledger=url) as full,
    ):
        both = {"empty": empty, "full": full}
        for at in both.values():
            await at.start()
            await at.rate(range(sizes.burst), 300)  # does not count: connections, caches
        for number in range(1, sizes.rounds + 1):
            for name in sorted(both, reverse=number % 2 == 0):  # each goes first as often as second
                rate = await both[name].rate(range(number * sizes.burst, (number + 1) * sizes.burst), 300)
                rates[name].append(rate)
            costs.append(100 * (1 - rates["full"][-1] / rates["empty"][-1]))
            console.append(max([await _page(full, page) for page in PAGES]))
            command.append(await _command(full))
    what = f"{sizes.flows:,} ended flows"
    return [
        Figure(f"{what}: cost, of the rate", costs, "%", at_most(5)),
        Figure(f"{what}: rate", rates["full"], "a second", digits=0),
        Figure("empty ledger: rate", rates["empty"], "a second", digits=0),
        Figure(f"{what}: the console's list, slowest page", console, "ms", at_most(50)),
        Figure(f"{what}: flows list, without the start of Python", command, "ms", at_most(50)),
    ]


@asynccontextmanager
async def _filled(servers: Servers, flows: int) -> AsyncIterator[str]:
    """The address of a full ledger that is vacuumed and analysed, as autovacuum leaves one that has grown slowly."""
    name = f"full_{uuid.uuid4().hex[:12]}"
    url = await asyncio.to_thread(servers.postgres.create_database, name)
    try:
        await schema.upgrade(url)
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await fill_ended(connection, flows)
            await connection.execute("vacuum analyze")
            await connection.execute("checkpoint")
        finally:
            await connection.close()
        yield url
    finally:
        await asyncio.to_thread(servers.postgres.drop_database, name)


async def _page(at: Installation, page: str) -> float:
    """The console's median time for a page, to the last byte: milliseconds."""
    taken: list[float] = []
    headers = {"Authorization": f"Bearer {CONSOLE_TOKEN}"}
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as client:
        for _ in range(_TIMES):
            began = time.monotonic()
            (await client.get(f"{at.replicas[0].address}{page}")).raise_for_status()
            taken.append(1000 * (time.monotonic() - began))
    return statistics.median(taken)


async def _command(at: Installation) -> float:
    """The median time of `flows list`, with its connection to the database: milliseconds."""
    with Process([sys.executable, "-m", "tests.bench.listing", str(_TIMES)], at.env, cold=True) as process:
        await eventually(lambda: process.returncode is not None, 120)
        assert process.returncode == 0, process.stderr
        taken: list[float] = json.loads(process.stdout)
        return statistics.median(taken)
