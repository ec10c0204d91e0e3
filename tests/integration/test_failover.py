"""A primary that is demoted, and a second PostgreSQL that takes over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from tests.support.commands import command
from tests.support.events import purchase
from tests.support.kafka import Broker
from tests.support.lacking import lacks
from tests.support.oracle import holds_all
from tests.support.postgres import PgBouncer, Standby, system_postgres, why_no_pgbouncer, why_no_system_postgres
from tests.support.processes import free_port
from tests.support.spine import Stages, stages_on
from tests.support.stage import Here, Stage
from tests.support.tcp import black_hole, moving_address
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres
from worker.ledger import schema


@dataclass
class Pair:
    """A primary and its hot standby, each on a port, and a stage whose ledger is on them."""

    primary: EmbeddedPostgres
    standby: Standby
    ports: tuple[int, int]
    stages: Stages

    def url(self, *ports: int) -> str:
        """The ledger's address at these ports."""
        return f"postgresql://postgres@{','.join(f'127.0.0.1:{port}' for port in ports)}/ledger"

    async def stage(self, *ports: int) -> Stage:
        """A stage whose replicas know the ledger by these ports."""
        on = await self.stages()
        on.env["DATABASE_URL"] = self.url(*ports)
        return on

    async def demote(self) -> None:
        """The primary takes no more writes, and closes no connection; the standby takes over what it had."""
        await self.ask(0, "alter system set default_transaction_read_only = on")
        await self.ask(0, "select pg_reload_conf()")
        await self.caught_up()
        await asyncio.to_thread(self.standby.promote)

    async def caught_up(self) -> None:
        """Until the standby has all that the primary has written."""
        end = await self.ask(0, "select pg_current_wal_flush_lsn()::text")
        await eventually(lambda: self.ask(1, f"select pg_last_wal_replay_lsn() >= '{end}'::pg_lsn"), 20)

    async def ask(self, which: int, query: str) -> object:
        """One value, from the primary (0) or the standby (1)."""
        connection = await asyncpg.connect(self.url(self.ports[which]))
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()


@pytest.fixture
async def pair(request: pytest.FixtureRequest, kafka: Broker) -> AsyncIterator[Pair]:
    """Set up, with an empty ledger on both."""
    if reason := why_no_system_postgres():
        lacks(request, f"The tests with a second PostgreSQL did not run: {reason}")
    ports = free_port(), free_port()
    with system_postgres(port=ports[0]) as primary:
        await schema.upgrade(primary.create_database("ledger"))
        with Standby(primary, ports[1]) as standby:
            first = f"postgresql://postgres@127.0.0.1:{ports[0]}/ledger"
            async for stages in stages_on(kafka.bootstrap_servers, lambda: first):
                yield Pair(primary, standby, ports, stages)


async def _all_is_well(on: Stage, here: Here, pair: Pair) -> None:
    outcomes = await on.all_ended(60)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert not here.task.done()
    await here.ready()
    on.database_url = pair.url(pair.ports[1])
    await holds_all(on)


async def test_connections_to_a_demoted_primary_leave_the_pool(pair: Pair) -> None:
    """The address moves to the standby, the old connections stay open and read-only: none of them is used again."""
    async with moving_address(pair.ports[0]) as address:
        on = await pair.stage(address.port)
        here = await on.replica()
        await on.buy(*(purchase(number) for number in range(20)))
        await on.all_ended()
        await pair.demote()
        await on.buy(*(purchase(number) for number in range(20, 40)))

        async def reported() -> bool:
            checks = await here.replica.health.ready()
            return any("read-only" in (why or "") for why in checks.values())

        await eventually(reported, 20)
        address.target = pair.ports[1]
        await _all_is_well(on, here, pair)


async def test_the_next_host_is_used_when_the_first_is_gone(pair: Pair) -> None:
    """Of two hosts in DATABASE_URL the one that takes writes is used, also when the first does not answer at all."""
    with black_hole() as hole:
        on = await pair.stage(hole, *pair.ports)
        here = await on.replica()
        await on.buy(*(purchase(number) for number in range(10)))
        await on.all_ended()
        await pair.caught_up()
        await asyncio.to_thread(pair.primary.down)
        await asyncio.to_thread(pair.standby.promote)
        await on.buy(*(purchase(number) for number in range(10, 20)))
        await _all_is_well(on, here, pair)


async def test_a_standby_is_waited_for_until_it_takes_over(pair: Pair) -> None:
    """Started on a standby, the worker waits and says so, doctor fails with the fix, and commands that read work."""
    on = await pair.stage(pair.ports[1])
    here = on.replica_later()

    async def reported() -> bool:
        return "read-only" in ((await here.replica.health.ready())["database"] or "")

    await eventually(reported, 20)
    doctor = await command(on.env, "doctor")
    assert doctor.code == 1
    assert "read-only" in doctor.stdout
    assert "name the primary in DATABASE_URL" in doctor.stdout
    assert (await command(on.env, "flows", "list", "--json")).json == []
    assert (await command(on.env, "flows", "export")).stdout.startswith("time,kind,")
    assert (await command(on.env, "db", "status", "--json")).json["usable"]
    assert "read-only" in (await command(on.env, "pause", "--reason", "a test")).refusal
    await pair.caught_up()
    await asyncio.to_thread(pair.standby.promote)
    await on.buy(purchase(1))
    await _all_is_well(on, here, pair)


async def test_a_demoted_primary_behind_a_pooler_is_left(request: pytest.FixtureRequest, pair: Pair) -> None:
    """Behind PgBouncer the server sessions change under the same connection; none that is read-only is written to."""
    if reason := why_no_pgbouncer():
        lacks(request, f"The tests behind a pooler did not run: {reason}")
    async with moving_address(pair.ports[0]) as address:
        upstream = f"postgresql://postgres@/postgres?host=127.0.0.1&port={address.port}"
        with PgBouncer(upstream, "transaction", server_login_retry="1", server_lifetime="3") as bouncer:
            on = await pair.stages()
            on.env["DATABASE_URL"] = bouncer.url("ledger")
            here = await on.replica()
            await on.buy(*(purchase(number) for number in range(10)))
            await on.all_ended()
            await pair.demote()
            await on.buy(*(purchase(number) for number in range(10, 20)))

            async def reported() -> bool:
                checks = await here.replica.health.ready()
                return any("read-only" in (why or "") for why in checks.values())

            await eventually(reported, 20)
            address.target = pair.ports[1]
            await _all_is_well(on, here, pair)
