"""What commands work with, made for one piece of work: the ledger, the repair of flows, dead letters, holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from worker import _forms as forms
from worker.kafka.producer import RecordProducer
from worker.ledger.crypto import Vault
from worker.ledger.database import Database
from worker.ledger.environment import check_environment
from worker.ledger.ledger import Ledger
from worker.ledger.rebuilding import Rebuilds
from worker.operate.dead_letter_reading import DeadLetterReader
from worker.operate.dead_letter_settling import DeadLetterSettling
from worker.operate.event_again import EventReader
from worker.operate.flow_export import CONNECTIONS
from worker.operate.flow_repair import FlowRepair
from worker.operate.holding import HoldActions
from worker.process.starting import check_ledger
from worker.products import load_products
from worker.settings import (
    DatabaseSettings,
    EnvironmentSettings,
    FlowSettings,
    KafkaSettings,
    LedgerSettings,
    load,
)
from worker.wiring.flow_rules import flow_rules, urgency

__all__ = [
    "DeadLetterSettings",
    "FlowReadSettings",
    "FlowRepairSettings",
    "RebuildSettings",
    "Repairing",
    "dead_letters",
    "flow_ledger",
    "flow_repair",
    "holding",
    "rebuilds",
]


class FlowReadSettings(DatabaseSettings, EnvironmentSettings):
    """What `flows list`, `show` and `export` use."""


class FlowRepairSettings(LedgerSettings, EnvironmentSettings, KafkaSettings, FlowSettings):
    """What `flows retry`, `cancel` and `resolve` use: the ledger, a flow's rules, the topic of its event."""

    tradovate_subscription_plan_id: forms.VendorId = 1
    """Never used: only the worker sends it."""


class DeadLetterSettings(KafkaSettings, DatabaseSettings):
    """What `dlq` uses: Kafka, and the ledger for what was replayed and for the letters that it keeps."""

    secret_key: forms.SecretKeys | None = None
    """Only for a letter that the ledger keeps."""


class RebuildSettings(KafkaSettings, LedgerSettings, EnvironmentSettings):
    """What `import --from-outcomes` uses: Kafka and the ledger. Tradovate is not asked."""


@dataclass(frozen=True, slots=True)
class Repairing:
    """The repair of flows, and the ledger in which they are found."""

    database: Database
    repair: FlowRepair


@asynccontextmanager
async def flow_ledger() -> AsyncIterator[Database]:
    """The ledger for reading, which may be a standby. Raises `SettingsError`, `OtherEnvironment`, `DatabaseError`."""
    settings = load(FlowReadSettings)
    async with _closed(Database(settings.database_url.get_secret_value(), size=CONNECTIONS, reading=True)) as database:
        await check_environment(database, settings.tradovate_environment.value)
        yield database


@asynccontextmanager
async def flow_repair() -> AsyncIterator[Repairing]:
    """Raises `SettingsError`, `CatalogueError`, `OtherEnvironment`, `DatabaseError`."""
    settings = load(FlowRepairSettings)
    products = load_products(settings.products_file) if settings.products_file else {}
    vault = Vault([key.get_secret_value() for key in settings.secret_keys])
    async with _closed(Database(settings.database_url.get_secret_value(), size=2)) as database:
        await check_environment(database, settings.tradovate_environment.value)
        ledger = Ledger(database, vault, flow_rules(settings, products), urgency())
        yield Repairing(database, FlowRepair(ledger, EventReader(settings, database, vault, products)))


@asynccontextmanager
async def dead_letters() -> AsyncIterator[DeadLetterSettling]:
    """Raises `SettingsError`."""
    settings = load(DeadLetterSettings)
    keys = [] if settings.secret_key is None else forms.split_keys(settings.secret_key)
    vault = Vault([key.get_secret_value() for key in keys]) if keys else None
    producer = RecordProducer(settings)
    try:
        async with _closed(Database(settings.database_url.get_secret_value(), size=1)) as database:
            yield DeadLetterSettling(DeadLetterReader(settings, database, vault), producer)
    finally:
        try:
            async with asyncio.timeout(1):
                await producer.stop()
        except TimeoutError:  # a broker that went away meanwhile; what it did not confirm was not noted
            pass


@asynccontextmanager
async def holding() -> AsyncIterator[HoldActions]:
    """Raises `SettingsError`."""
    settings = load(DatabaseSettings)
    async with _closed(Database(settings.database_url.get_secret_value(), size=1)) as database:
        yield HoldActions(database)


@asynccontextmanager
async def _closed(database: Database) -> AsyncIterator[Database]:
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def rebuilds(settings: RebuildSettings, by: str, *, dry_run: bool) -> AsyncIterator[Rebuilds | None]:
    """What rebuilds a ledger; None for a dry run. Raises `StartRefused`, `OtherEnvironment`, `DatabaseError`."""
    async with _closed(Database(settings.database_url.get_secret_value(), size=2)) as database:
        if dry_run:
            await check_environment(database, settings.tradovate_environment.value)
            yield None
            return
        await check_ledger(settings, settings, database)
        vault = Vault([key.get_secret_value() for key in settings.secret_keys])
        yield Rebuilds(database, vault, by, urgency())
