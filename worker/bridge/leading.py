"""The work of the bridge that leads, for as long as it leads: both lines, the catch-up, the publisher, the session."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from worker.bridge.catch_up import CatchUp
from worker.bridge.domain_socket import DomainSocket
from worker.bridge.risk_feed import RiskFeed
from worker.bridge.risk_publisher import RiskPublisher
from worker.bridge.risk_recorder import RiskRecorder
from worker.bridge.signal_publisher import SignalPublisher
from worker.bridge.signal_requests import CountedCalls
from worker.kafka.topics import ACCOUNT_RISK_STATUS
from worker.ledger.database import DatabaseError
from worker.partner.socket_calls import HeldBack
from worker.replies import Answer, Domain
from worker.session import SessionKeeper

log = structlog.get_logger()

DRAIN = 5.0
"""Seconds for what is in the inbox when a bridge stops in good order; the next one catches up on the rest."""


@dataclass(slots=True)
class RiskTasks:
    """What becomes of risk statuses: each loop for itself, none in the way of signals."""

    feed: RiskFeed
    recorder: RiskRecorder
    publisher: RiskPublisher

    def begin(self) -> list[asyncio.Task[None]]:
        """Starts the loops."""
        return [
            asyncio.create_task(self.feed.run(), name="watch risk statuses"),
            asyncio.create_task(self.feed.intake.run(), name="read risk statuses"),
            asyncio.create_task(self.recorder.run(), name="record risk statuses"),
            asyncio.create_task(self.publisher.run(), name=f"publish {ACCOUNT_RISK_STATUS}"),
        ]

    @property
    def trouble(self) -> str | None:
        """Why risk statuses do not come, or wait; or None."""
        recording = self.recorder.trouble
        return self.feed.trouble or (recording and f"they wait for the ledger: {recording}") or self.publisher.trouble


@dataclass(slots=True)
class LeaderTasks:
    """Made again each time the lead is won: nothing of a former one is left."""

    lines: Sequence[DomainSocket]
    catch_up: CatchUp
    publishers: Sequence[SignalPublisher]
    session: SessionKeeper
    calls: CountedCalls
    mda_alert_id: int
    risk: RiskTasks | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Until cancelled, or stopped in good order: sockets closed first, then the inbox published."""
        publishing = [asyncio.create_task(each.run(), name=f"publish {each.topic}") for each in self.publishers]
        hearing = [
            *(asyncio.create_task(line.run(), name=line.domain) for line in self.lines),
            asyncio.create_task(self.catch_up.run(), name="catch_up"),
            asyncio.create_task(self.session.run(), name="session"),
            *(self.risk.begin() if self.risk is not None else ()),
        ]
        comparing = asyncio.create_task(self.compare_alert_id())
        stopped = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([*publishing, *hearing, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in (*publishing, *hearing):
                if task.done():
                    task.result()  # a loop that ends by itself has failed: the process must end too, and be restarted
                    raise RuntimeError(f"the {task.get_name()} loop ended")
            await _end(hearing)
            await self._drain()
        finally:
            await _end([*publishing, *hearing, comparing, stopped])

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN):
                for each in self.publishers:
                    await each.inbox.wait_for_none()
        except TimeoutError:
            log.warning("bridge.left_waiting", signals=self.waiting)

    @property
    def waiting(self) -> int:
        """Signals that wait for Kafka."""
        return sum(len(each.inbox) for each in self.publishers)

    async def compare_alert_id(self) -> None:
        """Asks the partner for the alert by its name, once, and warns when the settings have another id."""
        while True:
            try:
                reply = await self.calls.find_alert(Domain.LIVE, finds_out=False)
            except HeldBack as held:
                await asyncio.sleep(held.wait)
                continue
            except DatabaseError:
                return  # a cross-check, and no more
            found = reply.body.get("id") if isinstance(reply, Answer) and isinstance(reply.body, Mapping) else None
            if isinstance(found, int) and found != self.mda_alert_id:
                log.warning("bridge.alert_id_differs", setting=self.mda_alert_id, found=found,
                            fix="set TRADOVATE_MDA_ALERT_ID")  # fmt: skip
            return


async def _end(tasks: Sequence[asyncio.Task[object]] | Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
