"""What the ledger keeps for ever is named; everything else is deleted when it is old enough."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from worker.ledger import replicas
from worker.ledger.database import Connection, Database
from worker.ledger.prune import forget_doubtful, prune

KEEP, KEEP_LETTERS = timedelta(days=400), timedelta(days=14)

FOR_EVER = {"trader", "business_order", "signal", "risk_status", "live_permission"}
"""Their keys are what "once" rests on (contract 2, LEDGER_KEEP_DAYS)."""

PUBLISHED = {"risk_change"}
"""Their rows are deleted when Kafka has acknowledged them."""

OF_FIXED_SIZE = {"ledger", "session", "leader", "host", "alembic_version"}
"""Their rows are made with the schema, and none is added."""

FLOW = "'00000000-0000-0000-0000-000000000001'"

OLD = {
    "flow": '(id, topic, event_id, partition, "offset", state, asked_at, ended_at) values'
    f" ({FLOW}, 'md.signed', 'e', 0, 0, 'succeeded', {{at}}, {{at}})",
    "step": "(flow_id, operation, rank, state, trader_key, due, ended_at) values"
    f" ({FLOW}, 'plan', 0, 'done', 't:t', {{at}}, {{at}})",
    "note": f"(flow_id, at, action, by, reason) values ({FLOW}, {{at}}, 'cancel', 'Ada', 'test')",
    "departure": f"(trader_key, flow_id, since, ended) values ('t:t', {FLOW}, {{at}}, true)",
    "account_turn": "(key, place, flow_id, subject, begun_at, ended, ousted, must_act) values"
    f" ('a:1', 1, {FLOW}, 'action', {{at}}, true, false, false)",
    "outcome": "(outcome_id, flow_id, topic, event_id, status, headers, body, lease_until, created_at, published_at)"
    f" values ('1', {FLOW}, 'md.signed', 'e', 'failed', '{{{{}}}}', '', {{at}}, {{at}}, {{at}}),"
    " ('2', null, 'md.signed', 'bad', 'failed', '{{}}', '', {at}, {at}, {at})",
    "call": "(operation, endpoint, domain, kind, items, replica, at) values ('o', 'e', 'live', 'send', 1, 'r', {at})",
    "hold": "(scope, reason, until, created_at) values ('all', '429', {at}, {at})",
    "replica": "(name, role, seen_at) values ('gone', 'worker', {at})",
    "dead_letter": '(topic, partition, "offset", written_ms, reason, error, refusal, size, body, created_at)'
    " values ('md.signed', 0, 0, 0, 'r', 'e', 'f', 1, '', {at})",
    "reconciliation": "(id, days, listed, by, started_at, finished_at, counts) overriding system value"
    " values (1, 7, false, 'here', {at}, {at}, '{{}}')",
    "difference": "(run_id, key, kind, sentence) values (1, 'k' || {at}, 'unsigned', 's')",
    "replay": "(topic, partition, \"offset\", at) values ('md.signed', 0, 0, {at})",
}
"""A row of each other table, as it is written at `at`."""


@pytest.fixture
async def database(ledger_url: str) -> AsyncIterator[Database]:
    """A ledger of the test's own."""
    database = Database(ledger_url)
    yield database
    await database.close()


async def counts(connection: Connection) -> dict[str, int]:
    """Rows of each table that is pruned."""
    return {table: await connection.fetchval(f"select count(*) from {table}") for table in OLD}  # noqa: S608


async def written(database: Database, age: str) -> dict[str, int]:
    """Writes a row of every table at that age, prunes, and counts what is left."""
    async with database.transaction() as connection:
        for table, values in OLD.items():
            at = f"now() - interval '{age}'"
            await connection.execute(f"insert into {table} {values.format(at=at)}")
    await prune(database, KEEP, KEEP_LETTERS)
    await replicas.seen(database, "here", "worker", None)
    async with database.connection() as connection:
        await connection.execute("delete from replica where name = 'here'")
        return await counts(connection)


async def test_no_other_table_grows_for_ever(database: Database) -> None:
    """A row that is older than LEDGER_KEEP_DAYS is deleted from every table, but for those that are named here."""
    async with database.connection() as connection:
        rows = await connection.fetch("select relname from pg_stat_user_tables")
    assert {row["relname"] for row in rows} == {*OLD, *FOR_EVER, *PUBLISHED, *OF_FIXED_SIZE}
    assert await written(database, "401 days") == dict.fromkeys(OLD, 0)


async def test_what_is_not_old_enough_stays(database: Database) -> None:
    """What is a year old stays; of kept dead letters, replicas and lists of differences what is an hour old."""
    left = await written(database, "1 year")
    assert {table for table, count in left.items() if count == 0} == {"dead_letter", "difference", "replica"}
    async with database.transaction() as connection:
        for table in OLD:
            await connection.execute(f"delete from {table}")  # noqa: S608
    assert all((await written(database, "1 hour")).values())


async def test_a_flow_in_doubt_loses_its_personal_data_after_thirty_days(database: Database) -> None:
    """Its event is deleted, the flow stays; younger flows in doubt and failed flows keep theirs."""
    ages = {"doubt, old": ("in_doubt", 31), "doubt, new": ("in_doubt", 29), "failed": ("failed", 31)}
    async with database.transaction() as connection:
        for number, (name, (state, days)) in enumerate(ages.items(), 1):
            await connection.execute(
                'insert into flow (id, topic, event_id, partition, "offset", state, asked_at, ended_at, body)'
                " values ($1, 'md.signed', $2, 0, $3, $4, now(), now() - $5::interval, 'body')",
                UUID(int=number), name, number, state, timedelta(days=days),
            )  # fmt: skip
    assert await forget_doubtful(database) == 1
    async with database.connection() as connection:
        rows = await connection.fetch("select event_id from flow where body is null")
        assert [row["event_id"] for row in rows] == ["doubt, old"]
        assert await connection.fetchval("select count(*) from flow") == len(ages)
