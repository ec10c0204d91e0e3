"""From one replica to four: what limits the rate must be the replica, and neither the broker nor the database.

Each purchase has contact data, and contact data takes a call of its own. A replica has a fixed number of calls in
flight, and each takes the partner 200 ms: that limits the replica to some sixty purchases a second, a rate at which
PostgreSQL, Kafka and the partner have little to do. How much of this machine's processors each of them takes is printed
beside the rates. The partner refuses no call, and the rate budget is out of reach.
"""

from __future__ import annotations

import os
import time

from tests.bench.figures import Figure, at_least
from tests.bench.installation import NO_BUDGET, NO_LIMITS, Installation, ids
from tests.bench.servers import Servers
from tests.bench.sizes import Sizes
from tests.support.events import purchase

REPLICAS = 4

_EDGE = 10
"""Of a hundred outcomes, the first and the last ten do not count: not all replicas have work then."""


async def replicas(servers: Servers, sizes: Sizes) -> list[Figure]:
    """The rate of one replica and of four, in turn, and how busy the processors were with four."""
    one: list[float] = []
    four: list[float] = []
    shares: dict[str, list[float]] = {}
    for _ in range(sizes.rounds):
        one.append((await _rate(servers, sizes, 1))[0])
        rate, busy = await _rate(servers, sizes, REPLICAS)
        four.append(rate)
        for name, share in busy.items():
            shares.setdefault(name, []).append(share)
    ratios = [many / single for many, single in zip(four, one, strict=True)]
    how = f"partner at {sizes.slow_ms} ms"
    return [
        Figure(f"one replica to {REPLICAS}, {how}", ratios, "times", at_least(3.5), digits=2),
        Figure(f"one replica, {how}", one, "a second"),
        Figure(f"{REPLICAS} replicas, {how}", four, "a second"),
        *(
            Figure(f"{REPLICAS} replicas: processor time of {name}", values, f"% of {os.cpu_count()} processors")
            for name, values in shares.items()
        ),
    ]


async def _rate(servers: Servers, sizes: Sizes, count: int) -> tuple[float, dict[str, float]]:
    """Purchases a second in the steady middle of a burst, and what part of all processors each program took."""
    async with Installation.open(servers, {**NO_LIMITS, "partner_ms": sizes.slow_ms}, NO_BUDGET) as at:
        await at.start(count)
        before, began = at.processor(), time.monotonic()
        await at.send([purchase(number, contact=True) for number in range(sizes.scaled)])
        times = await at.arrivals(ids(range(sizes.scaled)), 600)
        seconds = time.monotonic() - began
        busy = {
            name: 100 * (now - before[name]) / seconds / (os.cpu_count() or 1) for name, now in at.processor().items()
        }
    edge = len(times) * _EDGE // 100
    middle = times[edge : len(times) - edge]
    return (len(middle) - 1) / (middle[-1] - middle[0]), {**busy, "all of these": sum(busy.values())}
