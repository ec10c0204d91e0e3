"""The slowest statement for a hundred events, on ledgers of several sizes, with fresh statistics and without any."""

from __future__ import annotations

import uuid

from tests.bench.figures import Figure, at_most
from tests.bench.servers import Servers
from tests.bench.sizes import Sizes
from tests.support.fullness import fill
from tests.support.plans import Explaining
from tests.support.work import many_events
from worker.ledger import schema
from worker.ledger.database import Database

SMALL, LARGE = 1_000, 100_000
"""Ended flows; a fifth as many are open. The tables of a small ledger are those that a planner may like to scan."""


async def statements(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Planning and running, as the server counts it; the ledger is filled again in each round."""
    found: dict[str, list[float]] = {}
    for _ in range(sizes.rounds):
        for flows in (0, SMALL, LARGE):
            for analysed in (False, True):
                what = f"ledger of {flows:,} flows, {'' if analysed else 'not '}analysed: slowest statement"
                found.setdefault(what, []).append(await _slowest(servers, flows, analysed=analysed))
    return [Figure(f"{what} for 100 events", values, "ms", at_most(50)) for what, values in found.items()]


async def _slowest(servers: Servers, flows: int, *, analysed: bool) -> float:
    name = f"bench_{uuid.uuid4().hex[:12]}"
    url = servers.postgres.create_database(name)
    try:
        await schema.upgrade(url)
        database = Explaining(url)
        await fill(url, flows)
        async with Database.connection(database) as connection:
            await connection.execute("analyze" if analysed else "checkpoint")
        database.seen.clear()
        await many_events(database)
        await database.close()
        return max(each.milliseconds for each in database.seen)
    finally:
        servers.postgres.drop_database(name)
