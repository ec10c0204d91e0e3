"""Changes of risk statuses when a bridge dies, another takes over, and Kafka stands still: each is there, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from tests.support.bridges import TAKES_OVER_WITHIN, BridgeStage
from tests.support.kafka import KafkaServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.crash, pytest.mark.timeout(200)]

TOPIC = "account.risk_status"


@pytest.fixture
async def stage(own_kafka: KafkaServer, ledger_url: str) -> AsyncIterator[BridgeStage]:
    """A broker of the test's own, and bridges that publish risk statuses."""
    stage = BridgeStage(own_kafka.bootstrap_servers, ledger_url)
    await stage.up()
    stage.env["BRIDGE_RISK_STATUS"] = "on"
    yield stage
    await stage.down()


def counters(stage: BridgeStage) -> list[int]:
    """What the changes of the one account say, each event once, in the order of the topic."""
    bodies: dict[str, Any] = {}
    for body in stage.published(TOPIC):
        assert bodies.setdefault(body["eventId"], body) == body, "one event id with two contents"
    changes = list(bodies.values())
    for one, next_one in pairwise(changes):
        assert one["now"] == next_one["before"], "a change is missing, or out of order"
    return [change["now"]["autoLiqCounter"] for change in changes]


def versions(stage: BridgeStage) -> list[str]:
    """The numbers of the changes, repeats too."""
    return [body["eventId"].split("-")[2] for body in stage.published(TOPIC)]


async def test_a_killed_leader_and_a_frozen_broker_lose_and_double_nothing(
    stage: BridgeStage, own_kafka: KafkaServer
) -> None:
    """Killed between publishing and recording: the same event again from the standby, then what changed meanwhile; and
    what changes while Kafka stands still follows in its order.
    """
    [account] = stage.accounts(1)
    leader = await stage.leader("after_risk_publish:1")
    standby = await stage.standby()

    async def starting_point() -> bool:
        return len(await stage.rows("select 1 from risk_status")) == 4

    await eventually(starting_point, 20)
    stage.risk("auto_liq", account)
    await eventually(lambda: leader.returncode is not None, 20)
    stage.risk("auto_liq", account)  # nobody is connected
    await eventually(lambda: counters(stage) == [1, 2], TAKES_OVER_WITHIN + 10)
    assert versions(stage) == ["1", "1", "2"]
    await eventually(standby.is_leader, 20)

    own_kafka.freeze()
    for _ in range(3):
        stage.risk("auto_liq", account)
    signed = stage.sign(*stage.users(1))

    async def recorded() -> bool:
        return len(await stage.rows("select 1 from risk_change")) == 3

    await eventually(recorded, 20)
    own_kafka.thaw()
    await eventually(lambda: counters(stage) == [1, 2, 3, 4, 5], 40)
    await stage.bridged(signed, 40)

    async def none_left() -> bool:
        return not await stage.rows("select 1 from risk_change")

    await eventually(none_left, 20)
    assert stage.sockets["over_quota"] == 0
