"""OpenTelemetry, when OTEL_EXPORTER_OTLP_ENDPOINT is set: one trace from the shop's event to its outcome.

    process TOPIC      from the moment at which a record arrives until it is in the ledger, or a dead letter; child of
                       the event's `traceparent`; without one it begins a trace, which the outcome then carries
    wait               from the event's acceptance to the first send of its first step
    OPERATION          a send, and `look up OPERATION` a look-up: one for each flow in it, with links to its HTTP calls
    METHOD PATH        an HTTP call to Tradovate: a trace of its own, with links to the flows that share it
    publish TOPIC      from the moment at which an outcome is sent until all in-sync replicas of its topic have it

The bridge has `METHOD PATH` for its HTTP calls, and `publish TOPIC` for each record: that begins the trace which the
worker's `process TOPIC` goes on with.

The library is imported only when tracing is on: it takes a tenth of the CPU time in which `run` starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from worker.kafka.topics import TopicNames

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from worker.telemetry.spans import Spans

TraceHeaders = Mapping[str, str]
"""`traceparent` and `tracestate`, as they stand in headers and in the ledger."""


class Trace(Protocol):
    """Begins the span of a record: topic, partition, offset, the event's trace context, why it is a dead letter.
    Returns the context that its flow keeps: the event's own, or a new one.
    """

    def __call__(
        self, topic: str, partition: int, offset: int, context: TraceHeaders | None, error: str | None = None, /
    ) -> TraceHeaders | None: ...


@dataclass(frozen=True, slots=True)
class Traced:
    """A flow in a call: its trace context, its id and topic; how long it has waited, if this is its first send."""

    context: TraceHeaders | None
    flow_id: str
    topic: str
    waited: timedelta | None = None


@dataclass(slots=True)
class Calling:
    """A send or a look-up that is under way. `result`: as the call log names it; None while nothing has come back."""

    operation: str
    kind: str
    flows: Sequence[Traced]
    result: str | None = None
    calls: list[SpanContext] = field(default_factory=list)  # the HTTP calls made in it
    over: bool = False


@dataclass(slots=True)
class Publishing:
    """A record that is being sent: the headers that make its consumer's span a child of this one, and where it went."""

    headers: TraceHeaders = field(default_factory=dict)
    partition: int | None = None
    offset: int | None = None


class Tracing:
    """Records spans; without an endpoint every method returns at once.

    `names`: the topics' names on the broker; `group`: the consumer group; `environment`: Tradovate's.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        replica: str = "",
        *,
        service: str = "tradovate-worker",
        names: TopicNames | None = None,
        group: str = "",
        environment: str = "",
    ) -> None:
        self.spans: Spans | None = None
        if endpoint is not None:
            from worker.telemetry.spans import Spans  # noqa: PLC0415

            about = {"service.name": service, "service.instance.id": replica}
            about["deployment.environment.name"] = environment
            self.spans = Spans(endpoint, about, names or TopicNames(), group)

    @property
    def on(self) -> bool:
        """Whether spans go anywhere."""
        return self.spans is not None

    def intake(self) -> AbstractContextManager[Trace]:
        """The spans of a batch of records, which end when all of it is in the ledger or dead letters."""
        return nullcontext(_unchanged) if self.spans is None else self.spans.intake()

    def calling(self, operation: str, kind: str, flows: Sequence[Traced]) -> AbstractContextManager[Calling]:
        """A send or a look-up (`kind`) for these flows. HTTP calls made within it are linked to them."""
        calling = Calling(operation, kind, flows)
        return nullcontext(calling) if self.spans is None else self.spans.calling(calling)

    def http(self, method: str, url: str, seconds: float, status: int | None, error: str | None) -> None:
        """An HTTP call that ended just now: its address without the query, its status, the name of what broke it."""
        if self.spans is not None:
            self.spans.http(method, url, seconds, status, error)

    def published(
        self, topic: str, status: str, context: TraceHeaders, *, partition: int, message_id: str, seconds: float
    ) -> None:
        """An outcome (`status`) is on its `topic` since just now."""
        if self.spans is not None:
            self.spans.published(topic, status, context, partition, message_id, seconds)

    def publishing(self, topic: str) -> AbstractContextManager[Publishing]:
        """A record of ours that begins a trace; its sender says where it went."""
        return nullcontext(Publishing()) if self.spans is None else self.spans.publishing(topic)

    async def close(self) -> None:
        """Sends what is queued, for so long as a stop can wait; the rest is dropped."""
        if self.spans is not None:
            await self.spans.close()


def _unchanged(
    _topic: str, _partition: int, _offset: int, context: TraceHeaders | None, _error: str | None = None, /
) -> TraceHeaders | None:
    """A `Trace` that begins no span."""
    return context
