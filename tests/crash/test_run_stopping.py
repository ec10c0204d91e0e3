"""A worker that is asked to stop ends within 25 s with 0, whatever hangs (README, "What happens when")."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, closing

import httpx
import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.kafka import KafkaServer
from tests.support.replicas import ReplicaProcess
from tests.support.spine import Stages
from tests.support.tcp import silence
from tests.support.waiting import eventually

WITHIN = 25.0

SOON = 12.0
"""Seconds for a stop that waits for nothing: three at most on a machine that has nothing else to do."""

TOKEN = "a token of the tests"

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]


async def stops(replica: ReplicaProcess, within: float = WITHIN) -> None:
    """Asks it to stop, and waits for its end."""
    began = time.monotonic()
    replica.terminate()
    assert await replica.ended(WITHIN + 10) == 0
    assert time.monotonic() - began < within, replica.stdout[-3000:]


async def test_a_trace_collector_that_never_answers_is_not_waited_for(real_stage: Stages) -> None:
    """Spans that nobody takes are dropped: neither the stop nor the end of the process waits for them."""
    async with silence() as port:
        on = await real_stage(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
        replica = on.process()
        await replica.ready()
        await on.buy(purchase(1))
        await on.all_ended()
        await stops(replica, SOON)
        assert replica.logged("tracing.spans_dropped")
        assert replica.logged("run.stopped")


async def test_a_broker_that_hangs_holds_up_no_stop(restartable_stage: Stages, own_kafka: KafkaServer) -> None:
    """The broker holds its connections and answers nothing; what was on its way is done by the next replica."""
    on = await restartable_stage()
    replica = on.process()
    await replica.ready()
    await on.buy(purchase(1))
    own_kafka.freeze()
    try:
        await stops(replica)
    finally:
        own_kafka.thaw()
    on.process()
    await on.all_ended()
    await oracle.holds_all(on)


async def test_open_pages_hold_up_no_stop(real_stage: Stages) -> None:
    """A browser that listens to the console's events, and clients that never end their requests, are left."""
    on = await real_stage(CONSOLE_TOKEN=TOKEN)
    replica = on.process()
    await replica.ready()
    assert replica.address is not None
    host, _, port = replica.address.removeprefix("http://").partition(":")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with ExitStack() as open_:
        for text in (b"", b"GET /health/ready HTTP/1.1\r\n", b"POST /sign-in HTTP/1.1\r\nContent-Length: 900\r\n\r\nx"):
            _, writer = await asyncio.open_connection(host, int(port))
            open_.enter_context(closing(writer))
            writer.write(text)
            await writer.drain()
        async with (
            httpx.AsyncClient(trust_env=False, timeout=60) as client,
            client.stream("GET", f"{replica.address}/events", headers=headers) as stream,
        ):
            assert stream.status_code == 200
            await anext(stream.aiter_text())
            await stops(replica, SOON)


async def test_a_thread_that_nothing_can_end_does_not_keep_the_process(real_stage: Stages) -> None:
    """As one that looks up a name may be: the process ends all the same, with 0, and nothing is lost."""
    on = await real_stage()
    replica = on.process("after_intake_commit:1:HANG")
    await replica.ready()
    await on.buy(purchase(1))
    await on.all_ended()
    await stops(replica)
    assert replica.logged("run.stopped")
    assert replica.logged("run.stop_incomplete")
    await oracle.holds_all(on)


async def test_a_worker_that_waits_to_start_stops(restartable_stage: Stages, own_kafka: KafkaServer) -> None:
    """Started while the broker hangs, or the database does not answer, it obeys SIGTERM."""
    on = await restartable_stage()
    async with silence() as port:
        unheard = on.process(DATABASE_URL=f"postgresql://postgres@127.0.0.1:{port}/ledger")
        await eventually(lambda: unheard.logged("run.http"), 30)
        await stops(unheard)
    own_kafka.freeze()
    try:
        waiting = on.process()
        await eventually(lambda: waiting.logged("run.database"), 30)
        await stops(waiting)
    finally:
        own_kafka.thaw()
