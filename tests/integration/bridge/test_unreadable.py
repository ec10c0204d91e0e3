"""Alerts that the bridge cannot read: one fetch in five minutes, and no signature is missing for them."""

from __future__ import annotations

import pytest

from tests.support.bridges import BridgeStage
from tests.support.waiting import eventually
from worker.bridge.bridge import Bridge

UNREADABLE = ("bad_id", "no_user", "null_entity", "unknown_wrapper", "unknown_type", "cut_frame")


def unreadable(bridge: Bridge) -> float:
    """How many alerts a bridge could not read."""
    count = bridge.metrics.shared.registry.get_sample_value(
        "tradovate_worker_bridge_signals_total", {"kind": "unreadable"}
    )
    return count or 0.0


def still_waiting(bridge: Bridge) -> int:
    """Alerts that no fetch covers yet."""
    return bridge.tasks.catch_up.missed.waiting if bridge.tasks is not None else -1


def fetches(stage: BridgeStage) -> int:
    """How often the partner was asked for signals."""
    return stage.count("/adminalertsignal/deps")


async def five_minutes_pass(stage: BridgeStage, bridge: Bridge) -> None:
    """The last fetch of this kind was five minutes ago, and the bridge looks again."""
    await stage.rows(
        "update call set at = at - interval '301 s', finished_at = finished_at - interval '301 s'"
        " where operation like 'adminAlertSignal/deps@%'"
    )
    assert bridge.tasks is not None
    catch_up = bridge.tasks.catch_up
    catch_up.clock = lambda clock=catch_up.clock: clock() + 301  # type: ignore[misc]
    catch_up.changed()


@pytest.mark.parametrize("form", UNREADABLE)
async def test_a_signature_that_cannot_be_read_is_fetched_once(stage: BridgeStage, form: str) -> None:
    """One fetch brings it, on the connections that go on; it is on md.signed once."""
    stage.switch(signal_form=form)
    bridge = await stage.bridge()
    before = fetches(stage)
    signed = stage.sign(*stage.users(3))
    await stage.bridged(signed)
    await eventually(lambda: not still_waiting(bridge))
    assert unreadable(bridge) >= 3
    assert fetches(stage) == before + 1
    assert set(stage.times().values()) == {1}
    assert stage.sockets["opened"] == 2
    assert stage.published("admin.alert") == []


async def test_a_good_signal_beside_an_unreadable_one_is_published_at_once(stage: BridgeStage) -> None:
    """Each item of a list is judged by itself: the good ones wait for no fetch, the other ones cause one."""
    stage.switch(signal_entity="list", stray_alerts=4, noise_alerts=1)
    bridge = await stage.bridge()
    assert bridge.tasks is not None
    bridge.tasks.catch_up.clock = lambda: 0.0  # no fetch as long as time stands still
    before = fetches(stage)
    signed = stage.sign(*stage.users(5))
    await stage.bridged(signed)
    await eventually(lambda: len(stage.published("admin.alert")) == 5)
    assert fetches(stage) == before
    assert unreadable(bridge) == 4 * 2  # on both sockets
    bridge.tasks.catch_up.clock = lambda: 2.0
    bridge.tasks.catch_up.changed()
    await eventually(lambda: not still_waiting(bridge))
    assert fetches(stage) == before + 1
    assert set(stage.times().values()) == {1}
    assert stage.sockets["opened"] == 2


async def test_a_flood_of_unreadable_alerts_costs_one_fetch_and_a_last_one(stage: BridgeStage) -> None:
    """Hundreds of them cause one fetch; the next one comes when five minutes have passed, and brings what came
    since.
    """
    bridge = await stage.bridge()
    before = fetches(stage)
    stage.switch(stray_alerts=200)
    first = stage.sign(*stage.users(1))
    await stage.bridged(first)
    await eventually(lambda: fetches(stage) == before + 1)
    stage.switch(signal_form="bad_id")
    for _ in range(5):
        stage.sign(*stage.users(1))
    later = stage.sign(*stage.users(1))
    await eventually(lambda: unreadable(bridge) >= 2 * 7 * 200)
    await eventually(lambda: still_waiting(bridge) > 0)
    assert fetches(stage) == before + 1
    assert later[0] not in stage.times()
    await five_minutes_pass(stage, bridge)
    await stage.bridged(later)
    await eventually(lambda: not still_waiting(bridge))
    assert fetches(stage) == before + 2
    assert set(stage.times().values()) == {1}


async def test_a_fetch_that_holds_unreadable_rows_is_not_made_again_for_them(stage: BridgeStage) -> None:
    """The good rows are published, the others are counted, and the bridge is content."""
    stage.switch(signal_sockets="none", unreadable_rows=5)
    signed = stage.sign(*stage.users(3))
    bridge = await stage.bridge()
    await stage.bridged(signed)
    assert unreadable(bridge) >= 5
    assert still_waiting(bridge) == 0
    assert fetches(stage) <= 2
    await stage.works(bridge)


async def test_two_bridges_share_the_five_minutes(stage: BridgeStage) -> None:
    """A bridge that takes over does not fetch again for an unreadable alert before five minutes have passed."""
    stage.switch(signal_form="bad_id")
    first = await stage.bridge(name="first")
    await stage.bridged(stage.sign(*stage.users(1)))
    await eventually(lambda: not still_waiting(first))
    first.stopping.set()
    second = stage.begin(name="second")
    await stage.works(second)
    before = fetches(stage)
    late = stage.sign(*stage.users(1))
    await eventually(lambda: still_waiting(second) > 0)
    assert second.tasks is not None
    catch_up = second.tasks.catch_up
    await eventually(lambda: catch_up._extra_at > catch_up.clock() + 200)
    assert fetches(stage) == before
    await five_minutes_pass(stage, second)
    await stage.bridged(late)
    assert fetches(stage) == before + 1
    assert set(stage.times().values()) == {1}


@pytest.mark.parametrize("silent", ["live", "demo"])
async def test_a_domain_that_says_nothing_is_asked_once_more_five_minutes_later(
    stage: BridgeStage, silent: str
) -> None:
    """It may not know alerts at all, and then that is enough; or it was starting, and held signals."""
    for operation in ("adminAlertSignal/deps", "adminAlert/find"):
        stage.partner.sandbox.core.faults.add(
            {"action": "status_before", "operation": operation, "domain": silent, "status": 404}
        )
    stage.switch(signal_sockets="none", signals_rest=silent)
    bridge = await stage.bridge()
    assert fetches(stage) == 2  # one for each connect
    assert stage.sessions["renewals"] == 0  # the sockets show that the hosts are right
    signed = stage.sign(*stage.users(2))
    await five_minutes_pass(stage, bridge)
    await eventually(lambda: fetches(stage) == 3)
    await eventually(lambda: not still_waiting(bridge))
    assert stage.published() == []
    stage.partner.sandbox.core.faults.clear()
    stage.drop()
    await stage.bridged(signed)


async def test_a_domain_that_was_starting_hides_no_signature(stage: BridgeStage) -> None:
    """Its first answer is an empty 404; five minutes later its signals are there."""
    for operation in ("adminAlertSignal/deps", "adminAlert/find"):
        stage.partner.sandbox.core.faults.add(
            {"action": "status_before", "operation": operation, "domain": "live", "status": 404}
        )
    stage.switch(signal_sockets="none")
    signed = stage.sign(*stage.users(2))
    bridge = await stage.bridge()
    stage.partner.sandbox.core.faults.clear()
    await five_minutes_pass(stage, bridge)
    await stage.bridged(signed)
    assert fetches(stage) == 3


async def test_as_long_as_the_holder_is_not_known_one_domain_is_asked_at_a_time(stage: BridgeStage) -> None:
    """In a week without a signature the first fetch asks one domain, the one five minutes later the other."""
    stage.switch(signal_form="bad_id", signals_rest="demo")
    bridge = await stage.bridge()
    before = fetches(stage)
    signed = stage.sign(*stage.users(1))
    await eventually(lambda: fetches(stage) == before + 1)
    assert bridge.tasks is not None
    assert still_waiting(bridge) > 0
    await five_minutes_pass(stage, bridge)
    await stage.bridged(signed)
    await eventually(lambda: not still_waiting(bridge))
    assert fetches(stage) == before + 2


async def test_a_correction_of_the_alert_id_publishes_the_agreements(stage: BridgeStage) -> None:
    """What went to admin.alert while TRADOVATE_MDA_ALERT_ID was wrong is on md.signed when it is right."""
    stage.env["TRADOVATE_MDA_ALERT_ID"] = "99"
    wrong = await stage.bridge(name="wrong")
    signed = stage.sign(*stage.users(2))
    await eventually(lambda: len(stage.published("admin.alert")) == 2)
    wrong.stopping.set()
    stage.env["TRADOVATE_MDA_ALERT_ID"] = "70"
    await stage.bridge(name="right")
    await stage.bridged(signed)
    assert set(stage.times().values()) == {1}
