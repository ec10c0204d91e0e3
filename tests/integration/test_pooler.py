"""Behind a real PgBouncer, whose server sessions change under its clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.bridges import BridgeStage
from tests.support.commands import command
from tests.support.events import purchase
from tests.support.kafka import Broker
from tests.support.oracle import holds_all
from tests.support.postgres import PgBouncer
from tests.support.spine import Stages, stages_on
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres
from worker.ledger import schema
from worker.ledger.database import Database, DatabaseUnavailable
from worker.ledger.errors import Cause

Poolers = Callable[..., PgBouncer]


@pytest.fixture
def ledger(system_server: EmbeddedPostgres) -> Iterator[str]:
    """The name of an empty ledger on the distribution's server."""
    name = "behind_the_pooler"
    asyncio.run(schema.upgrade(system_server.create_database(name)))
    yield name
    system_server.drop_database(name)


@pytest.fixture
async def pooled(kafka: Broker, system_server: EmbeddedPostgres, ledger: str) -> AsyncIterator[Stages]:
    """Stages whose ledger is on the distribution's server."""
    async for stages in stages_on(
        kafka.bootstrap_servers, lambda: f"postgresql://postgres@/{ledger}?{_where(system_server)}"
    ):
        yield stages


def _where(server: EmbeddedPostgres) -> str:
    return urlsplit(server.url).query


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_events_are_done_behind_a_pooler(pooler: Poolers, pooled: Stages, ledger: str, mode: str) -> None:
    """Two replicas behind PgBouncer, with fewer server sessions than connections, do every purchase once."""
    bouncer = pooler(mode, size=16 if mode == "session" else 3)
    on = await pooled()
    on.env["DATABASE_URL"] = bouncer.url(ledger)
    here, there = await on.replica(), await on.replica()
    await on.buy(*(purchase(number) for number in range(60)))
    outcomes = await on.all_ended()
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await holds_all(on)
    assert here.replica.database.pooled
    assert there.replica.database.pooled


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_operators_work_behind_a_pooler(pooler: Poolers, pooled: Stages, ledger: str, mode: str) -> None:
    """The schema is upgraded, flows and holds are listed, and doctor names the pooler in its line of the database."""
    bouncer = pooler(mode)
    on = await pooled()
    env = on.env | {"DATABASE_URL": bouncer.url(ledger)}
    connection = await asyncpg.connect(on.database_url)
    await connection.execute("drop schema public cascade; create schema public")
    await connection.close()
    assert (await command(env, "db", "upgrade")).code == 0
    assert (await command(env, "db", "status", "--json")).json["usable"]
    assert (await command(env, "flows", "list", "--json")).json == []
    assert (await command(env, "pause", "--reason", "a test")).code == 0
    assert [hold["scope"] for hold in (await command(env, "holds", "list", "--json")).json] == ["pause:all"]
    assert (await command(env, "resume")).code == 0
    checks = {each["check"]: each for each in json.loads((await command(env, "doctor", "--json")).stdout)}
    assert "behind a pooler" in checks["database"]["seen"]


async def test_a_bridge_works_behind_a_pooler(
    pooler: Poolers, kafka: Broker, system_server: EmbeddedPostgres, ledger: str
) -> None:
    """It leads, publishes what is signed, and hands the lead over to the next one."""
    on = BridgeStage(kafka.bootstrap_servers, f"postgresql://postgres@/{ledger}?{_where(system_server)}")
    await on.up()
    try:
        on.env["DATABASE_URL"] = pooler("transaction", size=2).url(ledger)
        first = await on.leader()
        await on.bridged(on.sign(*on.users(3)))
        first.terminate()
        assert await asyncio.to_thread(first.wait) == 0
        await on.leader()
        await on.bridged(on.sign(*on.users(3)))
    finally:
        await on.down()


async def test_a_database_of_another_program_is_left_alone(pooler: Poolers, system_server: EmbeddedPostgres) -> None:
    """Tables of the same names that are no ledger's are not touched: db upgrade says so in a line."""
    url = system_server.create_database("of_another_program")
    connection = await asyncpg.connect(url)
    await connection.execute("create table flow (id int)")
    await connection.close()
    refused = await command({"DATABASE_URL": url}, "db", "upgrade")
    system_server.drop_database("of_another_program")
    assert refused.code == 1
    assert "use an empty database" in refused.refusal


async def test_a_pooler_that_takes_start_up_parameters_is_found(pooler: Poolers, ledger: str) -> None:
    """PgBouncer can be configured to drop start-up parameters in silence; it is found all the same."""
    ignored = "idle_in_transaction_session_timeout,lock_timeout,statement_timeout,jit,enable_seqscan"
    database = Database(pooler("transaction", ignore_startup_parameters=ignored).url(ledger))
    async with database.connection() as connection:
        assert await connection.fetchval("select count(*) from flow") == 0
    assert database.pooled
    await database.close()


async def test_limits_hold_in_each_transaction_and_nowhere_else(pooler: Poolers, ledger: str) -> None:
    """Behind a pooler a transaction has its own time limits, and leaves none behind for other programs."""
    bouncer = pooler("transaction", size=1)
    database = Database(bouncer.url(ledger))
    async with database.transaction() as connection:
        assert await connection.fetchval("show idle_in_transaction_session_timeout") == "5s"
    other = await asyncpg.connect(bouncer.url(ledger), statement_cache_size=0)
    assert await other.fetchval("show idle_in_transaction_session_timeout") == "0"
    await other.close()
    await database.close()


async def test_statements_that_others_left_behind_do_not_matter(pooler: Poolers, ledger: str) -> None:
    """Another program's prepared statements on the shared server sessions are not taken for our own."""
    bouncer = pooler("transaction", size=2)
    for _ in range(4):
        careless = await asyncpg.connect(bouncer.url(ledger))
        await careless.prepare("select 1")
        careless.terminate()
    database = Database(bouncer.url(ledger), size=8)

    async def ask(number: int) -> int:
        async with database.connection() as connection:
            return int(await connection.fetchval("select $1::int + count(*) from flow", number))

    assert await asyncio.gather(*(ask(number) for number in range(40))) == list(range(40))
    await database.close()


async def test_a_pooler_in_statement_mode_is_named(pooler: Poolers, pooled: Stages, ledger: str) -> None:
    """Where no transaction is possible, run waits with a line that names pool_mode, and doctor fails with it."""
    on = await pooled()
    on.env["DATABASE_URL"] = pooler("statement").url(ledger)
    process = on.process()
    said = await asyncio.to_thread(process.wait_for_log, "run.waits_for")
    assert "statement pooling" in said["error"]
    assert "pool_mode" in said["fix"]
    doctor = await command(on.env, "doctor", "--json")
    assert doctor.code == 1
    assert "pool_mode" in doctor.stdout


@pytest.mark.slow
async def test_a_server_that_is_away_behind_a_pooler_is_waited_for(
    pooler: Poolers, ledger: str, system_server: EmbeddedPostgres
) -> None:
    """While PgBouncer cannot reach PostgreSQL, that is the reason; when it can again, the same pool works."""
    database = Database(pooler("transaction", server_login_retry="1").url(ledger))
    async with database.connection() as connection:
        await connection.fetchval("select 1")
    system_server.down()
    with pytest.raises(DatabaseUnavailable) as away:
        async with database.connection() as connection:
            await connection.fetchval("select 1")
    assert away.value.cause in (Cause.POOLER, Cause.STARTING, Cause.UNREACHABLE, Cause.TOO_SLOW)
    system_server.up()

    async def works() -> bool:
        try:
            async with database.connection() as connection:
                return bool(await connection.fetchval("select true"))
        except DatabaseUnavailable:
            return False

    await eventually(works, 30)
    await database.close()
