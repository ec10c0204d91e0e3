"""Two bridges, and everything that can go wrong one after the other while traders sign: one md.signed a signature."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

import pytest

from tests.support.bridges import TAKES_OVER_WITHIN, BridgeProcess, BridgeStage
from tests.support.kafka import KafkaServer
from tests.support.waiting import eventually, let_time_pass
from worker.embedded import EmbeddedPostgres
from worker.sandbox import SandboxConfig

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(400)]

RHYTHM = 0.2
"""Seconds between two moments in which traders sign."""


@pytest.fixture
async def stage(own_kafka: KafkaServer, own_postgres: EmbeddedPostgres) -> AsyncIterator[BridgeStage]:
    """Broker and ledger of the test's own, and a partner of whom some alerts cannot be read."""
    config = SandboxConfig(
        signal_entity="list", stray_alerts=1, noise_alerts=1, signal_repeats=1, signal_updates=True, api_hosts="moved"
    )
    stage = BridgeStage(own_kafka.bootstrap_servers, own_postgres.create_database("ledger", "migrated"), config)
    await stage.up()
    yield stage
    await stage.down()


class Signers:
    """Traders who sign all the time."""

    def __init__(self, stage: BridgeStage) -> None:
        self._stage = stage
        self._task = asyncio.create_task(self._run())
        self.signed: list[int] = []

    async def _run(self) -> None:
        while True:
            self.signed += self._stage.sign(*self._stage.users(1 + len(self.signed) % 3))
            await let_time_pass(RHYTHM)

    def stop(self) -> None:
        """They have all signed."""
        self._task.cancel()


async def leading(bridges: list[BridgeProcess]) -> BridgeProcess:
    """The one that works, once one does."""

    async def found() -> BridgeProcess | None:
        for bridge in bridges:
            if bridge.returncode is None and await bridge.is_leader():
                return bridge
        return None

    found_one = await eventually(found, 40)
    assert found_one is not None
    return found_one


async def test_whatever_happens_each_signature_is_there_once(
    stage: BridgeStage, own_kafka: KafkaServer, own_postgres: EmbeddedPostgres
) -> None:
    """Moves, a killed and a frozen leader, PostgreSQL down, Kafka frozen, cut sockets, ended tokens: nothing is lost;
    what a dead bridge had published and not noted comes again as the same event, and nothing else comes twice.
    """
    leader = await stage.leader()
    bridges = [leader, await stage.standby()]
    signers = Signers(stage)
    wrong = stage.partner.sandbox.core.calls.wrong_host

    await let_time_pass(1)
    stage.partner.move()
    await let_time_pass(1)
    await eventually(leader.is_leader, 20)
    assert wrong["demo"] <= 3

    leader.kill()
    killed_at = list(signers.signed)
    await stage.bridged(killed_at, TAKES_OVER_WITHIN + 5)
    bridges.append(await stage.standby())
    leader = await leading(bridges)

    await asyncio.to_thread(own_postgres.down)
    await let_time_pass(4)
    stage.drop()
    await asyncio.to_thread(own_postgres.up)
    leader = await leading(bridges)

    own_kafka.freeze()
    await let_time_pass(6)
    own_kafka.thaw()
    leader = await leading(bridges)

    stage.partner.sandbox.control.expire_tokens()
    stage.partner.move(keep_sockets=True)
    stage.drop("live")
    stage.drop("demo")
    leader = await leading(bridges)

    leader.freeze()
    await let_time_pass(10)
    leader.thaw()
    await leading(bridges)

    signers.stop()
    await stage.bridged(signers.signed, 60)
    await stage.noted(signers.signed)
    bodies = defaultdict(list)
    for body in stage.published():
        bodies[body["signalId"]].append(body)
    assert bodies.keys() == set(signers.signed)
    assert all(each == known[0] for known in bodies.values() for each in known)
    twice = [signal_id for signal_id, known in bodies.items() if len(known) > 1]
    assert set(twice) <= set(killed_at[-30:]), f"{len(twice)} of {len(bodies)} came twice"
    sessions = stage.partner.sandbox.core.sessions
    assert sessions.most_at_once <= 2
    assert stage.sessions["logins"] <= 2
    assert wrong["demo"] <= 6
    assert stage.sockets["over_quota"] == 0
    extra = await stage.rows("select count(*) as made from call where operation like 'adminAlertSignal/deps@%'")
    assert extra[0]["made"] <= 1
