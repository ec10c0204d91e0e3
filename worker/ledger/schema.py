"""Schema migrations: bring a ledger up to date, and tell whether this release can work with one.

Migrations are numbered 0001, 0002, ...; a ledger one release ahead of the program is accepted, since in a roll-out
the new release migrates while replicas of the old one still run.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from worker.ledger.database import Connection, Database

_VERSIONS = Path(__file__).parent / "migrations/versions"
_LOCK = 7_046_029_254_386_353_131  # any fixed number: keeps two `db upgrade` from running at once


class Fit(enum.StrEnum):
    """How a ledger's schema stands to this release."""

    CURRENT = "current"
    AHEAD = "ahead"  # by one release: accepted
    BEHIND = "behind"
    EMPTY = "empty"
    UNKNOWN = "unknown"  # two releases ahead, or not ours


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """What `db status` prints: the ledger's release, the program's, and how they fit."""

    found: str | None
    wanted: str
    fit: Fit

    @property
    def usable(self) -> bool:
        """Whether `run` and `bridge` may start on it."""
        return self.fit in (Fit.CURRENT, Fit.AHEAD)


def newest() -> str:
    """The release that this program's migrations lead to: a file's name begins with the number of its release."""
    return max(file.name[:4] for file in _VERSIONS.glob("[0-9][0-9][0-9][0-9]_*.py"))


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


async def status(url: str) -> SchemaStatus:
    """Reads the ledger's release. Raises `DatabaseError`."""
    database = Database(url, size=1, reading=True)
    try:
        async with database.connection() as connection:
            return await _status(connection)
    finally:
        await database.close()


async def upgrade(url: str) -> SchemaStatus:
    """Migrates to the newest release, one process at a time; a ledger that is ahead is left as it is.

    Raises `DatabaseError`.
    """
    database = Database(url, size=1)
    try:
        while True:
            async with database.connection() as connection:
                before = await _status(connection)
            if before.fit not in (Fit.EMPTY, Fit.BEHIND):
                return before
            # Outside the transaction: its imports take a busy machine longer than a transaction may rest (`LIMITS`).
            # Alembic and SQLAlchemy take longer to import than all the rest, and `run` and `bridge` need neither.
            from worker.ledger.migrating import script  # noqa: PLC0415

            if after := await _migrated(database, before, script(before.found)):
                return after
    finally:
        await database.close()


async def _migrated(database: Database, before: SchemaStatus, statements: str) -> SchemaStatus | None:
    """What the statements have made of a ledger that was as `before`; none when another process has changed it."""
    async with database.transaction() as connection:
        # A migration may move many rows, and another upgrade may be waited for.
        await connection.execute("set local statement_timeout = 0; set local lock_timeout = 0")
        await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
        if await _status(connection) != before:
            return None
        # Its statements take no arguments, so they are one request and nothing is prepared: a pooler in front does not
        # matter, and all of it is one transaction.
        await connection.execute(statements)
        return await _status(connection)


async def _status(connection: Connection) -> SchemaStatus:
    table = await connection.fetchval("select to_regclass('alembic_version')")
    found = await connection.fetchval("select max(version_num) from alembic_version") if table else None
    return SchemaStatus(found, newest(), compare(found, newest()))
