"""What the bridge fetches: once for each connect, from the domain that holds the signals, and why it cannot."""

from __future__ import annotations

import pytest

from tests.integration.bridge.test_sockets import reconnects
from tests.support.bridges import BridgeStage
from tests.support.waiting import eventually
from worker.bridge.bridge_health import BridgeHealth
from worker.partner.socket_actions import EndReason


@pytest.mark.parametrize("rest", ["live", "demo"])
@pytest.mark.parametrize("dropped", ["live", "demo", None])
async def test_what_was_raised_while_nobody_listened_is_fetched(
    stage: BridgeStage, rest: str, dropped: str | None
) -> None:
    """Whichever domain holds the signals and whichever socket comes back, the first fetch of it brings them."""
    stage.switch(signal_sockets="none", signals_rest=rest)
    bridge = await stage.bridge()
    signed = stage.sign(*stage.users(3))
    stage.drop(dropped)
    await stage.bridged(signed)
    await stage.works(bridge)
    assert set(stage.times().values()) == {1}


async def test_each_connect_fetches_once_and_nothing_is_fetched_in_between(stage: BridgeStage) -> None:
    """As many fetches as connections, dropped alone or together; and a week is not published again."""
    signed = stage.sign(*stage.users(5))
    bridge = await stage.bridge()
    await stage.bridged(signed)
    for domain in ("demo", "live", None, "demo"):
        opened = stage.sockets["authorized"]
        stage.drop(domain)
        await eventually(lambda before=opened, many=1 if domain else 2: stage.sockets["authorized"] >= before + many)  # type: ignore[misc]
        await stage.works(bridge)
    assert stage.count("/adminalertsignal/deps") <= stage.sockets["authorized"]
    assert set(stage.times().values()) == {1}
    assert stage.sessions["logins"] == 1


@pytest.mark.parametrize("status", [401, 404, 500])
@pytest.mark.parametrize(("closed", "open_"), [("live", "demo"), ("demo", "live")])
async def test_a_domain_that_serves_no_signals_hides_none(
    stage: BridgeStage, status: int, closed: str, open_: str
) -> None:
    """What one domain knows is published at once though the other answers with errors, which soon is let be."""
    stage.switch(signal_sockets="none", signals_rest=open_)
    stage.partner.sandbox.core.faults.add(
        {"action": "status_before", "operation": "adminAlertSignal/deps", "domain": closed, "status": status}
    )
    signed = stage.sign(*stage.users(2))
    bridge = await stage.bridge()
    await stage.bridged(signed)
    assert set(stage.times().values()) == {1}
    assert stage.count("/adminalertsignal/deps") <= {404: 3, 401: 3, 500: 4}[status]
    assert bridge.tasks is not None
    assert stage.sessions["logins"] == 1


async def test_a_burst_beyond_the_room_closes_the_sockets_and_loses_nothing(stage: BridgeStage) -> None:
    """What finds no room is not kept in memory: the sockets are closed, and the fetch brings it."""
    bridge = await stage.bridge(room=10)
    signed = stage.sign(*stage.users(300))
    await stage.bridged(signed, 30)
    assert set(stage.times().values()) == {1}
    assert reconnects(bridge, EndReason.FULL) >= 1


@pytest.mark.parametrize(("status", "named"), [(500, "unclear"), (401, "unauthorized"), (404, "not_executed")])
async def test_health_says_why_nothing_can_be_fetched(stage: BridgeStage, status: int, named: str) -> None:
    """While no domain returns its signals the bridge is not ready, and names the response; then it catches up."""
    for operation in ("adminAlertSignal/deps", "adminAlert/find"):
        stage.partner.sandbox.core.faults.add({"action": "status_before", "operation": operation, "status": status})
    signed = stage.sign(*stage.users(2))
    bridge = stage.begin()

    async def says_why() -> bool:
        assert bridge.served is not None
        checks = await BridgeHealth(bridge).ready()
        return named in str(checks["socket_live"])

    await eventually(lambda: bridge.served)
    await eventually(says_why)
    stage.partner.sandbox.core.faults.clear()
    await stage.bridged(signed, 30)
    await stage.works(bridge)
