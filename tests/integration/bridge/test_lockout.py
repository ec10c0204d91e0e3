"""A 423 or 429 that the bridge receives while PostgreSQL is away: nobody calls until the lock-out ends."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.bridges import BridgeStage
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres

pytestmark = pytest.mark.timeout(120)

LASTS = 8.0


@pytest.fixture
def stage(fragile_stage: BridgeStage) -> BridgeStage:
    """With lock-outs of eight seconds."""
    fragile_stage.env["TRADOVATE_LOCKOUT_SECONDS"] = str(LASTS)
    return fragile_stage


def calls(stage: BridgeStage) -> int:
    """Calls of every kind that have reached the partner."""
    return int(stage.partner.sandbox.core.calls.total)


@pytest.mark.parametrize("status", [423, 429])
async def test_a_lock_out_on_a_socket_is_remembered(
    stage: BridgeStage, own_postgres: EmbeddedPostgres, status: int
) -> None:
    """It names no request, and the ledger is away: when it is back it has the hold, and no call comes too early."""
    await stage.bridge()
    await asyncio.to_thread(own_postgres.down)
    began, before = time.monotonic(), calls(stage)
    for connection in list(stage.partner.sandbox.core.hub.connections.values()):
        connection.push(f'a[{{"s":{status},"i":"request_id"}}]')
    signed = stage.sign(*stage.users(2))
    await eventually(lambda: not stage.partner.sandbox.core.hub.connections)
    await asyncio.to_thread(own_postgres.up)
    await eventually(lambda: stage.rows("select 1 from hold where scope = 'all' and until > now() + interval '1 s'"))
    await eventually(lambda: calls(stage) > before, 40)
    assert time.monotonic() - began > LASTS - 0.5
    await stage.bridged(signed, 30)
    assert set(stage.times().values()) == {1}


@pytest.mark.parametrize("operation", ["/authorize", "/adminalertsignal/deps"])
async def test_a_lock_out_that_answers_a_request_is_remembered(
    stage: BridgeStage, own_postgres: EmbeddedPostgres, operation: str
) -> None:
    """The ledger goes away between the request and its answer."""
    faults = stage.partner.sandbox.core.faults
    for rule in ({"action": "delay", "seconds": 1.5}, {"action": "status_before", "status": 429}):
        faults.add({**rule, "operation": operation, "times": 1})
    signed = stage.sign(*stage.users(2))
    stage.begin()
    await eventually(lambda: stage.count(operation) >= 1, 20)
    await asyncio.to_thread(own_postgres.down)
    await eventually(lambda: not stage.partner.sandbox.core.calls.in_flight)
    began, before = time.monotonic(), calls(stage)
    await asyncio.to_thread(own_postgres.up)
    await eventually(lambda: calls(stage) > before, 40)
    assert time.monotonic() - began > LASTS - 0.5
    await stage.bridged(signed, 30)
    assert set(stage.times().values()) == {1}
