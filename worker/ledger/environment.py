"""Which Tradovate environment a ledger belongs to. Ids differ between them, so the ledger remembers the first one."""

from __future__ import annotations

from worker.ledger.database import Database


async def claim_environment(database: Database, environment: str) -> str:
    """Notes the environment if none is noted yet; returns the one that the ledger belongs to."""
    async with database.transaction() as connection:
        noted: str = await connection.fetchval(
            "update ledger set environment = coalesce(environment, $1) returning environment", environment
        )
    return noted


async def noted_environment(database: Database) -> str | None:
    """The environment that the ledger belongs to, None when it has not been used yet."""
    async with database.connection() as connection:
        noted: str | None = await connection.fetchval("select environment from ledger")
    return noted
