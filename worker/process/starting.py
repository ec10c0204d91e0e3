"""What `run` and `bridge` start with: a name, the shared session, and checks of what they depend on."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from worker.backoff import Schedule
from worker.kafka.admin import missing_topics
from worker.ledger import schema
from worker.ledger.budget import Budget
from worker.ledger.crypto import Vault
from worker.ledger.database import Database, DatabaseError
from worker.ledger.environment import claim_environment
from worker.ledger.errors import reason_of
from worker.partner.client import PartnerClient, Watch
from worker.partner.egress import Egress
from worker.partner.hosts import Addresses
from worker.partner.lockout import LockOut
from worker.process.start_refused import SchemaDoesNotFit, TopicsNeeded
from worker.replies import Domain
from worker.session import Credentials, SessionKeeper
from worker.settings import BridgeSettings, DatabaseSettings, EnvironmentSettings, TradovateSettings
from worker.telemetry.log_on_change import LastReported

__all__ = ["StartChecks", "partner_client", "partner_egress", "replica_name", "session_keeper", "within"]

log = structlog.get_logger()


def replica_name() -> str:
    """This process, as the ledger and the console call it."""
    return f"{socket.gethostname()}-{os.getpid()}"


def partner_egress(settings: TradovateSettings) -> Egress:
    """The proxy and the trust of all calls to Tradovate. Made once for each process: WebSockets use the same."""
    proxy = settings.tradovate_proxy_url
    return Egress.of(None if proxy is None else proxy.get_secret_value(), settings.tradovate_ca_file)


def partner_client(
    settings: TradovateSettings, lockout: LockOut, egress: Egress, watch: Watch = lambda *_: None
) -> PartnerClient:
    """Calls to Tradovate over HTTP. `watch` gets each of them."""
    addresses = Addresses(
        {Domain.LIVE: settings.live_url, Domain.DEMO: settings.demo_url},
        {Domain.LIVE: settings.live_ws_url, Domain.DEMO: settings.demo_ws_url},
        settings.trusted_hosts,
        settings.tradovate_follow_hosts,
    )
    return PartnerClient(addresses, settings.tradovate_timeout_seconds, lockout=lockout, egress=egress, watch=watch)


def session_keeper(
    settings: TradovateSettings,
    database: Database,
    vault: Vault,
    client: PartnerClient,
    budget: Budget,
    name: str,
    observe: Callable[[str, str, int, float], None] = lambda *_: None,
) -> SessionKeeper:
    """The one session that all replicas and bridges share."""
    credentials = Credentials(
        name=settings.tradovate_name,
        password=settings.tradovate_password.get_secret_value(),
        app_id=settings.tradovate_app_id,
        app_version=settings.tradovate_app_version,
        cid=str(settings.tradovate_cid),
        sec=settings.tradovate_sec.get_secret_value(),
        device_id=settings.tradovate_device_id,
    )
    return SessionKeeper(
        database,
        client,
        vault,
        credentials,
        replica=name,
        budget=budget,
        lockout_seconds=settings.tradovate_lockout_seconds,
        observe=observe,
    )


async def check_ledger(ledger: DatabaseSettings, environment: EnvironmentSettings, database: Database) -> None:
    """Raises `SchemaDoesNotFit` unless the ledger's schema fits, and `OtherEnvironment` unless it belongs to this one;
    from now on it does, if it belonged to none.
    """
    status = await schema.status(ledger.database_url.get_secret_value())
    if not status.usable:
        raise SchemaDoesNotFit(status)
    await claim_environment(database, environment.tradovate_environment.value)


async def within(work: Awaitable[object], seconds: float) -> None:
    """Does a part of stopping for so long at most, whatever is away."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except (OSError, KafkaError, DatabaseError) as error:
        log.warning("run.stop_incomplete", error=reason_of(error))


async def ended(loops: Iterable[asyncio.Task[None]], database: Database) -> None:
    """Cancels the loops and waits for them, two seconds at most. One that waits for a database that is frozen, or cut
    off, takes longer to be cancelled than a stop may take: then the connections are cut under it.
    """
    left = set(loops)
    for last in (False, True):
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=1.0)
        if left and not last:
            log.warning(
                "run.stop_incomplete", error="the database hangs", loops=sorted(task.get_name() for task in left)
            )
            database.cut()


@dataclass(frozen=True, slots=True)
class StartChecks:
    """The checks before the work. Kafka or PostgreSQL away: it waits, until `stopping` is set.

    `waits`: called with what for, and with None when it goes on.
    """

    settings: BridgeSettings
    database: Database
    stopping: asyncio.Event
    waits: Callable[[str | None], None] = lambda _reason: None

    async def prepared(self, topics: Sequence[str]) -> bool:
        """Whether the work may begin; false when stopped while waiting. Raises `StartRefused`."""
        return await self.patiently("database", self._check_ledger) and await self.patiently(
            "kafka", lambda: self._check_topics(topics)
        )

    async def patiently(self, what: str, check: Callable[[], Awaitable[None]]) -> bool:
        """Tries until it works; false when stopped before that."""
        pause = Schedule(base=0.3, cap=5.0, jitter=0.0)
        attempt = 0
        said = LastReported()
        while not self.stopping.is_set():
            try:
                if not await self._unless_stopped(check()):
                    return False
            except (OSError, KafkaError, DatabaseError) as error:
                attempt += 1
                reason = _reason_of(error)
                self.waits(reason)
                if said.changed(what, reason):
                    log.warning("run.waits_for", what=what, error=reason, fix=getattr(error, "fix", None))
                seconds = pause.delay(attempt)
                try:
                    async with asyncio.timeout(seconds):
                        await self.stopping.wait()
                except TimeoutError:
                    continue
            else:
                self.waits(None)
                return True
        return False

    async def _unless_stopped(self, check: Awaitable[None]) -> bool:
        """Does a check, which may take long where something hangs; false when stopped before its end."""
        checking, stopped = asyncio.ensure_future(check), asyncio.create_task(self.stopping.wait())
        await asyncio.wait([checking, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not checking.done():
            checking.cancel()
            return False
        checking.result()
        return True

    async def _check_ledger(self) -> None:
        await check_ledger(self.settings, self.settings, self.database)
        log.info("run.database", pooler=self.database.pooled, prepares="each time" if self.database.pooled else "once")

    async def _check_topics(self, needed: Sequence[str]) -> None:
        missing = await missing_topics(self.settings, needed)
        if missing:
            raise TopicsNeeded(missing)


def _reason_of(error: Exception) -> str:
    """Kafka's refusals name the topics."""
    if isinstance(error, TopicAuthorizationFailedError):
        return f"the worker is not allowed to see these topics (ACL Describe): {error.args[0] if error.args else '?'}"
    return reason_of(error)
