"""How fast: a lone event and a burst, each beside the naive worker in the same round, and calls per purchase."""

from __future__ import annotations

import statistics

from tests.bench.figures import Figure, at_least, at_most
from tests.bench.installation import PARTNER_MS, Installation, ids
from tests.bench.servers import Servers
from tests.bench.sizes import Sizes
from tests.support.events import purchase

WARMING = 3
"""Lone events before those that count: connections are opened, statements prepared."""


async def lone(servers: Servers, sizes: Sizes) -> list[Figure]:
    """One event at a time, from its arrival to its outcome, without the time of the partner's two calls."""
    naive: list[float] = []
    ours: list[float] = []
    slow: list[float] = []
    for _ in range(sizes.rounds):
        async with Installation.open(servers) as at:
            with at.naive():
                naive.append(statistics.median(await _alone(at, sizes.lone)))
        async with Installation.open(servers) as at:
            await at.start()
            taken = await _alone(at, sizes.lone)
        ours.append(statistics.median(taken))
        slow.append(taken[int(0.95 * len(taken))])
    ratios = [mine / theirs for mine, theirs in zip(ours, naive, strict=True)]
    return [
        Figure("lone event: own time, of the naive worker's", ratios, "times", at_most(1.3), digits=2),
        Figure("lone event: own time", ours, "ms"),
        Figure("lone event: own time, 95 % below", slow, "ms"),
        Figure("lone event: naive worker's own time", naive, "ms"),
    ]


async def _alone(at: Installation, count: int) -> list[float]:
    """What each of `count` lone events took without the partner's time: milliseconds, rising."""
    whole: list[float] = []
    for number in range(count + WARMING):
        began = await at.send([purchase(number)])
        ended = (await at.arrivals(ids(range(number, number + 1)), 60))[0]
        whole.append(ended - began)
    records = await at.control(f"calls?last={3 * (count + WARMING)}")
    partner = [each["ended_at"] - each["at"] for each in records if "createevaluation" in each["path"]]
    both = [users + accounts for users, accounts in zip(partner[::2], partner[1::2], strict=True)]
    return sorted(1000 * (all_ - calls) for all_, calls in list(zip(whole, both, strict=True))[WARMING:])


async def burst(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Many purchases at once, and the naive worker on a smaller number: purchases a second of both. The processor time
    of a purchase depends least on what else the machine does.
    """
    naive: list[float] = []
    ours: list[float] = []
    taken: dict[str, list[float]] = {"workers": [], "PostgreSQL": []}
    for _ in range(sizes.rounds):
        async with Installation.open(servers) as at:
            with at.naive():
                naive.append(await _warm_rate(at, sizes.naive))
        async with Installation.open(servers) as at:
            await at.start()
            await at.rate(range(1), 60)
            before = at.processor()
            ours.append(await at.rate(range(1, sizes.burst + 1), 300))
            after = at.processor()
        for part, values in taken.items():
            values.append(1000 * (after[part] - before[part]) / sizes.burst)
    ratios = [mine / theirs for mine, theirs in zip(ours, naive, strict=True)]
    return [
        Figure(f"burst of {sizes.burst:,}: of the naive worker's rate", ratios, "times", at_least(250), digits=0),
        Figure(f"burst of {sizes.burst:,}: rate", ours, "a second", digits=0),
        Figure(f"naive worker's rate, {sizes.naive} purchases", naive, "a second"),
        Figure("a purchase of the burst: processor time of the worker", taken["workers"], "ms", digits=2),
        Figure("a purchase of the burst: processor time of PostgreSQL", taken["PostgreSQL"], "ms", digits=2),
    ]


async def _warm_rate(at: Installation, count: int) -> float:
    # After one purchase that does not count: the naive worker does not report when it is ready.
    await at.rate(range(1), 60)
    return await at.rate(range(1, count + 1), 300)


async def calls(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Calls to the partner per 100 purchases in a burst, the login included."""
    made: list[float] = []
    for _ in range(sizes.rounds):
        async with Installation.open(servers) as at:
            await at.start()
            await at.rate(range(sizes.calls), 120)
            made.append(100 * (await at.control("state"))["calls"]["total"] / sizes.calls)
    what = f"calls per 100 purchases, burst of {sizes.calls:,}, partner at {PARTNER_MS:g} ms"
    return [Figure(what, made, "calls", at_most(2.1), digits=2)]
