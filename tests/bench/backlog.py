"""Memory: a worker that was away meets the events that have come in since."""

from __future__ import annotations

import time
from functools import partial

from tests.bench.figures import Figure, at_most
from tests.bench.installation import Installation
from tests.bench.servers import Servers
from tests.bench.sizes import Sizes
from tests.support.events import purchase
from tests.support.waiting import eventually

_CHUNK = 5000
"""Events that are sent at once: this process keeps their records until the broker has them."""


async def backlog(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Peak memory of the worker while a backlog comes in; the budget is next to nothing, so that all of it waits."""
    peaks: list[float] = []
    rates: list[float] = []
    for _ in range(sizes.rounds):
        async with Installation.open(servers, settings={"TRADOVATE_HOURLY_BUDGET": "40"}) as at:
            for start in range(0, sizes.backlog, _CHUNK):
                await at.send([purchase(number) for number in range(start, min(start + _CHUNK, sizes.backlog))])
            began = time.monotonic()
            await at.start()
            await eventually(partial(_accepted, at, sizes.backlog), 900)
            rates.append(sizes.backlog / (time.monotonic() - began))
            peaks.append(at.peak_megabytes())
    return [
        Figure(f"memory with {sizes.backlog:,} events waiting", peaks, "MB", at_most(180), digits=0),
        Figure("memory: events accepted meanwhile", rates, "a second", digits=0),
    ]


async def _accepted(at: Installation, count: int) -> bool:
    if at.replicas[0].returncode is not None:
        raise RuntimeError(f"the worker ended: {at.replicas[0].stderr[-1000:]}")
    steps = await at.count("select max(id) from step")  # cheap; to count all flows is not
    return steps >= count and await at.count("select count(*) from flow") >= count
