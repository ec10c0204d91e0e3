"""Changes of risk statuses out of the ledger onto their topic.

A change is deleted from the ledger when Kafka has acknowledged it. A bridge that dies between the two publishes it
again: the same bytes under the same event id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from worker.bridge.risk_status import Change, record
from worker.bridge.topic_publisher import TopicPublisher, TopicRefuses
from worker.kafka.topics import ACCOUNT_RISK_STATUS
from worker.ledger import risk_statuses
from worker.ledger.risk_statuses import Row

AT_ONCE = 250
"""Changes in one round: what is published twice when this bridge dies before it has deleted them."""


@dataclass(slots=True, kw_only=True)
class RiskPublisher(TopicPublisher):
    """Publishes recorded changes of risk statuses. `published` is called once for each."""

    kind = "changes of risk statuses"

    topic: str = ACCOUNT_RISK_STATUS
    published: Callable[[], None] = lambda: None
    _waiting: int = 0
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """A former leader may have left some."""
        self._more.set()

    @property
    def waiting(self) -> int:
        """Changes in the ledger, as far as was looked."""
        return self._waiting

    def recorded(self) -> None:
        """There are changes in the ledger."""
        self._more.set()

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
        self._waiting = len(rows)
        if not rows:
            return False
        # One change of an account at a time: of two that are under way, the second one may arrive alone.
        firsts: dict[int, Row] = {}
        for row in rows:
            if row.account_id not in firsts or row.version < firsts[row.account_id].version:
                firsts[row.account_id] = row
        # A bridge that was frozen here, and is not the leader any more, has slept over what another has published.
        if self.leading():
            await self._publish_all(list(firsts.values()))
        return True

    async def _publish_all(self, rows: Sequence[Row]) -> None:
        """Raises `TopicRefuses` when one was not acknowledged, after the others have been deleted."""
        failures = await self._all(map(self._publish, rows))
        self.crash("after_risk_publish")
        done = [row.id for row, why in zip(rows, failures, strict=True) if why is None]
        async with self.database.connection() as connection:
            await risk_statuses.published(connection, done)
        self._waiting -= len(done)
        for _ in done:
            self.published()
        if why := next(filter(None, failures), None):
            raise TopicRefuses(self.topic, why)

    async def _publish(self, row: Row) -> str | None:
        """Why the topic has not accepted it, or None."""
        value = record(Change(row.account_id, row.version, row.before, row.now))
        error = await self._send(value, str(row.account_id).encode())
        return None if error is None else type(error).__name__

    async def _until_something_waits(self) -> None:
        await self._more.wait()
