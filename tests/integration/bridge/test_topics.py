"""A topic that accepts nothing: health and log name it, no signature is lost, and the other topic goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.support.acls import Acls
from tests.support.bridges import BridgeStage
from tests.support.kafka import Broker, KafkaServer
from tests.support.waiting import eventually
from worker.bridge.bridge import Bridge
from worker.kafka.admin import ensure_topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

NOTICED_WITHIN = 30.0
"""Seconds (README, "Watch it")."""


@pytest.fixture
async def stage(kafka: Broker, ledger_url: str) -> AsyncIterator[BridgeStage]:
    """On the real broker."""
    stage = await BridgeStage(kafka.bootstrap_servers, ledger_url).up()
    yield stage
    await stage.down()


async def checks(bridge: Bridge) -> dict[str, str]:
    """What readiness says."""
    assert bridge.served is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{bridge.served.address}/health/ready")
    return json.loads(answer.text)["checks"]  # type: ignore[no-any-return]


async def admin(stage: BridgeStage) -> AIOKafkaAdminClient:
    """A client that may do everything."""
    client = AIOKafkaAdminClient(bootstrap_servers=stage.servers)
    await client.start()
    return client


async def deleted(stage: BridgeStage, topic: str) -> None:
    """Takes a topic off the broker."""
    client = await admin(stage)
    await client.delete_topics([stage.prefix + topic])
    await client.close()


@pytest.mark.parametrize(("gone", "other"), [("md.signed", "admin.alert"), ("admin.alert", "md.signed")])
async def test_a_deleted_topic_is_named_and_holds_up_no_other(stage: BridgeStage, gone: str, other: str) -> None:
    """Readiness fails within thirty seconds, even before a signal comes; when the topic is there again all is there."""
    bridge = await stage.bridge()
    await deleted(stage, gone)

    async def noticed() -> bool:
        said = await checks(bridge)
        assert said[other] == "ok"
        return said[gone].startswith(f"{gone}: ")

    await eventually(noticed, NOTICED_WITHIN)
    stage.switch(noise_alerts=1)
    signed = stage.sign(*stage.users(3))
    await eventually(lambda: len(stage.published(other)) == 3, 10)
    assert stage.published(gone) == []
    await ensure_topics(stage.settings, [gone])
    await eventually(lambda: len(stage.published(gone)) == 3, 90)
    await stage.bridged(signed)
    await stage.works(bridge)
    await stage.noted(signed)
    assert set(stage.times().values()) == {1}
    assert len(stage.published("admin.alert")) == 3
    await eventually(lambda: _ready(bridge), NOTICED_WITHIN)


async def _ready(bridge: Bridge) -> bool:
    return set((await checks(bridge)).values()) == {"ok"}


async def test_an_alert_that_its_topic_finds_too_large_goes_out_with_its_ids(stage: BridgeStage) -> None:
    """It holds up no other alert, and no signature."""
    client = await admin(stage)
    name = stage.prefix + "admin.alert"
    await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": 2_000})])
    await client.close()
    await stage.bridge()
    control, (user,) = stage.partner.sandbox.control, stage.users(1)
    large = control.alert({"userId": user, "text": "x" * 8_000})["signalId"]
    small = control.alert({"userId": user, "text": "small"})["signalId"]
    signed = stage.sign(user)
    await stage.bridged(signed)
    await eventually(lambda: len(stage.published("admin.alert")) == 2, 30)
    signals = {alert["signalId"]: alert["signal"] for alert in stage.published("admin.alert")}
    assert signals[large] is None
    assert signals[small]["text"] == "small"


@pytest.fixture
async def guarded_stage(own_kafka: KafkaServer, ledger_url: str) -> AsyncIterator[BridgeStage]:
    """On a broker that lets a signed-in user do what its ACLs allow."""
    stage = await BridgeStage(own_kafka.bootstrap_servers, ledger_url).up()
    acls = Acls(own_kafka)
    acls.all_of(stage.prefix)
    stage.env |= acls.settings
    yield stage
    await stage.down()


async def test_a_topic_that_the_bridge_may_not_write_to_is_named(
    guarded_stage: BridgeStage, own_kafka: KafkaServer
) -> None:
    """A right that is taken away is noticed before a signal comes; when it is given back all is published."""
    stage, acls = guarded_stage, Acls(own_kafka)
    bridge = await stage.bridge()
    acls.deny(stage.prefix + "md.signed", "WRITE")

    async def noticed() -> bool:
        return "may not write" in (await checks(bridge))["md.signed"]

    await eventually(noticed, NOTICED_WITHIN)
    stage.switch(noise_alerts=1)
    signed = stage.sign(*stage.users(3))
    await eventually(lambda: len(stage.published("admin.alert")) == 3, 20)
    assert stage.published() == []
    acls.restore(stage.prefix + "md.signed")
    await stage.bridged(signed, 60)
    assert set(stage.times().values()) == {1}
    await eventually(lambda: _ready(bridge), NOTICED_WITHIN)
