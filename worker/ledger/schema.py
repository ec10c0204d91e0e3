"""Schema migrations: bring a ledger up to date, and tell whether this release can work with one.

Migrations are numbered 0001, 0002, ...; a ledger one release ahead of the program is accepted, since in a roll-out
the new release migrates while replicas of the old one still run.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from worker.ledger.database import Database
from worker.ledger.driver import of_driver

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 7_046_029_254_386_353_131  # any fixed number: keeps two `db upgrade` from running at once


class Fit(enum.StrEnum):
    """How a ledger's schema stands to this release."""

    CURRENT = "current"
    AHEAD = "ahead"  # by one release: accepted
    BEHIND = "behind"
    EMPTY = "empty"
    UNKNOWN = "unknown"  # two releases ahead, or not ours


@dataclass(frozen=True, slots=True)
class Status:
    """What `db status` prints: the ledger's release, the program's, and how they fit."""

    found: str | None
    wanted: str
    fit: Fit

    @property
    def usable(self) -> bool:
        """Whether `run` and `bridge` may start on it."""
        return self.fit in (Fit.CURRENT, Fit.AHEAD)


def newest() -> str:
    """The release that this program's migrations lead to."""
    head = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    assert head is not None
    return head


def compare(found: str | None, wanted: str) -> Fit:
    """How the release `found` in a ledger stands to the `wanted` one."""
    if found is None:
        return Fit.EMPTY
    if not found.isdigit():
        return Fit.UNKNOWN
    ahead = int(found) - int(wanted)
    if ahead < 0:
        return Fit.BEHIND
    return {0: Fit.CURRENT, 1: Fit.AHEAD}.get(ahead, Fit.UNKNOWN)


async def status(url: str) -> Status:
    """Reads the ledger's release. Raises `DatabaseError`."""
    database = Database(url, size=1)
    try:
        async with database.connection() as connection:
            table = await connection.fetchval("select to_regclass('alembic_version')")
            found = await connection.fetchval("select max(version_num) from alembic_version") if table else None
    finally:
        await database.close()
    return Status(found, newest(), compare(found, newest()))


async def upgrade(url: str) -> Status:
    """Migrates to the newest release, one process at a time; a ledger that is ahead is left as it is.

    Raises `DatabaseError`.
    """
    before = await status(url)
    if before.fit in (Fit.CURRENT, Fit.AHEAD, Fit.UNKNOWN):
        return before
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url, timeout=5), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f"select pg_advisory_xact_lock({_LOCK})")
            await connection.run_sync(_run)
    except SQLAlchemyError as error:
        wrapped = error.orig if isinstance(error, DBAPIError) else None  # the driver's error is the cause of that one
        cause = wrapped.__cause__ if wrapped is not None else None
        raise of_driver(cause if isinstance(cause, Exception) else error, connecting=True) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise of_driver(error, connecting=True) from None  # while connecting it comes as it is
    finally:
        await engine.dispose()
    return await status(url)


def _run(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    command.upgrade(config, "head")
