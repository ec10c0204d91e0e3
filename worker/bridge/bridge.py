"""One bridge process: it leads, or stands by and connects nowhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from worker.bridge.bridge_health import BridgeHealth
from worker.bridge.bridge_metrics import BridgeMetrics
from worker.bridge.leadership import Leadership
from worker.bridge.leading import LeaderTasks
from worker.bridge.topic_check import TopicWatch
from worker.kafka.producer import RecordProducer
from worker.ledger.database import Database
from worker.partner.client import PartnerClient
from worker.partner.lockout import LockOut
from worker.process.start_refused import CannotListen
from worker.process.starting import StartChecks, ended, within
from worker.process.upkeep import Upkeep
from worker.session import SessionKeeper
from worker.session.lockouts import write_lockouts
from worker.settings import BridgeSettings
from worker.telemetry.http_server import Served, application, level_of_address, serve
from worker.telemetry.reachability import Reach
from worker.telemetry.tracing import Tracing

log = structlog.get_logger()

STOP_WITHIN = 18.0
"""Seconds for all parts of a stop together; README, "What happens when" gives 25, and the process has to end after
them."""


@dataclass(slots=True)
class Bridge:
    """Everything that `bridge` starts. `new_tasks` makes the parts that work while it leads."""

    settings: BridgeSettings
    name: str
    database: Database
    producers: Mapping[str, RecordProducer]
    lockout: LockOut
    client: PartnerClient
    session: SessionKeeper
    leadership: Leadership
    reach: Reach
    topics: TopicWatch
    metrics: BridgeMetrics
    tracing: Tracing
    new_tasks: Callable[[], LeaderTasks]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: LeaderTasks | None = None
    started: bool = False
    served: Served | None = None

    async def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Until `stopping` is set. Raises `StartRefused`; waits for Kafka and PostgreSQL as long as they are away."""
        settings = self.settings
        probes = BridgeHealth(self).probes()
        try:
            app = application(probes, self.metrics.shared)
            self.served = await serve(app, settings.http_host, settings.http_port, settings.trusted_proxies)
        except OSError as error:
            raise CannotListen(settings.http_port, error) from None
        log.log(level_of_address(settings.http_port), "bridge.http", address=self.served.address)
        if ready is not None:
            ready(self.served.address)
        loops: list[asyncio.Task[None]] = []
        try:
            if not await StartChecks(settings, self.database, self.stopping).prepared(self.topics.topics):
                return
            self.started = True
            upkeep = Upkeep(settings, self.database, self.name, "bridge", self.served.address)
            loops = [
                asyncio.create_task(self.leadership.run(), name="lead"),
                asyncio.create_task(self._work(), name="work"),
                asyncio.create_task(self.topics.run(), name="topics"),
                asyncio.create_task(write_lockouts(self.lockout, self.database), name="lockouts"),
                asyncio.create_task(upkeep.run(self.stopping), name="upkeep"),
            ]
            stopped = asyncio.create_task(self.stopping.wait())
            await asyncio.wait([*loops, stopped], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            for task in loops:
                if task.done() and not self.stopping.is_set():
                    task.result()
                    raise RuntimeError(f"the {task.get_name()} loop ended")
        finally:
            self.stopping.set()
            await self._stop(loops)

    async def _work(self) -> None:
        """Leads whenever it may, stands by in between."""
        while not self.stopping.is_set():
            log.info("bridge.stands_by", name=self.name)
            if not await self._first(self.leadership.won()):
                return
            self.tasks = self.new_tasks()
            leading = asyncio.create_task(self.tasks.run(self.stopping))
            lost = asyncio.create_task(self.leadership.lost())
            try:
                await asyncio.wait([leading, lost], return_when=asyncio.FIRST_COMPLETED)
                if leading.done():
                    leading.result()
                else:
                    log.warning("bridge.lead_lost", name=self.name)
            finally:
                for task in (leading, lost):
                    task.cancel()
                await asyncio.gather(leading, lost, return_exceptions=True)
                self.tasks = None

    async def _first(self, condition: object) -> bool:
        """Waits for the condition; false when stopped before that."""
        wanted = asyncio.ensure_future(condition)  # type: ignore[call-overload]
        stopped = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([wanted, stopped], return_when=asyncio.FIRST_COMPLETED)
        won = bool(wanted.done())
        for task in (wanted, stopped):
            task.cancel()
        await asyncio.gather(wanted, stopped, return_exceptions=True)
        return won and not self.stopping.is_set()

    async def _stop(self, loops: list[asyncio.Task[None]]) -> None:
        began = time.monotonic()
        log.info("bridge.stopping")

        async def for_most(work: Awaitable[object], seconds: float) -> None:
            await within(work, min(seconds, max(0.1, STOP_WITHIN - (time.monotonic() - began))))

        working = [task for task in loops if task.get_name() in ("work", "upkeep")]
        if working:  # the lease is extended until the inbox is empty
            await asyncio.wait(working, timeout=8.0)
        await ended(loops, self.database)
        await for_most(self.leadership.give_back(), 2.0)
        await for_most(self.session.aclose(), 8.0)  # a token that arrives later leaves a session behind
        await for_most(asyncio.gather(*(producer.stop() for producer in self.producers.values())), 2.0)
        await for_most(self.client.aclose(), 1.0)
        await for_most(self.tracing.close(), 2.0)
        await for_most(self.database.close(), 1.0)
        if self.served is not None:
            await for_most(self.served.stop(), 2.0)
        log.info("bridge.stopped", seconds=round(time.monotonic() - began, 2))
