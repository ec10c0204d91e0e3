"""The checks of `doctor`, one after another, with what they need: ledger, client and session of one run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from schemas.times import Clock
from worker.ledger.budget import Budget
from worker.ledger.crypto import Vault
from worker.ledger.database import Database, DatabaseError
from worker.ledger.state_summary import standing
from worker.operate.doctor.findings import Finding, Verdict, failed, ok, skipped
from worker.operate.doctor.kafka_check import kafka
from worker.operate.doctor.ledger_check import database, ledger_state
from worker.operate.doctor.partner_check import Partner
from worker.operate.doctor.partner_hosts import places
from worker.partner.lockout import LockOut
from worker.process.starting import partner_client, partner_egress, replica_name, session_keeper
from worker.products import CatalogueError, load_products
from worker.session.lockouts import write_lockout
from worker.settings import KafkaSettings, RunSettings, SettingsError, load
from worker.telemetry.logging import configure

__all__ = ["findings_of"]


async def findings_of(clock: Clock) -> AsyncIterator[Finding]:
    """What each check has found, in their order. A setting that is wrong is a finding; nothing is raised."""
    try:
        settings = load(RunSettings)
        products = load_products(settings.products_file) if settings.products_file else {}
    except SettingsError as error:
        for finding in _wrong("settings", error):
            yield finding
        yield skipped("database, kafka, tradovate", "the settings come first")
        return
    except CatalogueError as error:
        yield failed("settings", error.sentence, "correct the catalogue")
        return
    configure("error", settings.log_format)  # what there is to say is said in the findings
    yield ok("settings", f"{settings.tradovate_environment.value}, {len(products)} products")
    ledger = Database(settings.database_url.get_secret_value(), size=3)
    vault = Vault([key.get_secret_value() for key in settings.secret_keys])
    lockout = LockOut(settings.lockout)
    client = partner_client(settings, lockout, partner_egress(settings))
    budget, name = Budget.of(settings), f"doctor-{replica_name()}"
    try:
        usable = True
        async for finding in database(settings, ledger):
            usable = usable and finding.verdict in (Verdict.OK, Verdict.WARNING)
            yield finding
        async for finding in _kafka(settings):
            yield finding
        if not usable:
            yield skipped("tradovate, ledger", "the shared session, the budget and the call log are in the ledger")
            return
        session = session_keeper(settings, ledger, vault, client, budget, name)
        async for finding in Partner(settings, ledger, client, session, budget, name, clock).checks(products):
            yield finding
        await write_lockout(lockout, ledger)
        for finding in places(settings, session, await standing(ledger, budget), clock):
            yield finding
        async for finding in ledger_state(settings, ledger, clock):
            yield finding
    except DatabaseError as error:  # it has gone since it was looked at
        yield failed("database", error.reason, error.fix)
    finally:
        await client.aclose()
        await ledger.close()


async def _kafka(settings: KafkaSettings) -> AsyncIterator[Finding]:
    """Kafka's checks. That a TLS file holds something else shows when it is used, not when the settings are read."""
    try:
        async for finding in kafka(settings):
            yield finding
    except SettingsError as error:
        for finding in _wrong("kafka", error):
            yield finding
        yield skipped("topics", "no Kafka")


def _wrong(check: str, error: SettingsError) -> Iterator[Finding]:
    """A line for each setting."""
    for problem in error.problems:
        yield failed(check, problem.what, f"for example {problem.name}={problem.example}")
