"""Kafka and PostgreSQL out of wheels."""

from __future__ import annotations

import sys
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from tests.support.lacking import lacks
from tests.support.postgres import Databases
from tests.support.processes import Process
from tests.support.small_disk import SmallDisk, why_no_small_disk
from tests.support.waiting import eventually, eventually_sync
from worker.cli._errors import failure_of
from worker.embedded import EmbeddedKafka, EmbeddedPostgres, ServerFailed
from worker.kafka.producer import RecordProducer
from worker.settings import DatabaseSettings, KafkaSettings, load

_HOLD_BOTH = """
import os, signal
from worker.embedded import EmbeddedKafka, EmbeddedPostgres
with EmbeddedPostgres() as postgres, EmbeddedKafka() as kafka:
    print(postgres.url.partition("host=")[2], flush=True)
    signal.pause()
"""


async def test_a_database_is_empty_and_its_own(postgres: EmbeddedPostgres, database_url: str) -> None:
    """Each database is reached at an address that asyncpg and the settings take, and holds nothing of another's."""
    url = load(DatabaseSettings, {"DATABASE_URL": database_url}).database_url.get_secret_value()
    connection = await asyncpg.connect(url)
    await connection.execute("create table mine ()")
    await connection.close()
    connection = await asyncpg.connect(postgres.create_database("neighbour"))
    assert await connection.fetchval("select to_regclass('mine')") is None
    assert int(await connection.fetchval("show server_version_num")) >= 140000
    await connection.close()
    postgres.drop_database("neighbour")


async def test_a_database_goes_away_and_comes_back(own_postgres: EmbeddedPostgres) -> None:
    """A server that is taken down refuses, and comes up again at the same address with what it held."""
    url = own_postgres.create_database("ledger")
    connection = await asyncpg.connect(url)
    await connection.execute("create table kept ()")
    await connection.close()
    own_postgres.down()
    with pytest.raises(OSError):  # noqa: PT011, the socket is not there
        await asyncpg.connect(url)
    own_postgres.up()
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("select to_regclass('kept')") == "kept"
    await connection.close()


def test_stopping_leaves_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """A stopped server has left no file and has said nothing on the terminal."""
    with EmbeddedPostgres() as server, EmbeddedKafka() as kafka:
        home = Path(server.url.partition("host=")[2])
        kafka.touch_topics(["a"])
        assert home.exists()
    assert not home.exists()
    assert capfd.readouterr() == ("", "")
    with pytest.raises(RuntimeError, match="not started"):
        server.create_database("x")


@pytest.mark.parametrize("end", ["kill", "terminate", "interrupt"])
def test_servers_end_with_their_process(end: str) -> None:
    """However the starting process ends, a kill included, no server and no file stays behind."""
    with Process([sys.executable, "-W", "error", "-c", _HOLD_BOTH]) as holder:
        home = Path(eventually_sync(lambda: holder.stdout).strip())
        assert home.exists()
        getattr(holder, end)()
        holder.wait()
        eventually_sync(lambda: not home.exists())


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A failed start is an error with the tool's own words on one line, and leaves nothing behind."""
    server = EmbeddedPostgres()
    broken = tmp_path / "server" / "bin"
    broken.mkdir(parents=True)
    (broken / "initdb").write_text("#!/bin/sh\necho no licence >&2; exit 1\n")
    (broken / "initdb").chmod(0o755)
    monkeypatch.setattr(server, "_bin", broken)
    with pytest.raises(ServerFailed, match=r"initdb: no licence\): correct that"):
        server.start()
    with pytest.raises(RuntimeError, match="not started"):
        server.create_database("x")


@pytest.mark.parametrize("megabytes", [1, 12, 30])
def test_a_full_disk_names_what_to_do(request: pytest.FixtureRequest, megabytes: int) -> None:
    """Wherever a start fails for want of room, the error says where to make some, on one line of a command."""
    if why := why_no_small_disk():
        lacks(request, why)
    with SmallDisk(megabytes) as disk:
        with pytest.raises(ServerFailed) as failed:
            EmbeddedPostgres(place=str(disk.path)).start()
        assert list(disk.path.iterdir()) == []
    failure = failure_of(failed.value)
    assert failure is not None
    assert failure.code == 1
    assert f"No space left on device): make room in {disk.path}, 100 MB at least." in failure.sentence


def test_a_directory_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    """What the system refuses before any tool of PostgreSQL's runs is such an error, too."""
    with pytest.raises(ServerFailed, match="its directory: No such file or directory"):
        EmbeddedPostgres(place=str(tmp_path / "none")).start()


async def test_embedded_kafka_carries_records(embedded_kafka: EmbeddedKafka, topic_prefix: str) -> None:
    """A topic that was touched has four partitions and carries a record from producer to consumer."""
    topic = topic_prefix + "trader.purchased"
    embedded_kafka.touch_topics([topic])
    settings = load(KafkaSettings, {"KAFKA_BOOTSTRAP_SERVERS": embedded_kafka.bootstrap_servers})
    async with RecordProducer(settings) as producer:
        await producer.send(topic, value=b"{}", key=b"cust-77", headers=[("ce_id", b"e-1")])
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=embedded_kafka.bootstrap_servers, auto_offset_reset="earliest", group_id=topic_prefix
    )
    await consumer.start()
    try:
        assert len(consumer.partitions_for_topic(topic)) == EmbeddedKafka.PARTITIONS
        record = await eventually(consumer.getone)
        assert (record.key, record.value, record.headers) == (b"cust-77", b"{}", (("ce_id", b"e-1"),))
    finally:
        await consumer.stop()


def test_databases_are_made_after_the_server_has_cut_its_connections(own_postgres: EmbeddedPostgres) -> None:
    """A server that restarts costs one test and not all that come after it."""
    with Databases(own_postgres) as databases:
        databases.create("before")
        own_postgres.down()
        own_postgres.up()
        assert "/after?" in databases.create("after", "before")
