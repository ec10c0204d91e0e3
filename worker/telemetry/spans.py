"""The spans of `tracing.py`, by OpenTelemetry. Imported only where tracing is on.

Names and attributes follow the semantic conventions for HTTP and messaging; what those do not have begins with
`tradovate.`.
Spans are handed to a background thread with a bounded queue: an exporter that is away costs spans, never time.
No attribute holds personal data: topics, operations, counts, results and ids of ours only, and no query of an address.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from worker.kafka.topics import TopicNames
from worker.telemetry.tracing import Calling, Publishing, Trace, Traced, TraceHeaders
from worker.version import VERSION

_EXPORT_SECONDS = 5
"""One export; the background thread's alone."""

_CLOSE_SECONDS = 1.5
"""To send what is queued when the process stops."""

_PORTS = {"https": 443, "http": 80}

_GOOD = ("answer", "refusal")
"""Results of calls that Tradovate has executed or rejected, as the call log names them."""

_NOT_SENT = "not_sent"

log = structlog.get_logger()

_PROPAGATOR = TraceContextTextMapPropagator()

_CALLING: ContextVar[Calling | None] = ContextVar("calling", default=None)
"""What the task that makes an HTTP call makes it for."""


@dataclass(frozen=True, slots=True)
class _Since:
    """The beginning of something: wall clock for the place of its span, monotonic for its length."""

    wall: int = field(default_factory=time.time_ns)
    began: float = field(default_factory=time.monotonic)

    @property
    def now(self) -> int:
        """The end of a span that ends now."""
        return self.wall + int((time.monotonic() - self.began) * 1e9)


class Spans:
    """Records spans and sends them to a collector at `endpoint` (OTLP over HTTP). `about`: the process."""

    def __init__(self, endpoint: str, about: Mapping[str, str], names: TopicNames, group: str) -> None:
        self._names = names
        self._group = group
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
        resource = Resource.create({**about, "service.version": VERSION})
        # Not at the interpreter's exit: a collector that never answers would keep the process.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=8192))
        self._tracer = self._provider.get_tracer("tradovate-worker", VERSION)

    def flush(self) -> None:
        """Sends what is queued, however long that takes."""
        self._provider.force_flush()

    @contextmanager
    def intake(self) -> Iterator[Trace]:
        """See `Tracing`."""
        since, spans = _Since(), list[Span]()

        def begin(
            topic: str, partition: int, offset: int, context: TraceHeaders | None, error: str | None = None, /
        ) -> TraceHeaders | None:
            attributes = {
                **self._message("process", "process", topic, partition),
                "messaging.consumer.group.name": self._group,
                "messaging.kafka.offset": offset,
            }
            name = f"process {self._names.on_broker(topic)}"
            span = self._begin(name, SpanKind.CONSUMER, attributes, since.wall, parent=_parent_of(context))
            _failed(span, error)
            spans.append(span)
            if context is not None:
                return context
            return _headers_of(span)

        try:
            yield begin
        except BaseException as error:
            for span in spans:
                _failed(span, type(error).__name__.lstrip("_"))
            raise
        finally:
            for span in spans:
                span.end(since.now)

    @contextmanager
    def calling(self, calling: Calling) -> Iterator[Calling]:
        """See `Tracing`."""
        since, token = _Since(), _CALLING.set(calling)
        try:
            yield calling
        finally:
            calling.over = True  # a task that was begun within it goes on with the same context
            _CALLING.reset(token)
            for flow in calling.flows:
                self._called(calling, flow, since.wall, since.now)

    def http(self, method: str, url: str, seconds: float, status: int | None, error: str | None) -> None:
        """See `Tracing`."""
        end = _Since().wall
        calling = _CALLING.get()
        if calling is not None and calling.over:
            calling = None
        parts = urlsplit(url)
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "server.address": parts.hostname or "",
            "server.port": parts.port or _PORTS.get(parts.scheme, 0),
            "url.full": url,
            "url.template": parts.path,
        }
        if status is not None:
            attributes["http.response.status_code"] = status
        contexts: list[SpanContext | None] = []
        if calling is not None:
            attributes |= {"tradovate.operation": calling.operation, "tradovate.kind": calling.kind}
            attributes["tradovate.items"] = len(calling.flows)
            contexts = [_context_of(flow.context) for flow in calling.flows]
        links = [Link(context) for context in contexts if context is not None]
        name = f"{method} {parts.path}"
        span = self._begin(name, SpanKind.CLIENT, attributes, end - int(seconds * 1e9), links=links, parent=Context())
        _failed(span, error or (str(status) if status is not None and status >= 400 else None))
        span.end(end)
        if calling is not None:
            calling.calls.append(span.get_span_context())

    def published(
        self, topic: str, status: str, context: TraceHeaders, partition: int, message_id: str, seconds: float
    ) -> None:
        """See `Tracing`."""
        end = _Since().wall
        attributes = {
            **self._message("publish", "send", topic, partition),
            "messaging.message.id": message_id,
            "tradovate.status": status,
        }
        name, start = f"publish {self._names.on_broker(topic)}", end - int(seconds * 1e9)
        self._begin(name, SpanKind.PRODUCER, attributes, start, parent=_parent_of(context)).end(end)

    @contextmanager
    def publishing(self, topic: str) -> Iterator[Publishing]:
        """See `Tracing`."""
        sending, since = Publishing(), _Since()
        attributes = self._message("publish", "send", topic)
        name = f"publish {self._names.on_broker(topic)}"
        span = self._begin(name, SpanKind.PRODUCER, attributes, since.wall, parent=Context())
        sending.headers = _headers_of(span)
        try:
            yield sending
        except BaseException as error:
            _failed(span, type(error).__name__)
            raise
        finally:
            if sending.partition is not None and sending.offset is not None:
                span.set_attributes(self._message("publish", "send", topic, sending.partition))
                span.set_attribute("messaging.kafka.offset", sending.offset)
            span.end(since.now)

    async def close(self) -> None:
        """Sends what is queued, for so long as a stop can wait; the rest is dropped.

        The library ignores its time limit. So a thread does it, for which nothing waits: neither this function, nor the
        end of the event loop, nor the end of the process.
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

    def _called(self, calling: Calling, flow: Traced, start: int, end: int) -> None:
        """What a call was to one of its flows."""
        parent = _parent_of(flow.context)
        if parent is None:
            return
        attributes: dict[str, AttributeValue] = {"tradovate.flow_id": flow.flow_id, "tradovate.topic": flow.topic}
        if flow.waited is not None and calling.result != _NOT_SENT:
            # The ledger's time is not this machine's: the length is the ledger's, and it ends where the call begins.
            accepted = start - max(int(flow.waited.total_seconds() * 1e9), 0)
            self._begin("wait", SpanKind.INTERNAL, attributes, accepted, parent=parent).end(start)
        result = calling.result or "none"
        attributes |= {"tradovate.kind": calling.kind, "tradovate.result": result}
        name = calling.operation if calling.kind == "send" else f"look up {calling.operation}"
        links = [Link(call) for call in calling.calls]
        span = self._begin(name, SpanKind.INTERNAL, attributes, start, links=links, parent=parent)
        _failed(span, None if result in _GOOD else result)
        span.end(end)

    def _message(
        self, operation: str, kind: str, topic: str, partition: int | None = None
    ) -> dict[str, AttributeValue]:
        about: dict[str, AttributeValue] = {
            "messaging.system": "kafka",
            "messaging.operation.name": operation,
            "messaging.operation.type": kind,
            "messaging.destination.name": self._names.on_broker(topic),
        }
        if partition is not None:
            about["messaging.destination.partition.id"] = str(partition)
        return about

    def _begin(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue],
        start: int,
        *,
        parent: Context | None = None,
        links: Sequence[Link] = (),
    ) -> Span:
        return self._tracer.start_span(
            name, context=parent, kind=kind, attributes=attributes, links=links, start_time=start
        )


def _failed(span: Span, error: str | None) -> None:
    """Marks a span as _failed, unless `error` is None."""
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)


def _parent_of(context: TraceHeaders | None) -> Context | None:
    """What a span of this trace begins in."""
    if not context:
        return None
    return _PROPAGATOR.extract(dict(context))


def _context_of(context: TraceHeaders | None) -> SpanContext | None:
    """What a link to this trace names; None if it is not readable."""
    within = _parent_of(context)
    found = trace.get_current_span(within).get_span_context() if within is not None else None
    return found if found is not None and found.is_valid else None


def _headers_of(span: Span) -> TraceHeaders:
    """The trace context that makes others children of this span."""
    made: dict[str, str] = {}
    _PROPAGATOR.inject(made, trace.set_span_in_context(span))
    return made
