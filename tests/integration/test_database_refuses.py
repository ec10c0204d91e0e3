"""A database that refuses the worker: events wait, the worker lives, health says why, and it goes on by itself."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.support.events import purchase
from tests.support.kafka import Broker
from tests.support.oracle import holds_all
from tests.support.postgres import Role, crash
from tests.support.spine import Stages, stages_on
from tests.support.stage import Here, Stage
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres
from worker.ledger import schema

EVENTS = 20


@dataclass
class Refusing:
    """A stage whose ledger is on the distribution's server, and the user whom that server may refuse."""

    stage: Stage
    role: Role
    database: str

    async def outside(self, *statements: str) -> None:
        """As the superuser, in another database."""
        await self.role.run(*statements)

    async def inside(self, *statements: str) -> None:
        """As the superuser, in the ledger's."""
        await self.role.within(self.database, *statements)


@pytest.fixture
async def refusing(kafka: Broker, system_server: EmbeddedPostgres) -> AsyncIterator[Refusing]:
    """Set up with a user who may do all that is needed."""
    name = f"refuses_{uuid.uuid4().hex[:12]}"
    url = system_server.create_database(name)
    await schema.upgrade(url)
    role = await Role(system_server, f"worker_{name[-6:]}").create(name)
    async for stages in stages_on(kafka.bootstrap_servers, lambda: f"postgresql://postgres@/{name}?{_where(url)}"):
        stage = await stages(DATABASE_URL=role.url(name))
        yield Refusing(stage, role, name)
    await role.drop(name)
    system_server.drop_database(name)


def _where(url: str) -> str:
    return urlsplit(url).query


@dataclass(frozen=True)
class Way:
    """A way to refuse: what is done and undone, by the superuser in another database or in the ledger's; `says` is in
    what health says of it.
    """

    says: str
    outside: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    outside_again: tuple[str, ...] = ()
    inside_again: tuple[str, ...] = ()


def _failing(code: str) -> tuple[str, ...]:
    raising = f"raise exception using errcode = '{code}', message = 'a test'"
    return (
        f"create function fail() returns trigger language plpgsql as $$ begin {raising}; end $$",
        "create trigger fail before insert on flow for each row execute function fail()",
    )


_NEW = "alter table flow add constraint new check (round > 0) not valid"
_WORKS_AGAIN = ("drop trigger fail on flow", "drop function fail")

WAYS = {
    "no login": Way("user or the password", ("alter role {role} nologin", "{kick}"),
                    outside_again=("alter role {role} login",)),
    "another password": Way("user or the password", ("alter role {role} password 'another'", "{kick}"),
                            outside_again=("alter role {role} password '{password}'",)),
    "no privilege": Way("lacks a privilege", inside=("revoke insert, update on flow from {role}",),
                        inside_again=("{grant}",)),
    "no privilege at all": Way("lacks a privilege", inside=("revoke all on all tables in schema public from {role}",),
                               inside_again=("{grant}",)),
    "closed": Way("does not accept connections", ("alter database {database} allow_connections false", "{kick}"),
                  outside_again=("alter database {database} allow_connections true",)),
    "too many connections": Way("no free connection", ("alter role {role} connection limit 0", "{kick}"),
                                outside_again=("alter role {role} connection limit -1",)),
    "read-only": Way("read-only", ("alter role {role} set default_transaction_read_only = on", "{kick}"),
                     outside_again=("alter role {role} reset default_transaction_read_only", "{kick}")),
    "another schema": Way("schema does not fit", inside=("alter table flow rename column trace to traces",),
                          inside_again=("alter table flow rename column traces to trace",)),
    "a new constraint": Way("schema does not fit", inside=(_NEW,),
                            inside_again=("alter table flow drop constraint new",)),
    "an internal error": Way("internal error", inside=_failing("XX000"), inside_again=_WORKS_AGAIN),
    "a full disk": Way("disk space", inside=_failing("53100"), inside_again=_WORKS_AGAIN),
    "an unheard-of error": Way("internal error", inside=_failing("ZZ123"), inside_again=_WORKS_AGAIN),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
async def test_a_database_that_refuses_loses_nothing(refusing: Refusing, way: Way) -> None:
    """Good events wait for it, none becomes a dead letter or fails; the worker goes on when it may."""
    on, role = refusing.stage, refusing.role
    here = await on.replica()
    await on.buy(purchase(0))
    await on.all_ended()  # statements are prepared, connections are there

    def said(statements: tuple[str, ...]) -> list[str]:
        names = {"role": role.name, "password": role.password, "database": refusing.database}
        return [each.format(**names, kick=role.kick, grant=role.grant) for each in statements]

    await refusing.inside(*said(way.inside))
    await refusing.outside(*said(way.outside))
    await on.buy(*(purchase(number) for number in range(1, EVENTS)))

    async def reported() -> bool:
        checks = await here.replica.health.ready()
        assert any(way.says in (why or "") for why in checks.values()), checks
        return True

    await eventually(reported, 20)
    assert not here.task.done()
    await refusing.outside(*said(way.outside_again))
    await refusing.inside(*said(way.inside_again))
    await _all_is_well(on, here)


async def _all_is_well(on: Stage, here: Here) -> None:
    outcomes = await on.all_ended(60)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    assert not here.task.done()
    assert _dead_letters(here) == 0
    await here.ready()
    await holds_all(on)


def _dead_letters(here: Here) -> float:
    metrics = here.replica.metrics.dead_letters.collect()
    return sum(sample.value for metric in metrics for sample in metric.samples if sample.name.endswith("_total"))


async def test_a_migration_under_the_worker_is_not_noticed(refusing: Refusing) -> None:
    """Columns are added while statements are prepared and events come in: their plans are made again."""
    on = refusing.stage
    here = await on.replica()
    await on.buy(purchase(0))
    await on.all_ended()
    for number, table in enumerate(("step", "flow", "outcome", "trader", "business_order", "call", "hold"), 1):
        await refusing.inside(f"alter table {table} add column added integer")
        await on.buy(purchase(number))
    await _all_is_well(on, here)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_stops_of_the_server_end_no_worker(
    fragile_stage: Stages, own_postgres: EmbeddedPostgres, mode: str
) -> None:
    """PostgreSQL stops in the middle of the work, again and again, also while statements are being prepared."""
    on = await fragile_stage()
    here = await on.replica()
    for round_ in range(6):
        await on.buy(*(purchase(number) for number in range(10 * round_, 10 * round_ + 10)))
        await asyncio.to_thread(EmbeddedPostgres.down if mode == "fast" else crash, own_postgres)
        await asyncio.to_thread(own_postgres.up)
    await _all_is_well(on, here)
