"""The whole story: a trader buys, signs at the partner's, and has the data - whatever happens to the bridges."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.bridges import TAKES_OVER_WITHIN, BridgeProcess
from tests.support.events import purchase
from tests.support.kafka import KafkaServer
from tests.support.spine import Stages
from tests.support.stage import Stage
from tests.support.waiting import eventually
from worker.kafka.admin import ensure_topics
from worker.kafka.topics import ADMIN_ALERT


class Bridges:
    """The bridges of a test, ended with it."""

    def __init__(self) -> None:
        self.all: list[BridgeProcess] = []

    async def leader(self, stage: Stage, crash: str = "") -> BridgeProcess:
        """Starts one, and waits until it works."""
        await ensure_topics(stage.settings(), [ADMIN_ALERT])
        bridge = self._start(stage, crash)
        await eventually(bridge.is_leader, 30)
        return bridge

    async def standby(self, stage: Stage) -> BridgeProcess:
        """Starts another, and waits until it stands by."""
        bridge = self._start(stage)
        await eventually(bridge.is_standby, 30)
        return bridge

    def _start(self, stage: Stage, crash: str = "") -> BridgeProcess:
        self.all.append(BridgeProcess(stage.env, crash))
        return self.all[-1]


@pytest.fixture
def bridges() -> Iterator[Bridges]:
    """Kills what still runs at the end."""
    bridges = Bridges()
    yield bridges
    for bridge in bridges.all:
        bridge.close()


async def bought(stage: Stage, count: int) -> list[int]:
    """Traders buy; the users that were made for them."""
    await stage.buy(*(purchase(number, contact=True) for number in range(count)))
    return [outcome["userId"] for outcome in await stage.all_ended(30)]


def signs(stage: Stage, users: list[int]) -> list[str]:
    """They sign; the ids of the events that will say so."""
    ids = stage.partner.sandbox.control.sign({"userIds": users})["signalIds"]
    return [f"mda-{signal_id}" for signal_id in ids]


async def entitled(stage: Stage, users: list[int], events: list[str], timeout: float) -> None:
    """Waits for the outcomes of the signatures; each user then has the entitlement once."""
    for event in events:
        outcome = await stage.outcome(event, timeout)
        assert (outcome["topic"], outcome["status"]) == ("md.signed", "succeeded"), outcome
    plugins = stage.partner.sandbox.core.world.plugins
    entitlement = stage.partner.sandbox.config.t_prop_entitlement_id
    assert {user: [plugin["entitlementId"] for plugin in plugins.of(user)] for user in users} == {
        user: [entitlement] for user in users
    }


@pytest.mark.kafka
async def test_a_trader_who_buys_and_signs_has_the_data(real_stage: Stages, bridges: Bridges) -> None:
    """Purchase, signature, entitlement: over Kafka all the way, with one session for all."""
    stage = await real_stage()
    await stage.replica()
    await bridges.leader(stage)
    await bridges.standby(stage)
    users = await bought(stage, 5)
    await entitled(stage, users, signs(stage, users), 20)
    assert stage.state["sessions"]["logins"] == 1
    assert stage.state["sockets"]["opened"] == 2


@pytest.mark.crash
@pytest.mark.parametrize("point", ["before_publish:1", "after_publish:1"])
async def test_a_bridge_killed_at_the_signature_costs_nobody_the_data(
    real_stage: Stages, bridges: Bridges, point: str
) -> None:
    """Whether it died before or after the record was on Kafka, the trader has the entitlement, once."""
    stage = await real_stage()
    await stage.replica()
    victim = await bridges.leader(stage, crash=point)
    await bridges.standby(stage)
    users = await bought(stage, 1)
    events = signs(stage, users)
    await eventually(lambda: victim.returncode is not None)
    await entitled(stage, users, events, TAKES_OVER_WITHIN + 5)


@pytest.mark.crash
async def test_signatures_without_any_bridge_are_caught_up(real_stage: Stages, bridges: Bridges) -> None:
    """Both bridges are killed, traders sign, a bridge starts: they have the data."""
    stage = await real_stage()
    await stage.replica()
    both = [await bridges.leader(stage), await bridges.standby(stage)]
    users = await bought(stage, 3)
    for bridge in both:
        bridge.kill()
    events = signs(stage, users)
    await bridges.leader(stage)
    await entitled(stage, users, events, 20)


@pytest.mark.slow
async def test_a_kafka_that_is_down_when_they_sign_delays_the_data_and_no_more(
    restartable_stage: Stages, own_kafka: KafkaServer, bridges: Bridges
) -> None:
    """The broker is stopped, they sign, the bridge has noticed, the broker comes back: they have the data."""
    stage = await restartable_stage()
    await stage.replica()
    bridge = await bridges.leader(stage)
    users = await bought(stage, 2)
    await asyncio.to_thread(own_kafka.stop)
    events = signs(stage, users)

    async def noticed() -> bool:
        return "Kafka" in str((await bridge.health()).get("checks", {}).get("kafka"))

    await eventually(noticed, 30)
    await asyncio.to_thread(own_kafka.start)
    await entitled(stage, users, events, 30)
