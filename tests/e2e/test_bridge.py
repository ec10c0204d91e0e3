"""`tradovate-worker bridge` as a user runs it: processes of their own, a real Kafka, a real PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from tests.support.bridges import TAKES_OVER_WITHIN, BridgeStage
from tests.support.kafka import Broker, KafkaServer
from tests.support.processes import Process, worker
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres
from worker.sandbox import SandboxConfig, serve


@pytest.fixture
async def stage(kafka: Broker, ledger_url: str) -> AsyncIterator[BridgeStage]:
    """A stage with noise and repeats on its sockets."""
    config = SandboxConfig(noise_alerts=1, signal_repeats=1)
    stage = await BridgeStage(kafka.bootstrap_servers, ledger_url, config).up()
    yield stage
    await stage.down()


@pytest.fixture
async def fragile_stage(own_kafka: KafkaServer, ledger_url: str) -> AsyncIterator[BridgeStage]:
    """A stage whose broker the test may take down."""
    stage = await BridgeStage(own_kafka.bootstrap_servers, ledger_url).up()
    yield stage
    await stage.down()


async def ended(process: Process) -> int | None:
    """Waits for its end, without holding up the partner, which runs in this process."""
    await eventually(lambda: process.returncode is not None, 30)
    return process.returncode


async def test_one_works_and_the_other_connects_nowhere(stage: BridgeStage) -> None:
    """Both are ready, the standby opens no socket; signatures are on md.signed once, and noise on admin.alert."""
    leader = await stage.leader()
    standby = await stage.standby()
    signed = stage.sign(*stage.users(10))
    await stage.bridged(signed)
    await eventually(lambda: len(stage.published("admin.alert")) >= 10)
    assert set(stage.times().values()) == {1}
    assert len(stage.published("admin.alert")) == 10
    assert stage.sockets["opened"] == 2
    assert stage.sessions["logins"] == 1
    working, waiting = await leader.metrics(), await standby.metrics()
    for domain in ("live", "demo"):
        assert working[f'bridge_connected{{domain="{domain}"}}'] == 1
        assert waiting[f'bridge_connected{{domain="{domain}"}}'] == 0
    assert (working["signals_bridged_total"], waiting["signals_bridged_total"]) == (10, 0)
    assert (working["bridge_leader"], waiting["bridge_leader"]) == (1, 0)
    assert working['bridge_signals_total{kind="alert"}'] == 10
    assert working['bridge_last_frame_seconds{domain="live"}'] < 5


@pytest.mark.crash
@pytest.mark.parametrize("point", ["before_publish:1", "after_publish:1"])
async def test_a_bridge_that_dies_at_the_signature_is_succeeded(stage: BridgeStage, point: str) -> None:
    """The standby publishes what the dead one left; published and not noted, it comes again as the same event."""
    victim = await stage.leader(crash=point)
    await stage.standby()
    signed = stage.sign(*stage.users(1))
    await eventually(lambda: victim.returncode is not None)
    await stage.bridged(signed, TAKES_OVER_WITHIN)
    await stage.noted(signed)
    events = {(body["eventId"], body["userId"]) for body in stage.published()}
    assert len(events) == 1
    assert len(stage.published()) <= (2 if point.startswith("after") else 1)


@pytest.mark.crash
async def test_a_killed_leader_is_succeeded_in_time(stage: BridgeStage) -> None:
    """Killed in the moment of the signature: within fifteen seconds the standby has published it, once."""
    leader = await stage.leader()
    standby = await stage.standby()
    leader.kill()
    signed = stage.sign(*stage.users(5))
    await stage.bridged(signed, TAKES_OVER_WITHIN)
    await eventually(standby.is_leader)
    assert set(stage.times().values()) == {1}
    assert stage.sessions["logins"] == 1


@pytest.mark.crash
async def test_a_frozen_leader_is_succeeded_in_time_and_wakes_up_harmless(stage: BridgeStage) -> None:
    """SIGSTOP is no better than death; awake again it finds that it does not lead, and doubles nothing."""
    leader = await stage.leader()
    standby = await stage.standby()
    leader.freeze()
    signed = stage.sign(*stage.users(5))
    await stage.bridged(signed, TAKES_OVER_WITHIN)
    leader.thaw()
    await eventually(leader.is_standby, 20)
    assert await standby.is_leader()
    later = stage.sign(*stage.users(5))
    await stage.bridged(later)
    assert set(stage.times().values()) == {1}


@pytest.mark.crash
async def test_with_both_killed_nothing_is_missed(stage: BridgeStage) -> None:
    """Signatures of the time without any bridge are published by the next one, those before are not repeated."""
    bridges = [await stage.leader(), await stage.standby()]
    before = stage.sign(*stage.users(3))
    await stage.bridged(before)
    await stage.noted(before)
    for bridge in bridges:
        bridge.kill()
    during = stage.sign(*stage.users(3))
    await stage.leader()
    await stage.bridged(during, TAKES_OVER_WITHIN)
    assert set(stage.times().values()) == {1}


async def test_a_bridge_that_is_asked_to_stop_hands_over_at_once(stage: BridgeStage) -> None:
    """SIGTERM: exit 0, and the standby leads without waiting for a lease to run out."""
    leader = await stage.leader()
    standby = await stage.standby()
    signed = stage.sign(*stage.users(5))
    leader.terminate()
    await eventually(lambda: leader.returncode == 0, 25)
    await eventually(standby.is_leader, 6)
    await stage.bridged(signed)
    assert set(stage.times().values()) == {1}


@pytest.mark.slow
async def test_signatures_wait_for_a_kafka_that_is_down(fragile_stage: BridgeStage, own_kafka: KafkaServer) -> None:
    """The broker is stopped, traders sign, sockets drop, the broker comes back: each signature is there once."""
    stage = fragile_stage
    bridge = await stage.leader()
    await asyncio.to_thread(own_kafka.stop)
    signed = stage.sign(*stage.users(5))

    async def says_so() -> bool:
        return "Kafka" in str((await bridge.health()).get("checks", {}).get("kafka"))

    await eventually(says_so, 30)
    stage.drop()
    await eventually(lambda: stage.sockets["synced"] >= 4)
    signed += stage.sign(*stage.users(5))
    await asyncio.to_thread(own_kafka.start)
    await stage.bridged(signed, 30)
    assert set(stage.times().values()) == {1}
    await eventually(bridge.is_leader, 20)


async def test_what_goes_on_for_hours_is_logged_once(stage: BridgeStage) -> None:
    """A partner that is away: a line when a socket ends, one when it cannot connect, one when it listens again."""
    bridge = await stage.leader()
    partner = stage.partner
    await partner.stop()

    async def tried() -> bool:
        metrics = await bridge.metrics()
        names = (f'bridge_reconnects_total{{domain="{each}",reason="unreachable"}}' for each in ("live", "demo"))
        return min(metrics.get(name, 0) for name in names) >= 3

    await eventually(tried, 30)
    stage.partner = await serve(partner.sandbox, partner.host, partner.port)
    await eventually(bridge.is_leader, 30)
    ends = bridge.logged("bridge.disconnected")
    assert all(len([line for line in ends if line["domain"] == domain]) <= 3 for domain in ("live", "demo")), ends
    assert len(bridge.logged("bridge.listening")) == 4


async def test_it_refuses_to_start_on_what_is_missing(stage: BridgeStage, postgres: EmbeddedPostgres) -> None:
    """No schema, no topics, a ledger of the other environment: one line that names the fix, and the exit code."""
    bare = f"bare_{uuid.uuid4().hex}"
    cases = [
        ({"KAFKA_TOPIC_PREFIX": "nobody."}, 1, "Topics are missing: md.signed, admin.alert. Run `tradovate-worker"),
        ({"TRADOVATE_ENVIRONMENT": "production"}, 2, "belongs to TRADOVATE_ENVIRONMENT=staging"),
        ({"DATABASE_URL": postgres.create_database(bare)}, 1, "run `tradovate-worker db upgrade`"),
    ]
    first = await stage.leader()
    first.terminate()
    for changes, code, sentence in cases:
        with worker("bridge", env={**stage.env, **changes}) as refused:
            assert await ended(refused) == code, refused.stderr
            errors = [line for line in refused.stderr.splitlines() if line.startswith("Error")]
            assert len(errors) == 1
            assert sentence in errors[0]
    postgres.drop_database(bare)


async def test_another_alert_id_than_the_partner_has_is_warned_of(stage: BridgeStage) -> None:
    """The settings decide, and the log says what the partner calls the alert of the agreement."""
    stage.env["TRADOVATE_MDA_ALERT_ID"] = "99"
    bridge = stage.process()
    warned = await eventually(lambda: bridge.logged("bridge.alert_id_differs"), 30)
    assert (warned[0]["setting"], warned[0]["found"]) == (99, 70)


async def test_no_name_and_no_token_is_in_the_log(stage: BridgeStage) -> None:
    """An alert's text names a person and the socket's first request is the token: neither is ever logged."""
    stage.env["LOG_LEVEL"] = "debug"
    bridge = await stage.leader()
    users = stage.users(3)
    names = [stage.partner.sandbox.core.world.users.rows[user]["name"] for user in users]
    await stage.bridged(stage.sign(*users))
    stage.drop()
    await eventually(lambda: stage.sockets["synced"] >= 4)
    tokens = list(stage.partner.sandbox.core.sessions.tokens)
    assert tokens
    said = bridge.stdout + bridge.stderr
    assert [secret for secret in (*names, *tokens, "signed non-professional") if secret in said] == []
