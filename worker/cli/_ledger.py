"""The ledger as commands use it: opened for one piece of work. `_errors.failure_of` makes the message of an error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.ledger.database import Connection, Database
from worker.settings import DatabaseSettings, load


def database_url() -> str:
    """`DATABASE_URL`. Raises `SettingsError`."""
    return load(DatabaseSettings).database_url.get_secret_value()


@asynccontextmanager
async def ledger() -> AsyncIterator[Connection]:
    """A transaction on the ledger of `DATABASE_URL`. Raises `DatabaseError`."""
    database = Database(database_url(), size=1)
    try:
        async with database.transaction() as connection:
            yield connection
    finally:
        await database.close()
