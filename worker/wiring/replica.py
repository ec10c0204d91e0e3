"""The composition root of `run`: makes the parts of a replica, and ties them together."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from schemas.events import Account
from worker.backoff import Schedule
from worker.dispatch.caller import Caller
from worker.dispatch.dispatcher import Dispatcher
from worker.dispatch.pacing import Pace
from worker.engine.flows import FLOWS
from worker.intake.accept import EventIntake
from worker.intake.consumer_watch import LOOK_SECONDS, Watch
from worker.intake.dead_letter_writer import DeadLetterWriter
from worker.intake.parse import CODES
from worker.intake.subscriber import Subscriber
from worker.kafka.look import KafkaLook
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import TopicNames, dead_letter_topic, outcome_topic
from worker.ledger.budget import Budget
from worker.ledger.claims import Claims
from worker.ledger.crypto import Vault
from worker.ledger.database import Database
from worker.ledger.ledger import Ledger
from worker.ledger.outbox import Outbox
from worker.ledger.rows import OutcomeRow
from worker.outbox.publisher import Publisher
from worker.partner.client import PartnerClient
from worker.partner.lockout import LockOut
from worker.partner.observed_forms import USERS, ObservedForms
from worker.partner.operations import OPERATIONS
from worker.process.exit_deadline import exit_at_the_latest
from worker.process.start_refused import CannotListen
from worker.process.starting import (
    StartChecks,
    partner_client,
    partner_egress,
    replica_name,
    session_keeper,
)
from worker.process.upkeep import Upkeep
from worker.products import load_products
from worker.session import SessionKeeper
from worker.session.lockouts import write_lockouts
from worker.settings import RunSettings
from worker.telemetry.health import Health
from worker.telemetry.http_server import Served, application, level_of_address, serve
from worker.telemetry.metrics import Metrics
from worker.telemetry.tracing import Tracing
from worker.wiring.flow_rules import flow_rules, urgency
from worker.wiring.observed import Observed
from worker.wiring.stopping import stop_in_order

if TYPE_CHECKING:
    from worker.operate.console.routes import Console

log = structlog.get_logger()

LEASE_MARGIN = 5.0
"""Seconds that a lease outlasts the longest call: time to record it. With the settle time and a look every second,
work of a dead replica goes on well within the 15 s that are promised on top of both."""

CONNECTIONS = 10
"""To PostgreSQL, the console's apart. Calls that end at the same moment wait for one another, and few connections have
their plans warm sooner."""

KEPT = 4
"""Of these, for what begins calls: survey, traffic, a claim or the beginning of a read, the session. However slow the
statements are that accept and record, a revocation that is due is sent."""


@dataclass(slots=True)
class Replica:
    """One worker replica: everything that `run` starts, in the order in which it starts."""

    settings: RunSettings
    products: Mapping[str, Account]
    crash: Callable[[str], None] = lambda _point: None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    name: str = field(default_factory=replica_name)
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(init=False)
    database: Database = field(init=False)
    ledger: Ledger = field(init=False)
    lockout: LockOut = field(init=False)
    client: PartnerClient = field(init=False)
    session: SessionKeeper = field(init=False)
    producer: RecordProducer = field(init=False)
    publisher: Publisher = field(init=False)
    intake: EventIntake = field(init=False)
    dispatcher: Dispatcher = field(init=False)
    subscriber: Subscriber = field(init=False)
    watch: Watch = field(init=False)
    health: Health = field(init=False)
    console: Console | None = field(init=False, default=None)
    served: Served | None = None
    started: bool = False
    waits_for: str | None = None  # what keeps it from starting
    topics: Sequence[str] = tuple(FLOWS)

    def __post_init__(self) -> None:
        """Makes the parts; nothing is connected yet."""
        settings = self.settings
        endpoint = settings.otel_exporter_otlp_endpoint
        names = TopicNames(settings.kafka_topic_prefix)
        self.tracing = Tracing(
            str(endpoint) if endpoint else None,
            self.name,
            names=names,
            group=settings.kafka_group_id,
            environment=settings.tradovate_environment.value,
        )
        vault = Vault([key.get_secret_value() for key in settings.secret_keys])
        rules = flow_rules(settings, self.products)
        budget = Budget.of(settings)
        schedule = Schedule(settings.retry_base_seconds, settings.retry_cap_seconds, settings.retry_for_seconds)
        self.database = Database(settings.database_url.get_secret_value(), size=CONNECTIONS, kept=KEPT)
        self.ledger = Ledger(
            self.database,
            vault,
            rules,
            urgency(),
            lockout=settings.tradovate_lockout_seconds,
        )
        observed = Observed(self.metrics, self.tracing, self.ledger.clock)
        self.lockout = LockOut(settings.lockout)
        self.database.when_back = self.lockout.ledger_is_back
        self.client = partner_client(settings, self.lockout, partner_egress(settings), self.tracing.http)
        first = replace(self.ledger, database=self.database.first)
        self.session = session_keeper(settings, first.database, vault, self.client, budget, self.name, observed.called)
        claims = Claims(first, budget, self.name, settings.tradovate_timeout_seconds + LEASE_MARGIN)
        self.producer = RecordProducer(settings, self.database.clock.now_if_known)
        outbox = Outbox(self.database)
        self.publisher = Publisher(outbox, self.producer, names, published=observed.published, crash=self.crash)
        caller = Caller(
            self.ledger,
            claims,
            self.client,
            self.session,
            vault,
            rules,
            schedule,
            settings.settle,
            observe=observed.called,
            tracing=self.tracing,
            crash=self.crash,
            seen=ObservedForms(names={USERS: settings.tradovate_name}),
        )
        shortest = settings.batch_linger.total_seconds()
        self.dispatcher = Dispatcher(
            first,
            claims,
            caller,
            self.session,
            OPERATIONS,
            Pace(shortest, settings.batch_linger_max_seconds, budget.minute_limit(reserve=False)),
            settings.settle,
            self.publisher.hand,
            maintenance=settings.tradovate_maintenance,
            coming=lambda: self.subscriber.arriving(shortest),
            alone=lambda: self.subscriber.alone(shortest),
        )
        look = KafkaLook(settings, LOOK_SECONDS)
        letters = DeadLetterWriter(
            self.producer,
            look,
            self.database,
            vault,
            names,
            counted=observed.dead_letter,
        )
        self.intake = EventIntake(
            self.ledger,
            letters,
            self.products,
            self._accepted,
            counted=observed.accepted,
            traces=self.tracing.intake,
            crash=self.crash,
            first_calls=self.dispatcher.lone_calls,
        )
        self.subscriber = Subscriber(settings, list(FLOWS), self.intake, look, self.stopping)
        self.watch = Watch(self.subscriber, look, names, self.stopping, started=_freeze)
        self.health = Health(self, budget)
        self.metrics.expect(FLOWS, CODES)
        if settings.console_token is not None:
            from worker.operate.console.routes import Console  # noqa: PLC0415 - templates are not read where nobody sees them

            self.console = Console(
                settings,
                settings.console_token.get_secret_value(),
                self.ledger,
                budget,
                self.producer,
                self.stopping,
                self.session.in_use,
                self.products,
                wake=self.dispatcher.wake.set,
            )

    def _accepted(self, outcomes: Sequence[OutcomeRow]) -> None:
        self.publisher.hand(outcomes)
        self.dispatcher.look_soon(asyncio.current_task())

    async def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Until `stopping` is set. Raises `StartRefused`; waits for Kafka and PostgreSQL as long as they are away."""
        settings = self.settings
        probes = self.health.probes()
        pages = self.console.routes if self.console is not None else ()
        try:
            app = application(probes, self.metrics, pages)
            self.served = await serve(app, settings.http_host, settings.http_port, settings.trusted_proxies)
        except OSError as error:
            raise CannotListen(settings.http_port, error) from None
        log.log(level_of_address(settings.http_port), "run.http", address=self.served.address)
        if ready is not None:
            ready(self.served.address)
        loops: list[asyncio.Task[None]] = []
        try:
            if not await self._prepared():
                return
            self.started = True
            upkeep = Upkeep(settings, self.database, self.name, "worker", self.served.address)
            loops = [
                asyncio.create_task(self.dispatcher.run(self.stopping), name="dispatch"),
                asyncio.create_task(self.publisher.run(), name="publish"),
                asyncio.create_task(self.session.run(), name="session"),
                asyncio.create_task(write_lockouts(self.lockout, self.database.first), name="lockouts"),
                asyncio.create_task(upkeep.run(self.stopping), name="upkeep"),
                asyncio.create_task(self.watch.run(), name="intake"),
            ]
            stopped = asyncio.create_task(self.stopping.wait())
            await asyncio.wait([*loops, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in loops:
                if task.done() and not self.stopping.is_set():
                    task.result()  # a loop that ends by itself has failed: the process must end too, and be restarted
                    raise RuntimeError(f"the {task.get_name()} loop ended")
            stopped.cancel()
        finally:
            self.stopping.set()
            await stop_in_order(self, loops)

    async def _prepared(self) -> bool:
        """Checks what the start depends on; false when stopped while waiting for it."""
        needed = [name for topic in FLOWS for name in (topic, outcome_topic(topic), dead_letter_topic(topic))]
        return await StartChecks(self.settings, self.database, self.stopping, self._waits).prepared(needed)

    def _waits(self, reason: str | None) -> None:
        self.waits_for = reason


def _freeze() -> None:
    """What the start has made lives as long as the process: left in, each full collection is a stop of 50 ms."""
    gc.collect()
    gc.freeze()


async def run_worker(
    settings: RunSettings,
    *,
    ready: Callable[[str], None] | None = None,
    stopping: asyncio.Event | None = None,
    crash: Callable[[str], None] = lambda _point: None,
) -> int:
    """Runs one replica until SIGTERM or SIGINT; returns the exit code (0, or 130 when interrupted)."""
    # What the imports have made lives as long as the process: the collector need not look at it again and again.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # a batch of 500 makes some 50,000 objects, none of them in circles
    products = load_products(settings.products_file) if settings.products_file else {}
    replica = Replica(settings, products, crash, stopping or asyncio.Event())
    interrupted = False

    def stop(code: int) -> None:
        nonlocal interrupted
        interrupted = code == signal.SIGINT
        exit_at_the_latest(130 if interrupted else 0)
        replica.stopping.set()
        replica.dispatcher.wake.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await replica.run(ready)
    except BaseException:
        exit_at_the_latest(1)  # what hangs must not keep an orchestrator from starting it again
        raise
    return 130 if interrupted else 0
