"""A database that serves again after it did not: a callback runs once."""

from __future__ import annotations

import asyncio

import pytest

from worker.embedded import EmbeddedPostgres
from worker.ledger.database import Again, Connection, Database, DatabaseUnavailable


async def _ask(database: Database) -> None:
    async with database.connection() as connection:
        await connection.fetchval("select 1")


async def test_the_callback_runs_once_when_the_database_is_back(own_postgres: EmbeddedPostgres) -> None:
    """After an outage the first answer tells it, on whatever connection; those that follow do not."""
    database = Database(own_postgres.create_database("ledger"), size=3, kept=1)
    back: list[None] = []
    database.when_back = lambda: back.append(None)
    await _ask(database)
    await asyncio.to_thread(own_postgres.down)
    with pytest.raises(DatabaseUnavailable):
        await _ask(database.first)
    await asyncio.to_thread(own_postgres.up)
    assert back == []
    await _ask(database)
    await _ask(database.first)
    assert len(back) == 1
    await database.close()


async def test_a_lost_race_is_no_outage(database_url: str) -> None:
    """A transaction that another one was quicker than says nothing of the database."""
    database = Database(database_url)
    back: list[None] = []
    database.when_back = lambda: back.append(None)

    async def lose(_connection: Connection) -> None:
        raise Again

    with pytest.raises(Again):
        await database.atomically(lose, tries=2)
    await _ask(database)
    assert back == []
    await database.close()


async def test_what_goes_first_finds_a_connection(database_url: str) -> None:
    """While others hold all connections that they may, those that are kept are free for what goes first."""
    database = Database(database_url, size=3, kept=1)
    held = [database.connection() for _ in range(2)]
    for each in held:
        await each.__aenter__()
    waiting = asyncio.create_task(_ask(database))
    async with asyncio.timeout(5):
        await _ask(database.first)
    assert not waiting.done()
    for each in held:
        await each.__aexit__(None, None, None)
    await waiting
    await database.close()
