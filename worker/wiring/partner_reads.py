"""What commands that read at Tradovate in bulk are given: the ledger, and a reader through the shared session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from worker.ledger.budget import Budget
from worker.ledger.crypto import Vault
from worker.ledger.database import Database, DatabaseError
from worker.operate.partner_reader import PartnerReader
from worker.partner.lockout import LockOut
from worker.process.starting import check_ledger, partner_client, partner_egress, replica_name, session_keeper
from worker.session.lockouts import write_lockout
from worker.settings import LedgerSettings, TradovateSettings
from worker.telemetry.logging import configure

CONNECTIONS = 3
"""To the ledger: one reads, one begins calls, and one is for the session."""


class ReadingSettings(LedgerSettings, TradovateSettings):
    """What a command that reads at Tradovate uses, besides its own settings."""


@asynccontextmanager
async def partner_reader(
    settings: ReadingSettings, operation: str, report: Callable[[str | None], None]
) -> AsyncIterator[PartnerReader]:
    """A reader for one run of a command, whose name `operation` is. Makes no call by itself.

    Raises `StartRefused` when the ledger cannot be used; `DatabaseError`.
    """
    configure("critical", "json")  # a command says what it has to say by itself
    database = Database(settings.database_url.get_secret_value(), size=CONNECTIONS)
    vault = Vault([key.get_secret_value() for key in settings.secret_keys])
    lockout = LockOut(settings.lockout)
    client = partner_client(settings, lockout, partner_egress(settings))
    budget, name = Budget.of(settings), f"{operation}-{replica_name()}"
    session = session_keeper(settings, database, vault, client, budget, name)
    try:
        await check_ledger(settings, settings, database)
        yield PartnerReader(
            database,
            vault,
            client,
            session,
            budget,
            operation,
            name,
            settings.tradovate_lockout_seconds,
            report,
        )
    finally:
        await session.aclose()  # a token that is lost leaves a session behind that counts
        with suppress(DatabaseError):
            await write_lockout(lockout, database)
        await client.aclose()
        await database.close()
