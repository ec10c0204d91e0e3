"""A bridge that is asked to stop ends within 25 s with 0, whatever hangs (README, "What happens when")."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.bridges import BridgeProcess, BridgeStage
from tests.support.kafka import KafkaServer
from tests.support.processes import ROOT, frozen
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres

WITHIN = 25.0

pytestmark = [pytest.mark.crash, pytest.mark.timeout(150)]


@pytest.fixture
async def stage(own_kafka: KafkaServer, own_postgres: EmbeddedPostgres) -> AsyncIterator[BridgeStage]:
    """A stage whose broker and ledger may be frozen, with the time limit for a call that a user has."""
    stage = BridgeStage(own_kafka.bootstrap_servers, own_postgres.create_database("ledger", "migrated"))
    await stage.up()
    stage.env["TRADOVATE_TIMEOUT_SECONDS"] = "60"
    yield stage
    await stage.down()


@contextmanager
def kafka_frozen(kafka: KafkaServer) -> Iterator[None]:
    """The broker holds its connections and answers nothing."""
    kafka.freeze()
    try:
        yield
    finally:
        kafka.thaw()


async def stops(bridge: BridgeProcess) -> None:
    """Asks it to stop, and waits for its end."""
    began = time.monotonic()
    bridge.terminate()
    await eventually(lambda: bridge.returncode is not None, WITHIN + 10)
    assert bridge.returncode == 0, bridge.stderr[-3000:]
    assert time.monotonic() - began < WITHIN


@pytest.mark.parametrize("hangs", ["database", "kafka", "both"])
async def test_a_leader_stops_while_what_it_works_with_hangs(
    stage: BridgeStage, own_kafka: KafkaServer, hangs: str
) -> None:
    """With signals in its hands and open sockets; what it had not published is there when another one starts."""
    bridge = await stage.leader()
    with ExitStack() as hanging:
        if hangs != "kafka":
            hanging.enter_context(frozen(stage.database_url))
        if hangs != "database":
            hanging.enter_context(kafka_frozen(own_kafka))
        signed = stage.sign(*stage.users(3))
        await stops(bridge)
    await stage.leader()
    await stage.bridged(signed)
    assert len({(body["eventId"], body["userId"]) for body in stage.published()}) == 3


@pytest.mark.parametrize("hangs", ["database", "kafka"])
async def test_a_bridge_stops_that_was_waiting_to_start(stage: BridgeStage, own_kafka: KafkaServer, hangs: str) -> None:
    """Started while PostgreSQL or Kafka stands still, it waits, and obeys SIGTERM."""
    with frozen(stage.database_url) if hangs == "database" else kafka_frozen(own_kafka):
        bridge = stage.process()
        await eventually(lambda: bridge.logged("bridge.http"), 30)
        await stops(bridge)


@pytest.mark.parametrize("operation", ["/auth/accesstokenrequest", "/authorize", "/adminalertsignal/deps"])
async def test_a_leader_stops_while_the_partner_does_not_answer(stage: BridgeStage, operation: str) -> None:
    """A login, a socket, a fetch that is never answered does not keep it."""
    stage.partner.sandbox.core.faults.add({"action": "hang", "operation": operation})
    bridge = stage.process()
    await eventually(lambda: stage.count(operation), 30)
    await stops(bridge)


@pytest.mark.parametrize("code", [0, 130])
def test_a_thread_that_nothing_can_end_does_not_keep_the_process(code: int) -> None:
    """The last resort ends the process with the code of a stop."""
    program = f"""
import asyncio, threading
from worker.process.exit_deadline import exit_at_the_latest
async def main():
    exit_at_the_latest({code}, 0.3)
    await asyncio.to_thread(threading.Event().wait)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=30, check=False, capture_output=True)
    assert done.returncode == code
    assert b"run.stop_incomplete" in done.stdout
