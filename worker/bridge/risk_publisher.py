"""Changes of risk statuses out of the ledger onto their topic.

A change is deleted from the ledger when Kafka has acknowledged it. A bridge that dies between the two publishes it
again: the same bytes under the same event id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from worker.backoff import Schedule
from worker.bridge.risk_status import Change, record
from worker.bridge.signal_publisher import SLOW, TopicRefuses
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import ACCOUNT_RISK_STATUS, TopicNames
from worker.ledger import risk_statuses
from worker.ledger.database import Database, DatabaseError
from worker.ledger.risk_statuses import Row
from worker.telemetry.log_on_change import LastReported
from worker.telemetry.tracing import Tracing

log = structlog.get_logger()

AT_ONCE = 250
"""Changes in one round: what is published twice when this bridge dies before it has deleted them."""

TURN = 1.0
"""Seconds between two looks at whether this bridge leads."""


@dataclass(slots=True)
class RiskPublisher:
    """`leading` says whether this bridge may publish at this very moment. `published` is called for each."""

    database: Database
    producer: RecordProducer
    names: TopicNames
    leading: Callable[[], bool]
    published: Callable[[], None] = lambda: None
    tracing: Tracing = field(default_factory=Tracing)
    crash: Callable[[str], None] = lambda _point: None
    progress: float = field(default_factory=time.monotonic)
    waiting: int = 0
    """Changes that wait for Kafka, as far as was looked."""
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _failed: str | None = None
    _sending_since: float | None = None
    _said: LastReported = field(default_factory=LastReported)

    def __post_init__(self) -> None:
        """A former leader may have left some."""
        self._more.set()

    def recorded(self) -> None:
        """There are changes in the ledger."""
        self._more.set()

    @property
    def trouble(self) -> str | None:
        """Why changes wait for their topic, or None."""
        if self._failed is not None:
            return f"{self._failed}; changes of risk statuses wait"
        since = self._sending_since
        if since is not None and time.monotonic() - since > SLOW:
            return f"{ACCOUNT_RISK_STATUS} has accepted no record for {int(time.monotonic() - since)} s"
        return None

    async def run(self) -> None:
        """Until cancelled. Kafka or the database away: changes wait in the ledger, and it tries again."""
        pause, failures = Schedule(base=0.2, cap=5.0, least=0.1), 0
        while True:
            self.progress = time.monotonic()
            try:
                if not await self.run_once():
                    await self._wait()
                failures, self._failed = 0, None
                if self._said.over("waits"):
                    log.info("bridge.publishes", topic=ACCOUNT_RISK_STATUS)
            except (TopicRefuses, DatabaseError) as error:
                failures, self._failed = failures + 1, error.reason
                if self._said.changed("waits", self._failed):
                    log.warning("bridge.waits", topic=ACCOUNT_RISK_STATUS, error=self._failed, waiting=self.waiting)
                await asyncio.sleep(pause.delay(failures))

    async def run_once(self) -> bool:
        """Publishes what has waited longest; false when there is nothing, or when this bridge does not lead."""
        if not self.leading() or not self._more.is_set():
            return False
        self._more.clear()
        try:
            found = await self._round()
        except BaseException:
            self._more.set()
            raise
        if found:
            self._more.set()  # until a look finds none
        return found

    async def _round(self) -> bool:
        async with self.database.connection() as connection:
            rows = await risk_statuses.unpublished(connection, AT_ONCE)
        self.waiting = len(rows)
        if not rows:
            return False
        # One change of an account at a time: of two that are under way, the second one may arrive alone.
        firsts: dict[int, Row] = {}
        for row in rows:
            if row.account_id not in firsts or row.version < firsts[row.account_id].version:
                firsts[row.account_id] = row
        # A bridge that was frozen here, and is not the leader any more, has slept over what another has published.
        if self.leading():
            await self._send(list(firsts.values()))
        return True

    async def _send(self, rows: Sequence[Row]) -> None:
        """Raises `TopicRefuses` when one was not acknowledged, after the others have been deleted."""
        self._sending_since = time.monotonic()
        try:
            failures = await asyncio.gather(*map(self._publish, rows))
        finally:
            self._sending_since = None
        self.crash("after_risk_publish")
        done = [row.id for row, why in zip(rows, failures, strict=True) if why is None]
        async with self.database.connection() as connection:
            await risk_statuses.published(connection, done)
        self.waiting -= len(done)
        for _ in done:
            self.published()
        if why := next(filter(None, failures), None):
            raise TopicRefuses(ACCOUNT_RISK_STATUS, why)

    async def _publish(self, row: Row) -> str | None:
        """Why the topic has not accepted it, or None."""
        value = record(Change(row.account_id, row.version, row.before, row.now))
        try:
            with self.tracing.publishing(ACCOUNT_RISK_STATUS) as sending:
                headers = [(name, text.encode()) for name, text in sending.headers.items()]
                sent = await self.producer.send(
                    self.names.on_broker(ACCOUNT_RISK_STATUS),
                    value=value,
                    key=str(row.account_id).encode(),
                    headers=headers,
                )
                sending.partition, sending.offset = sent.partition, sent.offset
        except Exception as error:  # noqa: BLE001 - whatever the client raises, the change waits and health says why
            return type(error).__name__
        return None

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(TURN):
                if self.leading():
                    await self._more.wait()
                else:
                    await asyncio.Event().wait()
        except TimeoutError:
            pass
