"""What the benches run on: PostgreSQL, a broker, the partner and the worker, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.support.kafka import KafkaServer, why_no_java
from tests.support.postgres import system_postgres
from tests.support.processes import Process
from tests.support.replicas import ReplicaProcess
from tests.support.waiting import eventually
from worker.embedded import EmbeddedKafka, EmbeddedPostgres
from worker.engine.flows import FLOWS
from worker.kafka.admin import ensure_topics
from worker.kafka.topics import dead_letter_topic, outcome_topic
from worker.ledger import schema
from worker.settings import RunSettings, load

PURCHASED = "trader.purchased"

PARTNER_MS = 50.0
"""What a call takes at the partner."""

PARTITIONS = 12
"""The default of `topics create`."""

TOPICS = [name for topic in FLOWS for name in (topic, outcome_topic(topic), dead_letter_topic(topic))]


@dataclass
class Servers:
    """PostgreSQL and a broker for a whole run: a real one if there is one."""

    postgres: EmbeddedPostgres
    bootstrap: str
    kind: str
    embedded: EmbeddedKafka | None = None

    @classmethod
    @asynccontextmanager
    async def up(cls, postgres: str = "embedded") -> AsyncIterator[Self]:
        """Starts them, ends them. `postgres`: `embedded` (its disk is not waited for), or the `system`'s."""
        # A consumer that comes to fresh topics first says so, many times.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        async with AsyncExitStack() as stack:
            server = stack.enter_context(system_postgres() if postgres == "system" else EmbeddedPostgres())
            kind = f"PostgreSQL {await _version(server.url)}, fsync {'on' if postgres == 'system' else 'off'}"
            if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
                yield cls(server, given, f"{kind}; Kafka at {given}")
            elif why := why_no_java():
                broker = stack.enter_context(EmbeddedKafka())
                yield cls(server, broker.bootstrap_servers, f"{kind}; librdkafka's mock broker ({why})", broker)
            else:
                kafka = await asyncio.to_thread(KafkaServer().start)
                stack.callback(kafka.close)
                yield cls(server, kafka.bootstrap_servers, f"{kind}; Apache Kafka, one broker on this machine")


class Partner(Process):
    """The sandbox, as a process of its own."""

    def __init__(self, **switches: Any) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="tradovate-bench-")
        faults = Path(self._directory.name) / "switches.json"
        faults.write_text(json.dumps({"switches": {"partner_ms": PARTNER_MS, **switches}}))
        super().__init__([sys.executable, "-m", "worker.sandbox", "--port", "0", "--faults", str(faults)])

    async def settings(self) -> dict[str, str]:
        """The settings that fit it, once it serves."""

        def said() -> dict[str, str]:
            assert self.returncode is None, self.stderr
            found = dict(line.split("=", 1) for line in self.stdout.splitlines() if "=" in line)
            return found if "TRADOVATE_MAINTENANCE" in found else {}

        return await eventually(said, 30)

    def close(self) -> None:
        """Ends it."""
        super().close()
        self._directory.cleanup()


@dataclass
class House:
    """One worker, or none yet, with partner, ledger and topics that nobody else uses, and the shop around it."""

    servers: Servers
    env: dict[str, str]
    partner: Partner
    heard: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)  # by event: when, and the outcome
    worker: ReplicaProcess | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _producer: Any = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, servers: Servers, switches: Mapping[str, Any] | None = None, **settings: str
    ) -> AsyncIterator[Self]:
        """Everything but the worker; ended at the end."""
        async with AsyncExitStack() as stack:
            partner = Partner(**(switches or {}))
            stack.callback(partner.close)
            name = f"bench_{uuid.uuid4().hex[:12]}"
            url = servers.postgres.create_database(name)
            await schema.upgrade(url)
            env = {
                **await partner.settings(),
                "KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap,
                "KAFKA_TOPIC_PREFIX": f"{name}.",
                "KAFKA_GROUP_ID": name,
                "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS),
                "DATABASE_URL": url,
                "SECRET_KEY": "a key of the benches that is long enough",
                "HTTP_PORT": "0",
                "LOG_LEVEL": "info",  # a worker tells its address in a line of that level
                **settings,
            }
            house = cls(servers, env, partner)
            if servers.embedded is not None:
                await asyncio.to_thread(servers.embedded.touch_topics, [f"{name}.{topic}" for topic in TOPICS])
            else:
                await ensure_topics(load(RunSettings, env=env), TOPICS)
            house._producer = AIOKafkaProducer(bootstrap_servers=servers.bootstrap, acks="all", linger_ms=0)
            await house._producer.start()
            stack.push_async_callback(house._producer.stop)
            listening = asyncio.create_task(house._listen(f"{name}.{outcome_topic(PURCHASED)}"))
            stack.push_async_callback(_cancel, listening)
            try:
                yield house
            finally:
                if house.worker is not None:
                    house.worker.close()

    async def start(self) -> ReplicaProcess:
        """Starts the worker and returns when it is ready."""
        self.worker = ReplicaProcess(self.env)
        await self.worker.ready()
        return self.worker

    # -- the shop ------------------------------------------------------------------------------------------------------

    async def send(self, events: Iterable[Mapping[str, Any]]) -> float:
        """Sends purchases as fast as it can; the time of the first."""
        topic = self.env["KAFKA_TOPIC_PREFIX"] + PURCHASED
        records = [(orjson.dumps(event), str(event["traderId"]).encode()) for event in events]
        began = time.monotonic()
        sent = [await self._producer.send(topic, value, key) for value, key in records]
        await asyncio.gather(*sent)
        return began

    async def outcomes(self, event_ids: Iterable[str], timeout: float) -> float:
        """Waits for outcomes; when the last of them was heard. `TimeoutError` when some are missing."""
        missing = set(event_ids)
        async with asyncio.timeout(timeout):
            while missing := missing - self.heard.keys():
                self._news.clear()
                await self._news.wait()
        return max(when for when, _ in self.heard.values())

    async def _listen(self, topic: str) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        )
        partitions = EmbeddedKafka.PARTITIONS if self.servers.embedded else PARTITIONS
        consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
        await consumer.start()
        try:
            while True:
                found = await consumer.getmany(timeout_ms=1000)
                now = time.monotonic()
                for record in (each for records in found.values() for each in records):
                    outcome = orjson.loads(record.value)
                    self.heard.setdefault(outcome["eventId"], (now, outcome))
                if found:
                    self._news.set()
        finally:
            await consumer.stop()

    # -- partner, ledger, process --------------------------------------------------------------------------------------

    async def control(self, page: str) -> Any:
        """What the partner's control API says."""
        address = self.env["TRADOVATE_LIVE_URL"].split("/live", 1)[0].rsplit("/v1", 1)[0]
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            return (await client.get(f"{address}/control/{page}")).json()

    async def count(self, query: str) -> int:
        """A number out of the ledger."""
        connection = await asyncpg.connect(self.env["DATABASE_URL"])
        try:
            return int(await connection.fetchval(query) or 0)
        finally:
            await connection.close()

    def peak_megabytes(self) -> float:
        """The most resident memory that the worker's process has had."""
        assert self.worker is not None
        status = Path(f"/proc/{self.worker.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


async def _version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(connection.get_server_version().major)
    finally:
        await connection.close()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
