"""How a replica stops in good order, within the time that an orchestrator gives it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

import structlog

from worker.process.exit_deadline import LATEST
from worker.process.starting import ended, within
from worker.session.lockouts import write_lockout

if TYPE_CHECKING:
    from worker.wiring.replica import Replica

log = structlog.get_logger()

STOP_WITHIN = LATEST - 1.0
"""Seconds from SIGTERM in which a stop in good order ends."""

_DRAIN = 15.0
"""Of these, for calls in flight; the rest is for recording, publishing and leaving the group."""


async def stop_in_order(replica: Replica, loops: Sequence[asyncio.Task[None]]) -> None:
    """No new records, no new calls, calls in flight over, their outcomes published, all closed."""
    began = time.monotonic()
    log.info("run.stopping", in_flight=replica.dispatcher.in_flight)
    by_name = {task.get_name(): task for task in loops}
    replica.dispatcher.wake.set()

    async def for_most(work: Awaitable[object], seconds: float, spare: float = 5.0) -> None:
        await within(work, min(seconds, max(0.1, STOP_WITHIN - spare - (time.monotonic() - began))))

    await for_most(replica.subscriber.stop(), 5.0)
    if "dispatch" in by_name:
        await for_most(asyncio.wait({by_name["dispatch"]}), 2.0)
        await for_most(replica.dispatcher.drain(_DRAIN), _DRAIN + 2)
    if "publish" in by_name:
        replica.publisher.finish()
        await for_most(asyncio.wait({by_name["publish"]}), 3.0)
    if "upkeep" in by_name:
        await for_most(asyncio.wait({by_name["upkeep"]}), 1.0)  # it takes this replica off the ledger's list
    await for_most(write_lockout(replica.lockout, replica.database), 1.0)  # one that nobody else knows of
    await ended(loops, replica.database)
    for work in (
        replica.session.aclose(),
        replica.producer.stop(),
        replica.client.aclose(),
        replica.database.close(),
        *([replica.console.aclose()] if replica.console is not None else []),
        replica.tracing.close(),
    ):
        await for_most(work, 2.0, spare=1.0)
    if replica.served is not None:
        await for_most(replica.served.stop(), 2.0, spare=1.0)
    log.info("run.stopped", seconds=round(time.monotonic() - began, 2))
