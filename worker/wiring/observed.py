"""What a replica's parts report goes into metrics and traces here."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from schemas.outcomes import Status
from worker.kafka.topics import outcome_topic
from worker.ledger.clock import DatabaseClock
from worker.ledger.rows import OutcomeRow
from worker.telemetry.metrics import Metrics
from worker.telemetry.tracing import Tracing

__all__ = ["Observed"]


@dataclass(slots=True)
class Observed:
    """Each method is given to the part that calls it."""

    metrics: Metrics
    tracing: Tracing
    clock: DatabaseClock
    _outcomes: Any = field(init=False)  # by topic and status
    _outcome_seconds: Any = field(init=False)  # by topic

    def __post_init__(self) -> None:
        """The library looks for labels under a lock: once for each, and not for each outcome."""
        self._outcomes = cache(self.metrics.outcomes.labels)
        self._outcome_seconds = cache(self.metrics.outcome_seconds.labels)

    def accepted(self, topic: str, result: str, count: int) -> None:
        """Events of a topic that were read, by what became of them."""
        self.metrics.events.labels(topic, result).inc(count)

    def dead_letter(self, topic: str, reason: str) -> None:
        """A record of a topic that became a dead letter."""
        self.metrics.dead_letters.labels(topic, reason).inc()

    def called(self, operation: str, result: str, items: int, seconds: float) -> None:
        """A call to the partner that has ended."""
        self.metrics.calls.labels(operation, result).inc()
        self.metrics.call_items.labels(operation).observe(items)
        self.metrics.call_seconds.labels(operation).observe(seconds)

    def published(self, row: OutcomeRow, partition: int, seconds: float) -> None:
        """An outcome that is on its topic, and how long that took."""
        self._outcomes(row.topic, row.status).inc()
        if row.accepted_at is not None and row.status != Status.PENDING:
            took = self.clock.now() - row.accepted_at
            self._outcome_seconds(row.topic).observe(max(took.total_seconds(), 0.0))
        self.tracing.published(
            outcome_topic(row.topic),
            row.status,
            row.headers,
            partition=partition,
            message_id=row.headers["ce_id"],
            seconds=seconds,
        )
