"""One bridge against the simulated partner: whatever the sockets do, each signature is on md.signed once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.bridges import BridgeStage
from tests.support.waiting import eventually
from worker.bridge.bridge import Bridge
from worker.embedded import EmbeddedKafka, EmbeddedPostgres
from worker.ledger import holds
from worker.ledger.database import Database
from worker.partner.socket_actions import EndReason
from worker.partner.socket_protocol import SocketTiming
from worker.replies import Domain

QUICK = SocketTiming(beat=0.2, open_within=2, answer_within=2, silence=2, quick_silence=1)


def reconnects(bridge: Bridge, reason: EndReason) -> float:
    """How many connections of a bridge have ended for this reason."""
    registry = bridge.metrics.shared.registry
    name = "tradovate_worker_bridge_reconnects_total"
    return sum(registry.get_sample_value(name, {"domain": each, "reason": reason}) or 0.0 for each in Domain)


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"signal_sockets": "live", "signal_shape": "flat", "props_shape": "object"},
        {"signal_sockets": "demo", "signal_shape": "wrapped", "props_shape": "array", "sync_shuffled": True},
        {"signal_repeats": 2, "signal_updates": True, "noise_alerts": 2, "sync_messages": 7},
        {"signal_delay": 0.2, "signals_need_sync": False, "signals_rest": "both", "sync_messages": 1},
        {"signal_sockets": "demo", "signals_rest": "demo", "heartbeat_seconds": 25, "sync_with_events": False},
    ],
)
async def test_a_signature_is_published_once_in_every_dialect(stage: BridgeStage, switches: dict[str, Any]) -> None:
    """Either or both sockets, both shapes, repeats, updates and noise: one md.signed a signature, its user the key."""
    stage.switch(**switches)
    bridge = await stage.bridge()
    users = stage.users(20)
    signed = stage.sign(*users)
    await stage.bridged(signed)
    await stage.noted(signed)
    alerts = 20 * switches.get("noise_alerts", 0)
    await eventually(lambda: len(stage.published("admin.alert")) >= alerts)
    assert set(stage.times().values()) == {1}
    assert len(stage.published("admin.alert")) == alerts
    keys = {record.key for record in stage.records if record.topic.endswith("md.signed")}
    assert keys == {str(user).encode() for user in users}
    assert bridge.metrics.bridged._value.get() == 20


async def test_every_request_is_written_down(stage: BridgeStage) -> None:
    """The ledger's call log has what the partner saw, socket requests and HTTP calls alike, each with its answer."""
    await stage.bridge()
    stage.drop()
    await eventually(lambda: stage.sockets["synced"] >= 4)
    await eventually(lambda: stage.count("/adminalert/find") == 1)

    async def all_noted() -> bool:
        rows = await stage.rows("select lower(endpoint) as endpoint, count(*) as calls from call group by 1")
        noted = {row["endpoint"]: row["calls"] for row in rows}
        seen = stage.partner.sandbox.core.calls.by_path
        assert noted["authorize"] == seen["/authorize"]
        assert noted["user/syncrequest"] == seen["/user/syncrequest"]
        assert noted["adminalertsignal/deps"] == seen["/adminalertsignal/deps"]
        assert noted["adminalert/find"] == 1
        unanswered = await stage.rows("select endpoint from call where result is distinct from 'answer'")
        assert unanswered == []
        return True

    await eventually(all_noted)
    kinds = {row["kind"] for row in await stage.rows("select kind from call where lower(endpoint) like '%sync%'")}
    assert kinds == {"socket"}


async def test_a_socket_outlives_its_token(stage: BridgeStage) -> None:
    """A token that ends cuts no socket and costs no login; signatures go on coming."""
    await stage.bridge()
    stage.partner.sandbox.control.expire_tokens()
    signed = stage.sign(*stage.users(2))
    await stage.bridged(signed)
    assert (stage.sockets["authorized"], stage.sessions["logins"]) == (2, 1)


async def test_a_token_that_is_not_taken_is_replaced_through_the_shared_session(stage: BridgeStage) -> None:
    """After 401 on authorize both sockets come back with one new token: no login for each reconnect."""
    bridge = await stage.bridge()
    stage.partner.sandbox.control.expire_tokens()
    stage.drop()
    await eventually(lambda: stage.sockets["authorized"] == 4)
    await stage.works(bridge)
    assert reconnects(bridge, EndReason.UNAUTHORIZED) >= 1
    assert stage.sessions["logins"] <= 2
    assert stage.partner.sandbox.core.sessions.most_at_once <= 2


async def test_a_server_that_falls_silent_is_left(stage: BridgeStage) -> None:
    """Sockets that stay open and say nothing are given up; what was raised meanwhile is fetched."""
    stage.switch(heartbeat_seconds=0.1)
    bridge = await stage.bridge(QUICK)
    stage.switch(socket_silent=True)
    signed = stage.sign(*stage.users(2))
    await eventually(lambda: reconnects(bridge, EndReason.SILENCE) >= 2)
    stage.switch(socket_silent=False)
    await stage.bridged(signed)
    assert set(stage.times().values()) == {1}


async def test_our_heartbeat_keeps_a_strict_server_content(stage: BridgeStage) -> None:
    """A server that closes after a second without `[]`, and beats itself much more seldom, closes nothing."""
    stage.switch(idle_seconds=1.0, heartbeat_seconds=0.9)
    bridge = await stage.bridge(QUICK)
    first = {line.domain: line.epoch for line in bridge.tasks.lines} if bridge.tasks else {}
    heard = [connection.last_sent for connection in stage.partner.sandbox.core.hub.connections.values()]
    later = max(heard) + 3.0
    await eventually(lambda: min(c.last_sent for c in stage.partner.sandbox.core.hub.connections.values()) > later, 20)
    assert bridge.tasks is not None
    assert {line.domain: line.epoch for line in bridge.tasks.lines} == first


@pytest.mark.parametrize(
    ("code", "reason"), [("Maintenance", EndReason.MAINTENANCE), ("IPQuotaReached", EndReason.QUOTA)]
)
async def test_a_shutdown_is_answered_with_patience(stage: BridgeStage, code: str, reason: EndReason) -> None:
    """The bridge says why it is not connected, and waits longer than after a cut."""
    bridge = await stage.bridge()
    stage.partner.sandbox.core.hub.shut_down(code, None, "demo")
    await eventually(lambda: reconnects(bridge, reason) == 1)
    assert bridge.tasks is not None
    troubles = {line.domain: line.trouble for line in bridge.tasks.lines}
    assert troubles[Domain.LIVE] is None
    assert str(reason) in str(troubles[Domain.DEMO])
    signed = stage.sign(*stage.users(1))
    await stage.bridged(signed)


async def test_a_penalty_on_the_sync_request_is_waited_out_and_redeemed(stage: BridgeStage) -> None:
    """The same request is sent again with its ticket, not too early, on the same connection."""
    stage.partner.sandbox.core.faults.add(
        {"action": "ticket", "operation": "user/syncrequest", "times": 1, "seconds": 1}
    )
    await stage.bridge()
    tickets = stage.partner.sandbox.core.tickets
    assert (tickets.redeemed, tickets.early) == (1, 0)
    assert stage.sockets["opened"] == 2


async def test_a_lock_out_stops_the_bridge_and_all_replicas(stage: BridgeStage) -> None:
    """After a 429 on a socket nothing more is sent until the hour (here: three seconds) has passed."""
    bridge = await stage.bridge()
    stage.partner.sandbox.control.lockout(2)
    stage.drop()
    await eventually(lambda: stage.partner.sandbox.core.calls.during_lockout >= 1)
    held = await stage.rows("select scope from hold where scope = 'all' and until > now()")
    assert [row["scope"] for row in held] or await eventually(
        lambda: stage.rows("select scope from hold where scope = 'all' and until > now()")
    )
    signed = stage.sign(*stage.users(2))
    await stage.bridged(signed, 30)
    await stage.works(bridge)
    assert stage.partner.sandbox.core.calls.during_lockout <= 2  # both sockets may have asked in the same moment


async def test_a_lock_out_reported_on_a_socket_is_followed_by_a_renewal(stage: BridgeStage) -> None:
    """A 429 that names no request stops all calls too, and the first call after it is a renewal."""
    bridge = await stage.bridge()
    for connection in list(stage.partner.sandbox.core.hub.connections.values()):
        connection.push('a[{"s":429,"i":"request_id"}]')
    await eventually(lambda: stage.rows("select 1 from session where suspect"))
    before = len(stage.partner.sandbox.control.calls(last=1000))
    await stage.works(bridge, 30)
    assert stage.partner.sandbox.control.calls(last=1000)[before]["path"] == "/auth/renewaccesstoken"
    assert stage.sessions["logins"] == 1


async def test_a_handshake_that_is_answered_counts(stage: BridgeStage) -> None:
    """A handshake that the partner answers without opening a socket is in the hour's budget like any call."""
    stage.env["TRADOVATE_DEMO_WS_URL"] = stage.env["TRADOVATE_DEMO_WS_URL"].replace("/websocket", "/nothing")
    stage.begin()
    (row, *_) = await eventually(lambda: stage.rows("select result, endpoint from call where error like 'HTTP 403%'"))
    assert (row["result"], row["endpoint"]) == ("unclear", "authorize")
    (session,) = await stage.rows("select suspect, rejected, streak from session")
    assert tuple(session) == (False, False, 0)


async def test_a_pause_of_everything_is_obeyed_and_its_end_is_noticed(stage: BridgeStage) -> None:
    """While an operator has paused all calls no socket is connected; after `resume` what was raised is fetched."""
    bridge = await stage.bridge()
    database = Database(stage.database_url)
    async with database.transaction() as connection:
        await holds.pause(connection, None, "a look")
    stage.drop()
    await eventually(lambda: bridge.tasks is not None and all("a look" in str(x.trouble) for x in bridge.tasks.lines))
    assert stage.sockets["opened"] == 2
    signed = stage.sign(*stage.users(2))
    async with database.transaction() as connection:
        await holds.resume(connection, None)
    await database.close()
    await stage.bridged(signed)


async def test_random_drops_in_a_stream_of_signatures_lose_and_double_nothing(stage: BridgeStage) -> None:
    """Sockets that are cut without a notice, again and again: each signature is on md.signed once."""
    bridge = await stage.bridge()
    stage.switch(socket_drop_probability=0.2, signal_repeats=1, noise_alerts=1)
    signed: list[int] = []
    for user in stage.users(30):
        signed += stage.sign(user)
        await eventually(lambda: any(c.synced for c in stage.partner.sandbox.core.hub.connections.values()), 20)
    stage.switch(socket_drop_probability=0)
    await stage.bridged(signed, 30)
    await stage.works(bridge)
    assert set(stage.times().values()) == {1}
    assert stage.sessions["logins"] == 1


async def test_two_leaders_for_a_moment_do_no_harm(stage: BridgeStage) -> None:
    """Both publish: no signature is missing, and whatever is there twice is the same event, which intake drops."""
    first = await stage.bridge(name="first")
    second = stage.begin(name="second")
    await stage.rows("update leader set lease_until = now() - interval '1 hour', lease = null")
    await eventually(lambda: first.leadership.leads and second.leadership.leads)
    signed = stage.sign(*stage.users(50))
    await stage.works(second)
    signed += stage.sign(*stage.users(50))
    await stage.bridged(signed)
    await eventually(lambda: not first.leadership.leads and first.tasks is None)
    bodies = stage.published()
    assert {body["signalId"] for body in bodies} == set(signed)
    assert len({(body["signalId"], body["eventId"], body["userId"]) for body in bodies}) == len(signed)
    await stage.noted(signed)


async def test_a_ledger_that_goes_away_costs_no_signature(
    embedded_kafka: EmbeddedKafka, own_postgres: EmbeddedPostgres
) -> None:
    """While PostgreSQL is down the bridge lets go of the lead; when it is back it leads, and catches up."""
    stage = await BridgeStage(
        embedded_kafka.bootstrap_servers, own_postgres.create_database("ledger", "migrated"), embedded=embedded_kafka
    ).up()
    try:
        bridge = await stage.bridge()
        await asyncio.to_thread(own_postgres.down)
        signed = stage.sign(*stage.users(3))
        await eventually(lambda: bridge.tasks is None, 20)
        signed += stage.sign(*stage.users(3))
        await asyncio.to_thread(own_postgres.up)
        await stage.bridged(signed, 30)
        assert set(stage.times().values()) == {1}
    finally:
        await stage.down()
