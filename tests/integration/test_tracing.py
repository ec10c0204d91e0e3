"""Traces: one from the shop's event to its outcome, and none of it costs time or shows personal data."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from importlib import import_module
from pkgutil import iter_modules
from urllib.parse import urlsplit

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv import attributes as stable
from opentelemetry.semconv._incubating import attributes as incubating
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.waiting import eventually
from worker.telemetry import spans as spans_module
from worker.telemetry.tracing import Traced, Tracing
from worker.version import VERSION
from worker.wiring.replica import Replica

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ON = "http://127.0.0.1:9"

MESSAGE = {
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.destination.name",
    "messaging.destination.partition.id",
}
HTTP = {"http.request.method", "server.address", "server.port", "url.full", "http.response.status_code"}
"""What the conventions require of a span about a record, and of one about an HTTP call that was answered."""


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Where the spans go in place of a collector."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans_module, "OTLPSpanExporter", lambda *_args, **_kwargs: exporter)
    yield exporter
    exporter.clear()


async def _spans(stage: Stage, exporter: InMemorySpanExporter, names: set[str]) -> Sequence[ReadableSpan]:
    """All spans, when there is one for the beginning of each of these names."""

    async def all_there() -> Sequence[ReadableSpan]:
        recorded = _replica(stage).tracing.spans
        assert recorded is not None
        await asyncio.to_thread(recorded.flush)
        found = exporter.get_finished_spans()
        there = {span.name for span in found}
        assert {name for name in names if not any(each.startswith(name) for each in there)} == set(), there
        return found

    found: Sequence[ReadableSpan] = await eventually(all_there, 10)
    return found


def _replica(stage: Stage) -> Replica:
    return stage.here[0].replica


def _named(found: Sequence[ReadableSpan], name: str) -> ReadableSpan:
    """The only span whose name begins so."""
    (span,) = [span for span in found if span.name.startswith(name)]
    return span


def _said(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def _seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


async def test_one_trace_leads_from_the_event_to_its_outcome(stage: Stages, spans: InMemorySpanExporter) -> None:
    """Record, wait, each call and outcome are in the trace that the event began, and the outcome carries it."""
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT=ON)
    await on.replica()
    event = purchase(1)
    await on.wire.send(event, key=b"k", headers=(("traceparent", PARENT.encode()),))
    await on.outcome(event)
    found = await _spans(on, spans, {"process ", "wait", "createEvaluationAccounts", "publish "})
    own = {span.name for span in found if span.context is not None and f"{span.context.trace_id:032x}" == TRACE}
    prefix = on.env["KAFKA_TOPIC_PREFIX"]
    assert own >= {
        f"process {prefix}trader.purchased",
        "wait",
        "createEvaluationUsers",
        "createEvaluationAccounts",
        f"publish {prefix}trader.purchased.outcome",
    }
    outcome = next(each for each in on.wire.heard if each.topic.endswith(".outcome"))
    assert outcome.header["traceparent"] == PARENT.encode()


async def test_spans_keep_the_semantic_conventions(stage: Stages, spans: InMemorySpanExporter) -> None:
    """Spans of records name topic, operation, partition and group, those of HTTP calls method, server and status, the
    resource its version: each by the conventions' own name, and what those do not have begins with `tradovate.`.
    """
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT=ON)
    await on.replica()
    event = purchase(1)
    await on.buy(event)
    outcome = await on.outcome(event)
    found = await _spans(on, spans, {"process ", "publish ", "POST /live/v1/auth"})
    prefix, live = on.env["KAFKA_TOPIC_PREFIX"], urlsplit(on.env["TRADOVATE_LIVE_URL"])

    took, put = _named(found, "process "), _named(found, "publish ")
    assert took.kind is SpanKind.CONSUMER
    assert _said(took).keys() == MESSAGE | {"messaging.consumer.group.name", "messaging.kafka.offset"}
    assert _said(took)["messaging.destination.name"] == f"{prefix}trader.purchased"
    assert _said(took)["messaging.consumer.group.name"] == on.env["KAFKA_GROUP_ID"]
    assert put.kind is SpanKind.PRODUCER
    assert _said(put).keys() >= MESSAGE
    assert _said(put)["messaging.destination.name"] == f"{prefix}trader.purchased.outcome"
    assert _said(put)["messaging.message.id"] == outcome["outcomeId"]

    clients = [span for span in found if span.kind is SpanKind.CLIENT]
    assert len(clients) == len(on.calls())
    for span in clients:
        assert _said(span).keys() >= HTTP
        assert _said(span)["http.request.method"] in {"GET", "POST"}
        assert (_said(span)["server.address"], _said(span)["server.port"]) == (live.hostname, live.port)
        assert _said(span)["http.response.status_code"] == 200
        assert "?" not in str(_said(span)["url.full"])

    known = _conventions()
    for span in found:
        assert {name for name in _said(span) if not name.startswith("tradovate.")} <= known, span.name
        resource = span.resource.attributes
        assert (resource["service.name"], resource["service.version"]) == ("tradovate-worker", VERSION)
        assert resource["service.instance.id"] == _replica(on).name
        assert resource["deployment.environment.name"] == "staging"


def _conventions() -> set[str]:
    """All attributes of the conventions that are not deprecated."""
    found = set[str]()
    for package in (stable, incubating):
        for module in iter_modules(package.__path__):
            path = f"{package.__path__[0]}/{module.name}.py"
            if not module.name.endswith("_attributes"):
                continue
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a module's own text
                text = file.read()
            deprecated = set(re.findall(r'^(\w+): Final = "[^"]+"\n"""\nDeprecated:', text, re.MULTILINE))
            names = vars(import_module(f"{package.__name__}.{module.name}"))
            found |= {value for name, value in names.items() if name.isupper() and name not in deprecated}
    return found


async def test_a_span_is_as_long_as_what_it_stands_for(stage: Stages, spans: InMemorySpanExporter) -> None:
    """A call that takes half a second has a span of half a second, for the flow as for the HTTP call; the time that an
    event waited before it is the ledger's, and taking the record and publishing the outcome have a length.
    """
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT=ON)
    on.fault("delay", "user/createevaluationusers", seconds=0.5)
    await on.replica()
    await on.rows("insert into hold (scope, reason) values ('pause:createEvaluationUsers', 'a test')")
    event = purchase(1)
    await on.buy(event)
    (accepted,) = await eventually(lambda: on.rows("select created_at from flow"))
    await eventually(lambda: _waited(on, accepted["created_at"]))
    await on.rows("update hold set cleared_at = now()")
    await on.outcome(event)
    found = await _spans(on, spans, {"process ", "publish ", "wait"})
    for name in ("createEvaluationUsers", "POST /live/v1/user/createevaluationusers"):
        assert _seconds(_named(found, name)) >= 0.5, name
    (call,) = await on.rows(
        "select extract(epoch from at - created_at)::float8 as waited from call, flow"
        " where operation = 'createEvaluationUsers'"
    )
    assert abs(_seconds(_named(found, "wait")) - call["waited"]) < 0.5
    assert _seconds(_named(found, "wait")) > 1
    assert _seconds(_named(found, "process ")) > 0
    assert _seconds(_named(found, "publish ")) > 0


async def _waited(on: Stage, accepted: object) -> bool:
    (row,) = await on.rows("select clock_timestamp() - $1::timestamptz > interval '1 s' as long", accepted)
    return bool(row["long"])


async def test_a_batch_is_one_call_with_links_to_its_flows(stage: Stages, spans: InMemorySpanExporter) -> None:
    """An HTTP call links to every event that it carried, and each event to the call."""
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT=ON)
    await on.replica()
    async with on.gathered("createEvaluationUsers"):
        await on.buy(*(purchase(number) for number in range(5)))
    await on.all_ended()
    found = await _spans(on, spans, {"POST /live/v1/user/createevaluationusers", "createEvaluationUsers"})
    call = _named(found, "POST /live/v1/user/createevaluationusers")
    flows = [span for span in found if span.name == "createEvaluationUsers"]
    assert len(flows) == len(call.links) == _said(call)["tradovate.items"] == 5
    assert {link.context.trace_id for link in call.links} == {span.context.trace_id for span in flows if span.context}
    for span in flows:
        assert [link.context for link in span.links] == [call.context]


async def test_a_call_that_fails_says_what_broke_it(stage: Stages, spans: InMemorySpanExporter) -> None:
    """A 5xx, a dropped connection and a dead letter are failed spans with their kind of error; the look-up that finds
    out what became of a call is in the event's trace too.
    """
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT=ON)
    on.fault("status_before", "user/createevaluationusers", status=503, times=1)
    on.fault("cut_after", "user/createevaluationaccounts", times=1)
    await on.replica()
    event = purchase(1)
    await on.buy(event, {**purchase(2), "orderId": 7})
    await on.all_ended()
    found = await _spans(on, spans, {"look up createEvaluationUsers", "look up createEvaluationAccounts"})
    errors = {
        (span.name.split("/")[-1], _said(span).get("http.response.status_code"), _said(span)["error.type"])
        for span in found
        if span.kind is SpanKind.CLIENT and span.status.status_code is StatusCode.ERROR
    }
    assert ("createevaluationusers", 503, "503") in errors
    assert any(
        name == "createevaluationaccounts" and status is None and str(kind).endswith("Error")
        for name, status, kind in errors
    ), errors
    (bad,) = [span for span in found if span.name.startswith("process ") and "error.type" in _said(span)]
    assert _said(bad)["error.type"] == "wrong_type"


async def test_no_span_shows_personal_data(stage: Stages, spans: InMemorySpanExporter) -> None:
    """No attribute of a span, not even of a look-up, holds a name, an e-mail, or an id of the shop's."""
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT=ON)
    on.fault("cut_after", "user/createevaluationusers", times=1)
    await on.replica()
    event = purchase(7)
    await on.buy(event)
    await on.outcome(event)
    found = await _spans(on, spans, {"publish ", "look up createEvaluationUsers"})
    text = " ".join(str(value) for span in found for value in (span.name, *_said(span).values()))
    for value in (*event["user"].values(), event["traderId"], event["orderId"]):
        assert str(value) not in text


def test_tracing_that_is_off_hands_contexts_through() -> None:
    """Without an endpoint the event's own context goes to the outcome, and no span is made."""
    off = Tracing()
    context = {"traceparent": PARENT}
    assert not off.on
    with off.intake() as trace:
        assert trace("trader.purchased", 0, 0, context) is context
        assert trace("trader.purchased", 0, 0, None) is None


def test_a_call_after_the_end_of_a_send_is_not_linked_to_it(spans: InMemorySpanExporter) -> None:
    """A renewal that a task makes later, which was begun within a call, does not look like that call's."""
    on = Tracing(ON)

    async def renewal(ended: asyncio.Event) -> None:
        await ended.wait()
        on.http("GET", "https://live.example.com/v1/auth/renewaccesstoken", 0.1, 200, None)

    async def main() -> None:
        ended = asyncio.Event()
        flow = Traced({"traceparent": PARENT}, "flow", "trader.purchased", timedelta(seconds=3))
        with on.calling("createEvaluationUsers", "send", [flow]) as calling:
            later = asyncio.create_task(renewal(ended))
            on.http("POST", "https://live.example.com/v1/user/createevaluationusers", 0.1, 200, None)
            calling.result = "answer"
        ended.set()
        await later
        assert on.spans is not None
        await asyncio.to_thread(on.spans.flush)

    asyncio.run(main())
    found = spans.get_finished_spans()
    assert len(_named(found, "POST ").links) == 1
    assert len(_named(found, "GET ").links) == 0
    assert 2.9 < _seconds(_named(found, "wait")) < 3.1


async def test_an_exporter_that_is_away_slows_nothing(stage: Stages) -> None:
    """With nobody at the endpoint purchases end as they do without tracing, and the worker stops in time."""
    on = await stage(OTEL_EXPORTER_OTLP_ENDPOINT=ON)
    here = await on.replica()
    await on.buy(*(purchase(number) for number in range(50)))
    outcomes = await on.all_ended(timeout=10)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    async with asyncio.timeout(25):
        await here.stop()
