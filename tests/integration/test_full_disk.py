"""PostgreSQL's disk or the broker's is full: all waits, nothing is lost or doubled, and all goes on with space."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import asyncpg
import pytest

from tests.support.events import purchase
from tests.support.kafka import Broker, KafkaServer
from tests.support.lacking import lacks
from tests.support.oracle import holds_all
from tests.support.postgres import Copied
from tests.support.small_disk import SmallDisk, why_no_small_disk
from tests.support.spine import stages_on
from tests.support.stage import Here, Stage
from tests.support.waiting import eventually
from worker.bridge.bridge import Bridge
from worker.embedded import EmbeddedPostgres
from worker.kafka.admin import ensure_topics
from worker.kafka.topics import ADMIN_ALERT
from worker.settings import BridgeSettings, load
from worker.wiring.bridge import new_bridge

ACCOUNTS = "/user/createevaluationaccounts"

MANY = range(10, 310)
"""Purchases whose rows do not fit into the pages that tables have already."""


@pytest.fixture
def small_disks(request: pytest.FixtureRequest) -> None:
    """They can be mounted here."""
    if reason := why_no_small_disk():
        lacks(request, f"The tests of full disks did not run: {reason}")


@pytest.fixture
def disk(small_disks: None) -> Iterator[SmallDisk]:
    """The disk that a test fills."""
    with SmallDisk(120) as made:
        yield made


class _OnDisk(Copied):
    """A server whose data, or whose write-ahead log alone, is on a small disk."""

    def __init__(self, original: EmbeddedPostgres, disk: SmallDisk, *, log_alone: bool) -> None:
        super().__init__(original, "max_wal_size=32MB")
        self._disk = disk
        self._log_alone = log_alone

    def _make_data(self) -> None:
        super()._make_data()
        moved = self._there() / ("data/pg_wal" if self._log_alone else "data")
        there = self._disk.path / moved.name
        subprocess.run(["cp", "-a", str(moved), str(there)], check=True)
        subprocess.run(["rm", "-r", str(moved)], check=True)
        moved.symlink_to(there)

    @property
    def log(self) -> str:
        """All that the server said."""
        return (self._there() / "log").read_text()


@asynccontextmanager
async def _stage(servers: str, ledgers: Callable[[], str], **settings: str) -> AsyncIterator[Stage]:
    async for stages in stages_on(servers, ledgers, None, **settings):
        yield await stages()


async def _waits(here: Here, says: str) -> bool:
    checks = await here.replica.health.ready()
    assert any(says in (why or "") for why in checks.values()), checks
    assert not here.task.done()
    return True


@pytest.mark.slow
async def test_a_full_disk_of_the_ledger_is_waited_for(
    kafka: Broker, original_postgres: EmbeddedPostgres, disk: SmallDisk
) -> None:
    """Events stay on their topics with their offsets uncommitted, and readiness and log name the disk. A call that was
    under way is looked up, for its replica dies before it can be recorded. With space again all is done, once.
    """
    with _OnDisk(original_postgres, disk, log_alone=False) as server:
        async with _stage(kafka.bootstrap_servers, lambda: server.create_database("ledger", "migrated")) as on:
            replica = on.process()
            await on.buy(purchase(0))
            await on.all_ended()
            on.fault("delay", ACCOUNTS, seconds=1.5, times=1)
            await on.buy(purchase(1))
            await eventually(lambda: on.count(ACCOUNTS) == 2)
            disk.fill()
            await on.buy(*map(purchase, MANY))
            await eventually(lambda: "disk space" in str(replica.logged("intake.waits")), 20)
            replica.kill()
            here = on.replica_later()
            await eventually(partial(_waits, here, "disk space"), 30)
            assert await on.committed() <= 2 + len(await on.rows("select 1 from flow"))
            disk.free()
            assert {outcome["status"] for outcome in await on.all_ended()} == {"succeeded"}
            await here.ready()
            await holds_all(on)


@pytest.mark.slow
async def test_a_full_disk_of_the_write_ahead_log_is_waited_for(
    kafka: Broker, original_postgres: EmbeddedPostgres, disk: SmallDisk
) -> None:
    """PostgreSQL panics and does not come back before there is space: all waits, and goes on when an operator has
    started it again.
    """
    with _OnDisk(original_postgres, disk, log_alone=True) as server:
        async with _stage(kafka.bootstrap_servers, lambda: server.create_database("ledger", "migrated")) as on:
            here = await on.replica()
            await on.buy(purchase(0))
            await on.all_ended()
            on.fault("delay", ACCOUNTS, seconds=1.5, times=1)
            await on.buy(purchase(1))
            await eventually(lambda: on.count(ACCOUNTS) == 2)
            disk.fill()
            await eventually(partial(_panicked, server), 30)
            await on.buy(*(purchase(number) for number in MANY[:50]))
            await eventually(partial(_waits, here, "PostgreSQL"), 30)
            await asyncio.to_thread(server.down)
            disk.free()
            await asyncio.to_thread(server.up)
            assert {outcome["status"] for outcome in await on.all_ended()} == {"succeeded"}
            await here.ready()
            await holds_all(on)


async def _panicked(server: _OnDisk) -> bool:
    """Has the server begin another file of its log, until it cannot."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection = await asyncpg.connect(server.url)
        try:
            await connection.execute("select pg_current_xact_id(), pg_switch_wal()")
        finally:
            await connection.close()
    return "PANIC" in server.log


@pytest.mark.slow
async def test_a_full_disk_of_the_broker_is_waited_for(small_disks: None, ledgers: Callable[[], str]) -> None:
    """The broker gives up its only disk and stops: outcomes, a dead letter, a signature and events wait, calls go on,
    and all is published when it is back, once.
    """
    with SmallDisk(40) as disk, KafkaServer(place=disk.path) as broker:
        async with _stage(broker.bootstrap_servers, ledgers, KAFKA_TOPIC_PARTITIONS="1") as on, _bridge(on) as bridge:
            here = await on.replica()
            await on.buy(purchase(0))
            (first,) = await on.all_ended()
            async with on.gathered("createEvaluationUsers"):
                await on.buy(*map(purchase, MANY[:50]))
                await eventually(lambda: on.rows("select 1 from flow offset 50"), 30)
                ended = on.events.pop(0)  # which waits for nothing
                async with _intake_held(on):
                    bad = await on.wire.send(b"no event")
                    disk.fill()
            await eventually(lambda: broker.ended, 60)
            on.events.insert(0, ended)
            signal = on.partner.sandbox.control.sign({"userId": first["userId"]})["signalIds"][0]
            await eventually(partial(_waits, here, "outcome: no answer"), 60)
            await eventually(lambda: bridge.tasks is not None and bridge.tasks.waiting)
            assert on.count(ACCOUNTS)  # calls go on
            disk.free()
            broker.kill()
            await asyncio.to_thread(broker.start)
            assert {outcome["status"] for outcome in await on.all_ended(60)} == {"succeeded"}
            assert (await on.outcome(f"mda-{signal}", 60))["status"] == "succeeded"
            await eventually(lambda: on.wire.dead_letters)
            # The client gives up a record after 40 s, and does not know whether it is there: one more may come then.
            letters = [each.header["dlq-offset"] for each in on.wire.dead_letters]
            assert set(letters) == {str(bad.offset).encode()}
            assert len(letters) <= 2
            await here.ready()
            await holds_all(on)


@asynccontextmanager
async def _bridge(on: Stage) -> AsyncIterator[Bridge]:
    """One that works, in this process."""
    await ensure_topics(on.settings(), [ADMIN_ALERT])
    bridge = new_bridge(load(BridgeSettings, on.env), name="here")
    task = asyncio.create_task(bridge.run())
    try:
        await eventually(lambda: bridge.tasks is not None and all(each.caught_up for each in bridge.tasks.lines), 30)
        yield bridge
    finally:
        bridge.stopping.set()
        await asyncio.wait({task}, timeout=20)


_WAITS_TO_ACCEPT = (
    "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    " and query like '%insert into flow%'"
)


@asynccontextmanager
async def _intake_held(on: Stage) -> AsyncIterator[None]:
    """Intake has read an event and cannot accept it: what comes then is behind that."""
    connection = await asyncpg.connect(on.database_url)
    try:
        async with connection.transaction():
            await connection.execute("lock table flow in share mode")
            await on.buy(purchase(9))
            await eventually(lambda: on.rows(_WAITS_TO_ACCEPT), 20)
            yield
    finally:
        await connection.close()
