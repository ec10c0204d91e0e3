"""What the ledger keeps for ever is named; everything else is deleted when it is old enough."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from tests.support.work import USERS, Work, purchases
from worker.engine.changes import NewStep
from worker.engine.states import PLAN, StepState
from worker.ledger import ended_counts, replicas, statement, steps
from worker.ledger.database import Connection, Database
from worker.ledger.prune import PRUNE_LOCK, Pruned, forget_doubtful, prune, prune_flows

KEEP, KEEP_LETTERS = timedelta(days=400), timedelta(days=14)

FOR_EVER = {"trader", "business_order", "signal", "risk_status", "live_permission"}
"""Their keys are what "once" rests on (README, LEDGER_KEEP_DAYS)."""

PUBLISHED = {"risk_change"}
"""Their rows are deleted when Kafka has acknowledged them."""

OF_FIXED_SIZE = {"ledger", "session", "leader", "host", "alembic_version", "ended_count"}
"""Their rows are made with the schema, or there is one for each topic and state."""

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
    "outcome": "(outcome_id, flow_id, topic, event_id, status, body, lease_until, created_at, published_at)"
    f" values ('1', {FLOW}, 'md.signed', 'e', 'failed', '', {{at}}, {{at}}, {{at}}),"
    " ('2', null, 'md.signed', 'bad', 'failed', '', {at}, {at}, {at})",
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


async def ended(connection: Connection, number: int, state: str, age: timedelta) -> None:
    """A flow that ended so long ago."""
    await connection.execute(
        'insert into flow (id, topic, event_id, partition, "offset", trader_id, order_id, state, asked_at, ended_at)'
        " values ($1, 'trader.purchased', $2, 0, 0, $3, $4, $5, now(), now() - $6::interval)",
        UUID(int=number), f"old-{number}", f"cust-{number}", str(100_000 + number), state, age,
    )  # fmt: skip
    await connection.execute(
        "insert into step (flow_id, operation, rank, state, trader_key, due, ended_at)"
        " values ($1, 'createEvaluationUsers', 0, 'done', $2, now(), now())",
        UUID(int=number), f"t:cust-{number}",
    )  # fmt: skip


async def test_what_has_ended_is_counted_once_and_pruned_from_the_count(database: Database) -> None:
    """The metric of ended flows is exact before and after they are counted, pruned, and counted again."""
    ages = {"succeeded": (401, 399, 0), "failed": (401, 0), "in_doubt": (500, 0)}
    numbers = iter(range(1, 100))
    async with database.transaction() as connection:
        for state, days in ages.items():
            for day in days:
                await ended(connection, next(numbers), state, timedelta(days=day))

    async def counted(succeeded: int, failed: int) -> None:
        found = {state: count for (_, state), count in (await ended_counts.ended_flows(database)).items() if count}
        assert found == {"succeeded": succeeded, "failed": failed, "in_doubt": 2}

    await counted(3, 2)
    assert await ended_counts.count_on(database)  # the three that ended long ago
    assert not await ended_counts.count_on(database)
    await counted(3, 2)
    await prune(database, KEEP, KEEP_LETTERS)
    await counted(2, 1)
    async with database.transaction() as connection:
        await ended_counts.count_again(connection)
    await counted(2, 1)
    assert await ended_counts.count_on(database)
    await counted(2, 1)


async def test_work_goes_on_beside_a_transaction_that_prunes(database: Database) -> None:
    """While flows are being deleted, new events of the same traders are accepted and their steps are sent: nothing that
    they lock is locked.
    """
    many = 100
    async with database.transaction() as connection:
        for number in range(many):
            await ended(connection, number, "succeeded", timedelta(days=401))
            await connection.execute("insert into trader (trader_id) values ($1)", f"cust-{number}")
    async with database.transaction() as pruning:
        assert await prune_flows(pruning, KEEP) == many
        work = Work(database)
        await work.accept("trader.purchased", purchases(0, many))
        assert await work.send(USERS, {"userId": 7_000_000}) == many


async def test_pruning_waits_for_nobody(database: Database) -> None:
    """A flow that an operator retries at this moment is left for the next time, and so is everything while another
    replica prunes; with little time, the rest is left.
    """
    async with database.transaction() as connection:
        for number in range(3):
            await ended(connection, number, "failed", timedelta(days=401))
    async with database.transaction() as other:
        await other.execute("select pg_advisory_xact_lock($1)", PRUNE_LOCK)
        assert await prune(database, KEEP, KEEP_LETTERS) == Pruned(0)
    async with database.transaction() as other:
        await other.execute("select 1 from flow where id = $1 for update", UUID(int=1))
        assert await prune(database, KEEP, KEEP_LETTERS, seconds=0) == Pruned(2, more=True)
    assert await prune(database, KEEP, KEEP_LETTERS) == Pruned(1)


async def test_what_is_not_published_yet_stays(database: Database) -> None:
    """A flow whose outcome Kafka could not take for longer than LEDGER_KEEP_DAYS is pruned once it is published."""
    async with database.transaction() as connection:
        for number in (1, 2):
            await ended(connection, number, "succeeded", timedelta(days=401))
        await connection.execute(
            "insert into outcome (outcome_id, flow_id, topic, event_id, status, body, lease_until)"
            " values ('1', $1, 'trader.purchased', 'old-1', 'succeeded', '', now())",
            UUID(int=1),
        )
    assert await prune(database, KEEP, KEEP_LETTERS) == Pruned(1)
    async with database.transaction() as connection:
        await connection.execute("update outcome set published_at = now()")
    assert await prune(database, KEEP, KEEP_LETTERS) == Pruned(1)


async def test_what_steps_waited_for_is_not_kept_in_an_index(database: Database) -> None:
    """The index of waits is as large after the fifth ten thousand of them as after the first."""
    sizes, now = [], datetime.now(UTC)
    async with database.connection() as connection:
        for _ in range(5):
            wait = [
                NewStep(uuid4(), PLAN, StepState.WAITING, "t", now, waits_for=[f"order:purchased:{uuid4()}"])
                for _ in range(10_000)
            ]
            await statement.run(connection, [(steps.NEW_STEPS, steps.planned_rows(wait, {}, now))])
            await connection.execute("delete from step")
            await connection.execute("vacuum step")
            sizes.append(await connection.fetchval("select pg_relation_size('step_waits')"))
    assert sizes[-1] < 2 * sizes[0], sizes
