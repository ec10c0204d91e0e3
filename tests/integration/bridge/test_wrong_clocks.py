"""Bridges whose clocks are wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.bridges import TAKES_OVER_WITHIN, BridgeProcess, BridgeStage
from tests.support.kafka import Broker
from tests.support.waiting import eventually
from tests.support.wrong_clocks import WrongClock, WrongClocks, wrong_clocks

__all__ = ["wrong_clocks"]

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture
async def stage(kafka: Broker, ledger_url: str) -> AsyncIterator[BridgeStage]:
    """On the real broker."""
    stage = await BridgeStage(kafka.bootstrap_servers, ledger_url).up()
    yield stage
    await stage.down()


def with_clock(stage: BridgeStage, clock: WrongClock) -> BridgeProcess:
    """Starts a bridge whose clock is wrong."""
    stage.processes.append(BridgeProcess({**stage.env, **clock.env}))
    return stage.processes[-1]


@pytest.mark.crash
async def test_bridges_whose_clocks_are_wrong_work_and_take_over(stage: BridgeStage, wrong_clocks: WrongClocks) -> None:
    """One is two hours ahead, the other one behind, and clocks jump: one leads, each signature is there once."""
    ahead, behind = wrong_clocks(7_200), wrong_clocks(-7_200)
    leader = with_clock(stage, ahead)
    await eventually(leader.is_leader, 30)
    standby = with_clock(stage, behind)
    await eventually(standby.is_standby, 30)
    signed = stage.sign(*stage.users(3))
    await stage.bridged(signed)
    ahead.set(-86_400)
    behind.set(86_400)
    signed += stage.sign(*stage.users(3))
    await stage.bridged(signed)
    leader.kill()
    signed += stage.sign(*stage.users(3))
    await stage.bridged(signed, TAKES_OVER_WITHIN)
    await eventually(standby.is_leader)
    assert set(stage.times().values()) == {1}
    assert stage.sessions["logins"] == 1
    assert stage.sockets["opened"] == 4
