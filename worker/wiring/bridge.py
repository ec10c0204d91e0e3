"""Makes a bridge out of its settings: the composition root of `bridge`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial

from worker.bridge.bridge import Bridge
from worker.bridge.bridge_metrics import BridgeMetrics
from worker.bridge.catch_up import CatchUp
from worker.bridge.domain_socket import DomainSocket
from worker.bridge.leadership import Leadership
from worker.bridge.leading import LeaderTasks, RiskTasks
from worker.bridge.risk_feed import RiskFeed
from worker.bridge.risk_intake import RiskIntake
from worker.bridge.risk_publisher import RiskPublisher
from worker.bridge.risk_recorder import RiskRecorder
from worker.bridge.signal_intake import SignalIntake
from worker.bridge.signal_publisher import TOPICS, SignalPublisher
from worker.bridge.signal_read import Fetch
from worker.bridge.signal_record import SIGNED, Outgoing
from worker.bridge.signal_requests import CountedCalls, SocketCalls
from worker.bridge.topic_check import LOOK_SECONDS, TopicWatch
from worker.bridge.topic_inbox import Inbox
from worker.kafka.look import KafkaLook
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import ACCOUNT_RISK_STATUS, ADMIN_ALERT, TopicNames
from worker.ledger.budget import Budget
from worker.ledger.crypto import Vault
from worker.ledger.database import Database
from worker.partner.handshake import Dial
from worker.partner.lockout import LockOut
from worker.partner.socket_actions import EndReason
from worker.partner.socket_protocol import SocketTiming
from worker.process.exit_deadline import exit_at_the_latest
from worker.process.starting import partner_client, partner_egress, replica_name, session_keeper
from worker.replies import Domain
from worker.settings import BridgeSettings
from worker.telemetry.reachability import Reach
from worker.telemetry.tracing import Tracing

__all__ = ["new_bridge", "run_bridge"]


def new_bridge(
    settings: BridgeSettings,
    *,
    name: str | None = None,
    stopping: asyncio.Event | None = None,
    timing: SocketTiming | None = None,
    room: int | None = None,
    crash: Callable[[str], None] = lambda _point: None,
) -> Bridge:
    """Makes the parts; nothing is connected yet. `timing` of the sockets and `room` of the inbox are for tests."""
    name = name or replica_name()
    vault = Vault([key.get_secret_value() for key in settings.secret_keys])
    budget = Budget.of(settings)
    database = Database(settings.database_url.get_secret_value(), size=6)
    lockout = LockOut(settings.lockout)
    database.when_back = lockout.ledger_is_back
    egress = partner_egress(settings)
    endpoint = settings.otel_exporter_otlp_endpoint
    tracing = Tracing(
        str(endpoint) if endpoint else None,
        name,
        service="tradovate-bridge",
        names=TopicNames(settings.kafka_topic_prefix),
        environment=settings.tradovate_environment.value,
    )
    client = partner_client(settings, lockout, egress, tracing.http)
    session = session_keeper(settings, database, vault, client, budget, name)
    topics = (*TOPICS, ACCOUNT_RISK_STATUS) if settings.bridge_risk_status else TOPICS
    names = TopicNames(settings.kafka_topic_prefix)
    producers = {topic: RecordProducer(settings, database.clock.now_if_known) for topic in topics}
    metrics = BridgeMetrics(risk=settings.bridge_risk_status)
    leadership = Leadership(database, name)

    def observe(operation: str, result: str, seconds: float) -> None:
        metrics.shared.calls.labels(operation, result).inc()
        metrics.shared.call_items.labels(operation).observe(1)
        metrics.shared.call_seconds.labels(operation).observe(seconds)

    def published(record: Outgoing) -> None:
        if record.topic == SIGNED:
            metrics.bridged.inc()

    def reconnected(domain: Domain, reason: EndReason) -> None:
        metrics.reconnects.labels(domain, reason).inc()

    calls = CountedCalls(database, session, client, budget, name, lockout, settings.lockout, observe)

    def new_risk_tasks(demo: DomainSocket) -> RiskTasks:
        intake = RiskIntake(
            database.clock.now_if_known, lambda kind, number: metrics.risk_statuses.labels(kind).inc(number)
        )
        demo.risk = RiskFeed(intake, database)
        publisher = RiskPublisher(
            database=database,
            producer=producers[ACCOUNT_RISK_STATUS],
            names=names,
            leading=lambda: leadership.leads,
            published=metrics.risk_bridged.inc,
            tracing=tracing,
            crash=crash,
        )
        recorder = RiskRecorder(database, intake, lambda: leadership.lease, demo.start_over, publisher.recorded)
        return RiskTasks(demo.risk, recorder, publisher)

    def new_tasks() -> LeaderTasks:
        inboxes = {topic: Inbox() if room is None else Inbox(room) for topic in TOPICS}
        intake = SignalIntake(
            inboxes[SIGNED],
            inboxes[ADMIN_ALERT],
            settings.mda_alert_id,
            lambda kind: metrics.signals.labels(kind).inc(),
        )
        lines = [
            DomainSocket(
                domain,
                client.addresses,
                SocketCalls(calls, domain),
                intake,
                timing or SocketTiming(),
                dial=Dial(egress.proxy, egress.trust),
                reconnects=partial(reconnected, domain),
            )
            for domain in Domain
        ]

        def listens(domain: Domain) -> bool:
            return any(line.is_listening for line in lines if line.domain is domain)

        fetch = Fetch(calls, intake, database, listens, lambda result: metrics.catch_ups.labels(result).inc())
        catch_up = CatchUp(lines, fetch)
        intake.missed = catch_up.unreadable
        for line in lines:
            line.changed = catch_up.changed
        publishers = [
            SignalPublisher(
                topic=topic,
                database=database,
                producer=producers[topic],
                names=names,
                inbox=inboxes[topic],
                leading=lambda: leadership.leads,
                published=published,
                tracing=tracing,
                crash=crash,
            )
            for topic in TOPICS
        ]
        demo = next(line for line in lines if line.domain is Domain.DEMO)
        risk = new_risk_tasks(demo) if settings.bridge_risk_status else None
        return LeaderTasks(lines, catch_up, publishers, session, calls, settings.mda_alert_id, risk)

    return Bridge(
        settings=settings,
        name=name,
        database=database,
        producers=producers,
        lockout=lockout,
        client=client,
        session=session,
        leadership=leadership,
        topics=TopicWatch(KafkaLook(settings, LOOK_SECONDS), names, topics),
        reach=Reach(database, producers[SIGNED], budget, session.in_use, lambda: lockout.why_silent),
        metrics=metrics,
        tracing=tracing,
        new_tasks=new_tasks,
        stopping=stopping or asyncio.Event(),
    )


async def run_bridge(
    settings: BridgeSettings,
    *,
    ready: Callable[[str], None] | None = None,
    stopping: asyncio.Event | None = None,
    crash: Callable[[str], None] = lambda _point: None,
) -> int:
    """Runs one bridge until SIGTERM or SIGINT; returns the exit code (0, or 130 when interrupted)."""
    bridge = new_bridge(settings, stopping=stopping, crash=crash)
    interrupted = False

    def stop(code: int) -> None:
        nonlocal interrupted
        interrupted = code == signal.SIGINT
        exit_at_the_latest(130 if interrupted else 0)
        bridge.stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    await bridge.run(ready)
    return 130 if interrupted else 0
