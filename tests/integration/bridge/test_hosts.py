"""The bridge follows the organization to another host: few handshakes at a wrong one, and no signature is missing."""

from __future__ import annotations

import pytest

from tests.support.bridges import BridgeStage
from tests.support.waiting import eventually, let_time_pass
from worker.bridge.bridge import Bridge
from worker.embedded import EmbeddedKafka
from worker.ledger import holds
from worker.ledger.database import Database
from worker.replies import Domain
from worker.sandbox import SandboxConfig

pytestmark = pytest.mark.timeout(120)


def wrong(stage: BridgeStage, domain: str = "demo") -> int:
    """Calls and handshakes of a domain that came to a host which it has left."""
    return int(stage.partner.sandbox.core.calls.wrong_host[domain])


def urls(bridge: Bridge) -> dict[Domain, str]:
    """Where the sockets of a bridge are connected."""
    lines = bridge.tasks.lines if bridge.tasks is not None else ()
    return {line.domain: line.url or "" for line in lines if line.is_listening}


async def at(bridge: Bridge, stage: BridgeStage) -> None:
    """Waits until both sockets listen where the partner is now, and all is caught up."""
    there = {
        Domain.LIVE: stage.partner.live_url.replace("http", "ws") + "/websocket",
        Domain.DEMO: stage.partner.demo_url.replace("http", "ws") + "/websocket",
    }

    def arrived() -> bool:
        assert urls(bridge) == there
        return True

    await eventually(arrived, 30)
    await stage.works(bridge)


@pytest.mark.parametrize("api_hosts", ["always", "moved"])
@pytest.mark.parametrize("answer", ["redirect", "404", "421"])
async def test_a_move_is_followed_by_one_renewal(stage: BridgeStage, api_hosts: str, answer: str) -> None:
    """The handshake is refused with 421, one renewal returns the host, and the socket is there: no login, no loss."""
    stage.switch(api_hosts=api_hosts, wrong_host=answer)
    bridge = await stage.bridge()
    renewals = stage.sessions["renewals"]
    stage.partner.move()
    signed = stage.sign(*stage.users(3))
    await at(bridge, stage)
    signed += stage.sign(*stage.users(3))
    await stage.bridged(signed)
    assert set(stage.times().values()) == {1}
    assert wrong(stage) <= 2
    assert stage.sessions["renewals"] == renewals + 1
    assert stage.sessions["logins"] == 1


async def test_a_move_of_live_is_followed(stage: BridgeStage) -> None:
    """The renewal itself goes to the host that LIVE has left, and finds the right one by its redirect."""
    bridge = await stage.bridge()
    stage.partner.move("live")
    signed = stage.sign(*stage.users(3))
    await at(bridge, stage)
    await stage.bridged(signed)
    assert set(stage.times().values()) == {1}
    assert wrong(stage, "live") <= 4
    assert stage.sessions["logins"] == 1


async def test_a_host_that_is_gone_is_left(stage: BridgeStage) -> None:
    """The old host answers nothing at all any more: a renewal says where the domain is."""
    bridge = await stage.bridge()
    stage.partner.move()
    await at(bridge, stage)
    first = stage.partner.sandbox.places.ports["demo"]
    stage.partner.move()
    stage.partner.close_port(first)
    signed = stage.sign(*stage.users(2))
    await at(bridge, stage)
    await stage.bridged(signed)
    assert set(stage.times().values()) == {1}


async def test_a_socket_that_stays_open_at_the_old_host_is_left(embedded_kafka: EmbeddedKafka, ledger_url: str) -> None:
    """It beats and brings nothing: the bridge leaves it as soon as a renewal names another host."""
    config = SandboxConfig(token_seconds=8)  # renewed after four seconds
    stage = await BridgeStage(embedded_kafka.bootstrap_servers, ledger_url, config, embedded_kafka).up()
    try:
        bridge = await stage.bridge()
        before = urls(bridge)
        stage.switch(signal_sockets="demo", signals_rest="demo")
        stage.partner.move(keep_sockets=True)
        signed = stage.sign(*stage.users(2))
        await at(bridge, stage)
        assert urls(bridge)[Domain.DEMO] != before[Domain.DEMO]
        assert urls(bridge)[Domain.LIVE] == before[Domain.LIVE]
        await stage.bridged(signed)
        assert set(stage.times().values()) == {1}
        assert stage.sockets["opened_live"] == 1
        assert wrong(stage) <= 1
    finally:
        await stage.down()


async def test_a_redirect_of_http_is_followed_where_renewals_name_no_host(stage: BridgeStage) -> None:
    """421 says nothing of the new host: one small read is asked for its redirect, also where no worker runs."""
    stage.switch(api_hosts="never", wrong_host="redirect")
    bridge = await stage.bridge()
    stage.partner.move()
    signed = stage.sign(*stage.users(2))
    await at(bridge, stage)
    await stage.bridged(signed)
    assert set(stage.times().values()) == {1}
    assert wrong(stage) <= 5


async def test_a_wrong_host_that_nothing_leads_away_from_is_tried_seldom(stage: BridgeStage) -> None:
    """Neither renewal nor redirect says where the domain is: few handshakes, and LIVE goes on."""
    stage.switch(api_hosts="never", wrong_host="421")
    bridge = await stage.bridge()
    renewals = stage.sessions["renewals"]
    stage.partner.move()
    await eventually(lambda: wrong(stage) >= 3, 20)
    await let_time_pass(5)
    assert wrong(stage) <= 4
    assert stage.sessions["renewals"] <= renewals + 2
    assert bridge.tasks is not None
    (trouble,) = [line.trouble for line in bridge.tasks.lines if line.domain is Domain.DEMO]
    assert "wrong_host (HTTP 421)" in str(trouble)
    signed = stage.sign(*stage.users(2))
    await stage.bridged(signed)


async def test_a_bridge_that_starts_after_a_move_knows_the_host(stage: BridgeStage) -> None:
    """The host is in the ledger: no handshake at the old one, for a bridge that starts or takes over."""
    first = await stage.bridge(name="first")
    stage.partner.move()
    await at(first, stage)
    before = wrong(stage)
    first.stopping.set()
    second = stage.begin(name="second")
    await stage.works(second)
    await at(second, stage)
    assert wrong(stage) == before
    await stage.bridged(stage.sign(*stage.users(2)))


async def paused_renewals(stage: BridgeStage) -> None:
    """An operator stops all renewals."""
    database = Database(stage.database_url)
    async with database.transaction() as connection:
        await holds.pause(connection, "renewAccessToken", "a look")
    await database.close()


async def test_while_renewals_are_paused_a_redirect_leads_to_the_right_host(stage: BridgeStage) -> None:
    """No renewal can fetch the hosts: the redirect of one small read is followed, and no renewal is made."""
    stage.switch(wrong_host="redirect")
    bridge = await stage.bridge()
    await paused_renewals(stage)
    stage.partner.move()
    signed = stage.sign(*stage.users(2))
    await at(bridge, stage)
    await stage.bridged(signed)
    assert set(stage.times().values()) == {1}
    assert wrong(stage) <= 3
    assert (stage.sessions["renewals"], stage.sessions["logins"]) == (0, 1)


@pytest.mark.parametrize("answer", ["404", "421"])
async def test_while_renewals_are_paused_a_wrong_host_is_tried_seldom(stage: BridgeStage, answer: str) -> None:
    """Neither a renewal nor a redirect can say where the domain is: few handshakes and reads, and LIVE goes on."""
    stage.switch(wrong_host=answer, signal_sockets="live", signals_rest="live")
    bridge = await stage.bridge()
    await paused_renewals(stage)
    stage.partner.move()
    await eventually(lambda: wrong(stage) >= 3, 20)
    await let_time_pass(4)
    assert wrong(stage) <= 4
    assert (stage.sessions["renewals"], stage.sessions["logins"]) == (0, 1)
    assert urls(bridge).keys() == {Domain.LIVE}
    await stage.bridged(stage.sign(*stage.users(2)))


async def test_the_addresses_of_the_settings_stay_where_hosts_are_not_followed(stage: BridgeStage) -> None:
    """With TRADOVATE_FOLLOW_HOSTS=off the bridge connects where its settings say, whatever a renewal returns."""
    stage.env["TRADOVATE_FOLLOW_HOSTS"] = "off"
    bridge = await stage.bridge()
    before = urls(bridge)
    moved = stage.partner.move()
    await eventually(lambda: wrong(stage) >= 2, 20)
    assert all(f":{moved}/" not in (line.url or "") for line in bridge.tasks.lines) if bridge.tasks else False
    assert before[Domain.LIVE] == urls(bridge)[Domain.LIVE]
