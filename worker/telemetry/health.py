"""Is this replica alive, and can it work? From what it knows by itself, and one short look at the ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.ledger import reconcile_results
from worker.ledger.budget import Budget
from worker.ledger.call_log import not_permitted
from worker.ledger.database import DatabaseError
from worker.ledger.ended_counts import ended_flows
from worker.ledger.state_summary import open_flows
from worker.telemetry.http_server import Probes
from worker.telemetry.metrics import Sparing
from worker.telemetry.reachability import Reach
from worker.version import VERSION

if TYPE_CHECKING:
    from worker.wiring.replica import Replica

HANGS_AFTER = 120.0
"""Seconds without a turn of a loop after which the process counts as hanging. It exceeds the longest wait inside one
turn: a database command takes 30 s with its retries."""


UNREAD_FOR = 300.0
"""Seconds without reading a topic after which the process counts as hung: no restart of a broker takes
so long, and an orchestrator that starts this process again may help.
"""


@dataclass(slots=True)
class Health:
    """The checks of `run`."""

    replica: Replica
    budget: Budget
    _reach: Reach = field(init=False)
    _flows: Sparing = field(init=False)
    _ended: Sparing = field(init=False)
    _keys: Sparing = field(init=False)
    _reconciled: Sparing = field(init=False)
    not_permitted: Sequence[str] = ()  # endpoints that answer 401 to a good token

    def __post_init__(self) -> None:
        """The looks at what is outside, and the readings for metrics that cost the database something."""
        replica = self.replica
        self._reach = Reach(
            replica.database,
            replica.producer,
            self.budget,
            replica.session.in_use,
            lambda: replica.lockout.why_silent,
        )
        self._flows = Sparing(self._read_flows)
        self._ended = Sparing(self._read_ended, least=5.0)
        self._keys = Sparing(self._read_keys, least=30.0)
        self._reconciled = Sparing(self._read_reconciled, least=5.0)

    def probes(self) -> Probes:
        """For the HTTP pages."""
        return Probes(self.live, self.ready, self.scrape, self.details)

    def live(self) -> str | None:
        """Why the process makes no progress, or None."""
        now = time.monotonic()
        replica = self.replica
        for name, progress in (("dispatch", replica.dispatcher.progress), ("publish", replica.publisher.progress)):
            if replica.started and not replica.stopping.is_set() and now - progress > HANGS_AFTER:
                return f"the {name} loop has not turned for {int(now - progress)} s"
        busy = replica.subscriber.busy_since
        if busy is not None and now - busy > HANGS_AFTER and replica.intake.failing is None:
            return f"intake has been busy with one batch for {int(now - busy)} s"
        unread = replica.watch.longest()
        if unread is not None and unread[1] > UNREAD_FOR and not replica.stopping.is_set():
            return f"{unread[0]} has not been read for {int(unread[1])} s"
        return None

    async def ready(self) -> Mapping[str, str | None]:
        """Each check with why it fails, or None."""
        replica = self.replica
        checks: dict[str, str | None] = {"stopping": "stopping" if replica.stopping.is_set() else None}
        checks |= await self._reach.checks()
        assigned = None if replica.subscriber.assigned else "the consumer group has not assigned yet"
        checks["assigned"] = f"the start waits: {replica.waits_for}" if replica.waits_for else assigned
        unread = replica.watch.unread()
        # A part of the ledger may be refused that the look at it above does not need.
        checks["intake"] = replica.intake.failing
        checks["dispatch"] = replica.dispatcher.trouble
        checks["outbox"] = replica.publisher.trouble
        checks["reading"] = "; ".join(f"{topic}: {reason}" for topic, reason in unread.items()) or None
        return checks

    def details(self) -> Mapping[str, Any]:
        """What readiness tells besides."""
        replica = self.replica
        return {
            "replica": replica.name,
            "role": "worker",
            "version": VERSION,
            "callsInFlight": replica.dispatcher.in_flight,
            "intakeWaitsFor": replica.intake.failing,
            "holds": self._reach.held,
            "notPermitted": list(self.not_permitted),
            **self._reach.partner,
        }

    async def scrape(self) -> None:
        """Brings the gauges up to date; what cannot be read keeps its last value."""
        metrics = self.replica.metrics
        if await self._reach.gauge(metrics):
            try:
                await self._flows()
                await self._ended()
                await self._keys()
                await self._reconciled()
            except (DatabaseError, TimeoutError):
                metrics.flows.clear()  # rather nothing than something that is no longer true
        for topic, records in self.replica.subscriber.lag().items():
            metrics.lag.labels(topic).set(records)

    async def _read_keys(self) -> None:
        async with self.replica.database.connection() as connection:
            self.not_permitted = await not_permitted(connection)

    async def _read_reconciled(self) -> None:
        async with self.replica.database.connection() as connection:
            figures = await reconcile_results.figures(connection)
        metrics = self.replica.metrics
        metrics.month_end.set(figures.month_end)
        metrics.compared.set(figures.age)
        for kind, count in figures.counts.items():
            metrics.differences.labels(kind.value).set(count)

    async def _read_flows(self) -> None:
        counts, oldest = await open_flows(self.replica.database)
        metrics = self.replica.metrics
        for topic in self.replica.topics:
            for state in ("waiting", "working"):
                metrics.flows.labels(topic, state).set(counts.get((topic, state), 0))
            metrics.oldest.labels(topic).set(oldest.get(topic, 0.0))

    async def _read_ended(self) -> None:
        counts = await ended_flows(self.replica.database)
        for topic in self.replica.topics:
            for state in ("succeeded", "failed", "in_doubt"):
                self.replica.metrics.flows.labels(topic, state).set(counts.get((topic, state), 0))
