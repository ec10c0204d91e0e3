"""The ledger as commands use it: opened for one piece of work, and away in one sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from worker.commands._errors import Refused
from worker.ledger.database import AWAY, RACES, Connection, Database
from worker.settings import DatabaseSettings, load

_AWAY = "PostgreSQL cannot be reached: start it, or mend DATABASE_URL."
_BUSY = "The ledger is busy just now and nothing was changed: try again."
_UNUSABLE = "DATABASE_URL cannot be used: mend it, for example postgresql://user:password@host:5432/name."


def database_url() -> str:
    """`DATABASE_URL`. Raises `SettingsError`."""
    return load(DatabaseSettings).database_url.get_secret_value()


@asynccontextmanager
async def ledger() -> AsyncIterator[Connection]:
    """A transaction on the ledger of `DATABASE_URL`. Raises `Refused` when it is away or cannot be used."""
    database = Database(database_url(), size=1)
    with ledger_errors():
        try:
            async with database.transaction() as connection:
                yield connection
        finally:
            await database.close()


@contextmanager
def ledger_errors() -> Iterator[None]:
    """What a person can mend about the database becomes `Refused`; everything else passes as it is."""
    try:
        yield
    except Exception as error:
        if (sentence := sentence_of(error)) is None:
            raise
        raise Refused(sentence) from None


def sentence_of(error: BaseException) -> str | None:
    """The mend for an error of asyncpg's, or one that a driver above it has wrapped; None when there is none."""
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():
            return "PostgreSQL refuses the user or the password: mend DATABASE_URL."
        case asyncpg.InvalidCatalogNameError():
            return "The database does not exist: create it (createdb), or mend DATABASE_URL."
        case asyncpg.InsufficientPrivilegeError():
            return "The database's user lacks a permission there: grant it, or name another user in DATABASE_URL."
        case asyncpg.UndefinedTableError() | asyncpg.UndefinedColumnError():
            return "The ledger's schema is behind: run `tradovate-worker db upgrade`."
        case asyncpg.ReadOnlySQLTransactionError():
            return "The database is read-only, a standby perhaps: name the primary in DATABASE_URL."
        case asyncpg.ClientConfigurationError():
            return _UNUSABLE
        case _ if isinstance(error, AWAY):
            return _BUSY if isinstance(error, RACES) else _AWAY
        case _:
            pass
    wrapped = getattr(error, "orig", None)  # SQLAlchemy's, around its driver's, around asyncpg's
    return sentence_of(wrapped.__cause__ or wrapped) if isinstance(wrapped, BaseException) else None
