"""Traces: one from the shop's event to its outcome, and none of it costs time or tells of persons."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.waiting import eventually
from worker.bootstrap import Replica
from worker.ops import spans as spans_module
from worker.ops.tracing import Tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Where the spans go in place of a collector."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans_module, "OTLPSpanExporter", lambda *_args, **_kwargs: exporter)
    yield exporter
    exporter.clear()


async def _spans(stage: Stage, exporter: InMemorySpanExporter, names: set[str]) -> Sequence[ReadableSpan]:
    async def all_there() -> Sequence[ReadableSpan] | None:
        recorded = _replica(stage).tracing.spans
        assert recorded is not None
        await asyncio.to_thread(recorded.flush)
        found = exporter.get_finished_spans()
        return found if names <= {span.name for span in found} else None

    found = await eventually(all_there, 10)
    assert found is not None
    return found


def _replica(stage: Stage) -> Replica:
    return stage.here[0].replica


async def test_one_trace_leads_from_the_event_to_its_outcome(stage: Stages, spans: InMemorySpanExporter) -> None:
    """Intake, wait, each call and the publishing are in the trace that the event began, and its outcome carries it."""
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    await on.replica()
    event = purchase(1)
    await on.wire.send(event, key=b"k", headers=(("traceparent", PARENT.encode()),))
    await on.outcome(event)
    found = await _spans(on, spans, {"intake", "wait", "createEvaluationAccounts", "publish"})
    own = {span.name for span in found if span.context is not None and f"{span.context.trace_id:032x}" == TRACE}
    assert own >= {"intake", "wait", "createEvaluationUsers", "createEvaluationAccounts", "publish"}
    outcome = next(each for each in on.wire.heard if each.topic.endswith(".outcome"))
    assert outcome.header["traceparent"] == PARENT.encode()


async def test_a_batch_is_one_span_with_links_to_its_flows(stage: Stages, spans: InMemorySpanExporter) -> None:
    """Whoever looks at a call finds every event that it carried."""
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", BATCH_LINGER_MS="200")
    await on.replica()
    events = [purchase(number) for number in range(5)]
    await on.buy(*events)
    await on.all_ended()
    found = await _spans(on, spans, {"call", "publish"})
    calls = [span for span in found if span.name == "call"]
    assert sum(len(span.links) for span in calls) == 10
    assert max(len(span.links) for span in calls) > 1


async def test_no_span_tells_of_a_person(stage: Stages, spans: InMemorySpanExporter) -> None:
    """No attribute of any span holds a name, an e-mail, or a trader's or order's id of the shop."""
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    await on.replica()
    event = purchase(7)
    await on.buy(event)
    await on.outcome(event)
    found = await _spans(on, spans, {"publish"})
    told = " ".join(str(value) for span in found for value in (span.attributes or {}).values())
    for value in (*event["user"].values(), event["traderId"], event["orderId"]):
        assert str(value) not in told


def test_tracing_that_is_off_hands_contexts_through() -> None:
    """Without an endpoint the event's own context goes to the outcome, and no span is made."""
    off = Tracing()
    context = {"traceparent": PARENT}
    assert not off.on
    assert off.intake("trader.purchased", 0, 0, context) is context
    assert off.intake("trader.purchased", 0, 0, None) is None


async def test_an_exporter_that_is_away_slows_nothing(stage: Stages) -> None:
    """With nobody at the endpoint purchases end as they do without tracing, and the worker stops in time."""
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    here = await on.replica()
    await on.buy(*(purchase(number) for number in range(50)))
    outcomes = await on.all_ended(timeout=10)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    async with asyncio.timeout(25):
        await here.stop()
