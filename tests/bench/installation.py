"""What is measured: replicas of the worker and the partner, each a process of its own, and the shop in this process."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.bench.servers import Servers, processor_seconds
from tests.support.events import purchase
from tests.support.processes import Process
from tests.support.replicas import ReplicaProcess
from tests.support.waiting import eventually
from worker.embedded import EmbeddedKafka
from worker.engine.flows import FLOWS
from worker.kafka.admin import ensure_topics
from worker.kafka.topics import dead_letter_topic, outcome_topic
from worker.ledger import schema
from worker.settings import RunSettings, load

PURCHASED = "trader.purchased"

PARTNER_MS = 50.0
"""What a call takes at the partner, if a part does not say otherwise."""

NO_LIMITS: Mapping[str, Any] = {"hourly_calls": 1_000_000, "warning_from_call": 0, "endpoint_limits_on": False}
"""Switches of a partner that never refuses a call."""

NO_BUDGET: Mapping[str, str] = {"TRADOVATE_HOURLY_BUDGET": "1000000", "TRADOVATE_MINUTE_BUDGET": "1000000"}
"""Settings of a worker that never spares calls."""

CONSOLE_TOKEN = "a token of the benches"

PARTITIONS = 12
"""The default of `topics create`."""

TOPICS = [name for topic in FLOWS for name in (topic, outcome_topic(topic), dead_letter_topic(topic))]


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
class Installation:
    """Replicas of the worker, none at first, with a partner, a ledger and topics of their own; and the shop."""

    servers: Servers
    env: dict[str, str]
    partner: Partner
    outcomes: dict[str, float] = field(default_factory=dict)  # by event: when its final outcome arrived
    replicas: list[ReplicaProcess] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _producer: Any = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        servers: Servers,
        switches: Mapping[str, Any] | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        ledger: str | None = None,
    ) -> AsyncIterator[Self]:
        """All but the replicas. `switches`: the partner's; `settings`: the worker's; `ledger`: the address of one that
        is filled already.
        """
        async with AsyncExitStack() as stack:
            partner = Partner(**(switches or {}))
            stack.callback(partner.close)
            name = f"bench_{uuid.uuid4().hex[:12]}"
            if ledger is None:
                ledger = servers.postgres.create_database(name)
                stack.callback(servers.postgres.drop_database, name)
                await schema.upgrade(ledger)
            env = {
                **await partner.settings(),
                "KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap,
                "KAFKA_TOPIC_PREFIX": f"{name}.",
                "KAFKA_GROUP_ID": name,
                "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS),
                "DATABASE_URL": ledger,
                "SECRET_KEY": "a key of the benches that is long enough",
                "CONSOLE_TOKEN": CONSOLE_TOKEN,
                "HTTP_PORT": "0",
                "LOG_LEVEL": "info",  # a replica logs its address at this level
                **(settings or {}),
            }
            at = cls(servers, env, partner)
            topics = [f"{name}.{topic}" for topic in TOPICS]
            if servers.mock is not None:
                await asyncio.to_thread(servers.mock.touch_topics, topics)
            else:
                await ensure_topics(load(RunSettings, env=env), TOPICS)
                stack.push_async_callback(_delete_topics, servers.bootstrap, topics)
            at._producer = AIOKafkaProducer(bootstrap_servers=servers.bootstrap, acks="all", linger_ms=0)
            await at._producer.start()
            stack.push_async_callback(at._producer.stop)
            listening = asyncio.create_task(at._listen(f"{name}.{outcome_topic(PURCHASED)}"))
            stack.push_async_callback(_cancel, listening)
            stack.callback(at._close_replicas)
            yield at

    async def start(self, replicas: int = 1) -> None:
        """Starts so many replicas and returns when all are ready."""
        self.replicas = [ReplicaProcess(self.env, cold=True) for _ in range(replicas)]
        await asyncio.gather(*(each.ready() for each in self.replicas))

    @contextmanager
    def naive(self) -> Iterator[None]:
        """The naive worker runs in place of replicas."""
        with Process([sys.executable, "-m", "tests.bench.naive"], self.env, cold=True):
            yield

    def _close_replicas(self) -> None:
        for each in self.replicas:
            each.close()

    # -- the shop ------------------------------------------------------------------------------------------------------

    async def send(self, events: Iterable[Mapping[str, Any]], to: str = PURCHASED) -> float:
        """Sends purchases, or events of another topic, as fast as it can; the time of the first."""
        topic = self.env["KAFKA_TOPIC_PREFIX"] + to
        records = [
            (orjson.dumps(event), str(event.get("traderId") or event.get("orderId")).encode()) for event in events
        ]
        began = time.monotonic()
        sent = [await self._producer.send(topic, value, key) for value, key in records]
        await asyncio.gather(*sent)
        return began

    async def arrivals(self, event_ids: Iterable[str], timeout: float) -> list[float]:
        """Waits for the outcomes of events; when each arrived, in order. `TimeoutError` when some are missing."""
        wanted = list(event_ids)
        missing = set(wanted)
        async with asyncio.timeout(timeout):
            while missing := missing - self.outcomes.keys():
                self._news.clear()
                await self._news.wait()
        return sorted(self.outcomes[each] for each in wanted)

    async def rate(self, numbers: range, timeout: float) -> float:
        """Purchases a second, from the first event's sending to the last outcome's arrival."""
        began = await self.send([purchase(number) for number in numbers])
        ended = (await self.arrivals(ids(numbers), timeout))[-1]
        return len(numbers) / (ended - began)

    async def _listen(self, topic: str) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        )
        partitions = EmbeddedKafka.PARTITIONS if self.servers.mock else PARTITIONS
        consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
        await consumer.start()
        try:
            while True:
                found = await consumer.getmany(timeout_ms=1000)
                now = time.monotonic()
                for record in (each for records in found.values() for each in records):
                    outcome = orjson.loads(record.value)
                    if outcome["status"] != "pending":
                        self.outcomes.setdefault(outcome["eventId"], now)
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
        """The most resident memory that the first replica's process has had."""
        status = Path(f"/proc/{self.replicas[0].pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    def processor(self) -> dict[str, float]:
        """Processor seconds of each part up to now. A broker that this run did not start is left out."""
        found = {
            "workers": sum(processor_seconds(each.pid) for each in self.replicas),
            "partner": processor_seconds(self.partner.pid),
            "PostgreSQL": processor_seconds(self.servers.database_pid),
        }
        if self.servers.kafka is not None:
            found["Kafka"] = processor_seconds(self.servers.kafka.pid)
        return found


def ids(numbers: range) -> list[str]:
    """The event ids of purchases."""
    return [f"e-{number}" for number in numbers]


async def _delete_topics(bootstrap: str, topics: list[str]) -> None:
    # A run opens dozens of installations, and hundreds of partitions for each would slow the broker down.
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics(topics)
    finally:
        await admin.close()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
