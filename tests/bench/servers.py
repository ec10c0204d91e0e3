"""PostgreSQL and Kafka for a whole run, and the processor time that each process takes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import asyncpg

from tests.bench.kept import KeptPostgres
from tests.support.kafka import KafkaServer, why_no_java
from tests.support.postgres import system_postgres
from worker.embedded import EmbeddedKafka, EmbeddedPostgres

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Servers:
    """Both are started for this run; with KAFKA_BOOTSTRAP_SERVERS the broker is one that runs already."""

    postgres: EmbeddedPostgres
    bootstrap: str
    database: str  # for headings
    broker: str
    mock: EmbeddedKafka | None = None
    kafka: KafkaServer | None = None

    @classmethod
    @asynccontextmanager
    async def up(cls, postgres: str, keep: Path | None = None) -> AsyncIterator[Self]:
        """Starts them and stops them. `postgres`: `system` (fsync is on), or `embedded` (fsync is off). `keep`: where
        the data of `system` stay from run to run.
        """
        # A consumer that is there before its topics logs this many times.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        async with AsyncExitStack() as stack:
            server = stack.enter_context(_server(postgres, keep))
            database = f"PostgreSQL {await _version(server.url)}, fsync {'on' if postgres == 'system' else 'off'}"
            if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
                yield cls(server, given, database, f"Kafka at {given}")
            elif why := why_no_java():
                mock = stack.enter_context(EmbeddedKafka())
                yield cls(server, mock.bootstrap_servers, database, f"librdkafka's mock broker ({why})", mock)
            else:
                kafka = await asyncio.to_thread(KafkaServer().start)
                stack.callback(kafka.close)
                yield cls(server, kafka.bootstrap_servers, database, "Apache Kafka, one broker", kafka=kafka)

    @property
    def kept(self) -> bool:
        """Whether the database server's data stay when it is stopped."""
        return isinstance(self.postgres, KeptPostgres)

    @property
    def database_pid(self) -> int:
        """PostgreSQL's first process, the parent of all others."""
        home = parse_qs(urlsplit(self.postgres.url).query)["host"][0]
        return int((Path(home) / "data/postmaster.pid").read_text().split()[0])


def _server(postgres: str, keep: Path | None) -> EmbeddedPostgres:
    if postgres != "system":
        return EmbeddedPostgres()
    return system_postgres() if keep is None else KeptPostgres(keep)


def processor_seconds(pid: int) -> float:
    """Processor time that a process and all that it started have taken up to now."""
    taken = 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        taken += sum(map(int, fields[11:15])) / _TICKS  # utime, stime, and those of children that have ended
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            taken += sum(processor_seconds(int(child)) for child in children.read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended since it was listed
    return taken


async def _version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(connection.get_server_version().major)
    finally:
        await connection.close()
