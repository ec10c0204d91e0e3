"""OpenTelemetry, when OTEL_EXPORTER_OTLP_ENDPOINT is set: one trace from the shop's event to its outcome.

    intake      child of the event's `traceparent`; without one it begins a trace, which the outcome then carries
    wait        from the event's acceptance to its first call
    <operation> one for each flow in a call, linked to
    call        the one span of the whole batch, with links to all its flows
    publish     the outcome on its topic

The library is imported only when tracing is on: it takes a tenth of the CPU time in which `run` starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.ops.spans import Spans

TraceHeaders = Mapping[str, str]
"""`traceparent` and `tracestate`, as they stand in headers and in the ledger."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A flow in a call: its trace context, its id, when it was accepted, whether this is its first call."""

    context: TraceHeaders | None
    flow_id: str
    topic: str
    accepted: datetime
    first: bool


class Tracing:
    """Records spans; without an endpoint every method returns at once."""

    def __init__(self, endpoint: str | None = None, replica: str = "") -> None:
        self.spans: Spans | None = None
        if endpoint is not None:
            from worker.ops.spans import Spans  # noqa: PLC0415

            self.spans = Spans(endpoint, replica)

    @property
    def on(self) -> bool:
        """Whether spans go anywhere."""
        return self.spans is not None

    def intake(self, topic: str, partition: int, offset: int, context: TraceHeaders | None) -> TraceHeaders | None:
        """An event is taken. Returns the context that its flow keeps: the event's own, or a new one."""
        return context if self.spans is None else self.spans.intake(topic, partition, offset, context)

    def call(self, operation: str, kind: str, flows: Sequence[Traced], result: str, seconds: float) -> None:
        """A call that ended just now and took `seconds`."""
        if self.spans is not None:
            self.spans.call(operation, kind, flows, result, seconds)

    def published(self, topic: str, status: str, context: TraceHeaders) -> None:
        """An outcome is on its topic."""
        if self.spans is not None:
            self.spans.published(topic, status, context)

    async def close(self) -> None:
        """Sends what is queued, for so long as a stop can wait; the rest is dropped."""
        if self.spans is not None:
            await self.spans.close()
