"""Traces of the bridge: one from the record that it makes of a signal to what the worker does with it."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tests.support.bridges import BridgeStage
from tests.support.waiting import eventually
from worker.telemetry import spans
from worker.version import VERSION


async def test_a_signal_begins_a_trace(stage: BridgeStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of a signal carries the context of the span that published it; HTTP calls have spans too."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans, "OTLPSpanExporter", lambda *_args, **_kwargs: exporter)
    stage.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    bridge = await stage.bridge()
    stage.sign(*stage.users(1))
    (record,) = await eventually(lambda: [each for each in stage.records if each.topic.endswith("md.signed")])
    assert bridge.tracing.spans is not None
    await asyncio.to_thread(bridge.tracing.spans.flush)
    found = exporter.get_finished_spans()
    (published,) = [span for span in found if span.kind is SpanKind.PRODUCER]
    assert published.context is not None
    carried = dict(record.headers)["traceparent"].decode()
    assert carried.split("-")[1:3] == [f"{published.context.trace_id:032x}", f"{published.context.span_id:016x}"]
    assert published.name == f"publish {record.topic}"
    attributes = dict(published.attributes or {})
    assert attributes["messaging.destination.name"] == record.topic
    assert attributes["messaging.destination.partition.id"] == str(record.partition)
    assert attributes["messaging.kafka.offset"] == record.offset
    resource = published.resource.attributes
    assert (resource["service.name"], resource["service.version"]) == ("tradovate-bridge", VERSION)
    assert any(dict(span.attributes or {}).get("http.response.status_code") == 200 for span in found)
