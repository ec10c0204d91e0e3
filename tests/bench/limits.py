"""A replica as a container runs it, with 256 MB of memory and half a core: what it holds, whatever waits."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from schemas.events import EVENTS
from tests.bench.figures import Figure, at_most
from tests.bench.installation import NO_BUDGET, NO_LIMITS, Installation
from tests.bench.servers import Servers
from tests.bench.sizes import Sizes
from tests.support.container import Container, why_no_container
from tests.support.events import purchase
from tests.support.replicas import ReplicaProcess
from tests.support.usage import MOST, Usage
from tests.support.waiting import eventually

_CHUNK = 5000
"""Events that are sent at once: this process keeps their records until the broker has them."""

_WAITING = 10_000
"""Flows that wait for an order that never comes."""

_DOCUMENTS = 200
"""Events of nearly a megabyte."""

_NO_BUDGET_LEFT = {"TRADOVATE_HOURLY_BUDGET": "40", "UNKNOWN_WAIT_SECONDS": "86400"}


async def limits(servers: Servers, sizes: Sizes) -> list[Figure]:
    """One replica within 256 MB and half a core: a burst, a backlog, flows that wait, events with documents."""
    if why := why_no_container():
        raise AssertionError(why)
    figures = await _one(servers, "burst", NO_BUDGET, partial(_burst, sizes=sizes))
    figures += await _one(servers, f"{sizes.backlog:,} events", _NO_BUDGET_LEFT, partial(_backlog, sizes=sizes))
    figures += await _one(servers, f"{_WAITING:,} waiting flows", _NO_BUDGET_LEFT, _waiting)
    return figures + await _one(servers, f"{_DOCUMENTS} documents", NO_BUDGET, _documents)


async def _one(
    servers: Servers, what: str, settings: Mapping[str, str], work: Callable[[Installation], Awaitable[None]]
) -> list[Figure]:
    with Container() as container:
        async with Installation.open(servers, NO_LIMITS, settings) as at, _replica(at, container) as usage:
            await work(at)
        found = [
            Figure(f"{what}: memory of 256 MB", [container.peak / 1e6], "MB", at_most(256), digits=0),
            Figure(f"{what}: killed for want of memory", [container.kills], "times", at_most(0), digits=0),
            Figure(f"{what}: liveness probes that failed", [usage.failed], "", at_most(0), digits=0),
            Figure(f"{what}: slowest liveness probe", [usage.slowest], "s", at_most(5)),
        ]
    return found + [
        Figure(f"{what}: {name}", [usage.most[name]], "", at_most(most), digits=0) for name, most in MOST.items()
    ]


@asynccontextmanager
async def _replica(at: Installation, container: Container) -> AsyncIterator[Usage]:
    replica = ReplicaProcess(at.env, within=container)
    at.replicas = [replica]
    await replica.ready()
    try:
        async with Usage.watched(replica, at.env["DATABASE_URL"]) as usage:
            yield usage
    finally:
        replica.close()  # before the container goes


async def _burst(at: Installation, *, sizes: Sizes) -> None:
    await at.rate(range(sizes.burst), 300)


async def _backlog(at: Installation, *, sizes: Sizes) -> None:
    for start in range(0, sizes.backlog, _CHUNK):
        await at.send([purchase(number) for number in range(start, min(start + _CHUNK, sizes.backlog))])
    await eventually(partial(_accepted, at, sizes.backlog), 1200)


async def _waiting(at: Installation) -> None:
    reset = {"tradeDate": "2026-11-20"}
    events = [{"eventId": f"r-{number}", "orderId": f"never-{number}", **reset} for number in range(_WAITING)]
    await at.send(events, "account.reset")
    await eventually(partial(_accepted, at, _WAITING), 600)


async def _documents(at: Installation) -> None:
    for number in range(_DOCUMENTS):
        await at.send([_with_documents(number)], "trader.passed")
    await eventually(partial(_accepted, at, _DOCUMENTS), 600)
    checked = "select count(*) from step where operation = 'checkDuplicate' and state = 'done' having count(*) >= "
    await eventually(lambda: at.count(f"{checked} {_DOCUMENTS}"), 600)


def _with_documents(number: int) -> dict[str, Any]:
    example = {name: value for name, value in EVENTS["trader.passed"].examples[0].items() if name != "traderId"}
    document = "data:application/pdf;base64," + base64.b64encode(os.urandom(230_000)).decode()
    named = {"eventId": f"p-{number}", "orderId": f"{number}", "userId": 5_000 + number}
    return {**example, **named, "documents": [document] * 3}


async def _accepted(at: Installation, count: int) -> bool:
    if at.replicas[0].returncode is not None:
        raise RuntimeError(f"the worker ended with {at.replicas[0].returncode}: {at.replicas[0].stderr[-1000:]}")
    return await at.count("select count(*) from flow") >= count
