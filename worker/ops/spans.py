"""The spans of `tracing.py`, by OpenTelemetry. Imported only where tracing is on.

Spans are handed to a background thread with a bounded queue: an exporter that is away costs spans, never time.
No attribute holds personal data: topics, operations, counts, results and ids of ours only.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.ops.tracing import Traced, TraceHeaders

_EXPORT_SECONDS = 5
"""One export; the background thread's alone."""

_CLOSE_SECONDS = 1.5
"""To send what is queued when the process stops."""

log = structlog.get_logger()

_PROPAGATOR = TraceContextTextMapPropagator()


class Spans:
    """Records spans and sends them to a collector at `endpoint` (OTLP over HTTP)."""

    def __init__(self, endpoint: str, replica: str) -> None:
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
        resource = Resource.create({"service.name": "tradovate-worker", "service.instance.id": replica})
        # Not at the interpreter's exit: a collector that never answers would keep the process.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=8192))
        self._tracer = self._provider.get_tracer("tradovate-worker")

    def flush(self) -> None:
        """Sends what is queued, however long that takes."""
        self._provider.force_flush()

    def intake(self, topic: str, partition: int, offset: int, context: TraceHeaders | None) -> TraceHeaders | None:
        """See `Tracing`."""
        span = self._tracer.start_span(
            "intake",
            context=_parent(context),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": topic,
                "messaging.destination.partition.id": str(partition),
                "messaging.kafka.offset": offset,
            },
        )
        span.end()
        if context is not None:
            return context
        made: dict[str, str] = {}
        _PROPAGATOR.inject(made, trace.set_span_in_context(span))
        return made

    def call(self, operation: str, kind: str, flows: Sequence[Traced], result: str, seconds: float) -> None:
        """See `Tracing`."""
        end = time.time_ns()
        start = end - int(seconds * 1e9)
        contexts = [_span_context(flow.context) for flow in flows]
        batch = self._tracer.start_span(
            "call",
            kind=SpanKind.CLIENT,
            links=[Link(context) for context in contexts if context is not None],
            attributes={"tradovate.operation": operation, "tradovate.kind": kind, "tradovate.items": len(flows)},
            start_time=start,
        )
        batch.set_attribute("tradovate.result", result)
        if result not in ("answer", "refusal"):
            batch.set_status(StatusCode.ERROR, result)
        for flow in flows:
            parent = _parent(flow.context)
            if parent is None:
                continue
            attributes = {"tradovate.flow_id": flow.flow_id, "messaging.destination.name": flow.topic}
            if flow.first:
                accepted = int(flow.accepted.timestamp() * 1e9)
                wait = self._tracer.start_span("wait", context=parent, attributes=attributes, start_time=accepted)
                wait.end(end_time=max(start, accepted))
            own = self._tracer.start_span(
                operation,
                context=parent,
                kind=SpanKind.CLIENT,
                links=[Link(batch.get_span_context())],
                attributes={**attributes, "tradovate.kind": kind, "tradovate.result": result},
                start_time=start,
            )
            own.end(end_time=end)
        batch.end(end_time=end)

    def published(self, topic: str, status: str, context: TraceHeaders) -> None:
        """See `Tracing`."""
        span = self._tracer.start_span(
            "publish",
            context=_parent(context),
            kind=SpanKind.PRODUCER,
            attributes={"messaging.system": "kafka", "messaging.destination.name": topic, "tradovate.status": status},
        )
        span.end()

    async def close(self) -> None:
        """Sends what is queued, for so long as a stop can wait; the rest is dropped.

        The library keeps to no time limit, so that is done by a thread that nobody waits for: neither here, nor when
        the event loop closes, nor when the process ends.
        """
        provider, loop, done = self._provider, asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            provider.shutdown()
            with suppress(RuntimeError):  # the event loop has closed meanwhile
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="tracing", daemon=True).start()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await done.wait()
        except TimeoutError:
            log.warning("tracing.spans_dropped", error="the collector did not answer in time")


def _parent(context: TraceHeaders | None) -> Context | None:
    if not context:
        return None
    return _PROPAGATOR.extract(dict(context))


def _span_context(context: TraceHeaders | None) -> SpanContext | None:
    parent = _parent(context)
    found = trace.get_current_span(parent).get_span_context() if parent is not None else None
    return found if found is not None and found.is_valid else None
