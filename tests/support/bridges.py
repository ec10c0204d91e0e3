"""A stage for the bridge: partner, ledger, topics, bridges in this process or in their own, and a listener on Kafka."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord

from tests.support.pages import page
from tests.support.processes import Process
from tests.support.rows import Rows
from tests.support.waiting import eventually
from worker.bridge.bridge import Bridge
from worker.bridge.signal_publisher import TOPICS as SIGNAL_TOPICS
from worker.embedded import EmbeddedKafka
from worker.kafka.admin import ensure_topics
from worker.kafka.topics import ACCOUNT_RISK_STATUS
from worker.ledger.schema import upgrade
from worker.partner.socket_protocol import SocketTiming
from worker.sandbox import RunningSandbox, Sandbox, SandboxConfig, serve, settings_for
from worker.settings import BridgeSettings, load
from worker.wiring.bridge import new_bridge

PARTITIONS = 3

TOPICS = (*SIGNAL_TOPICS, ACCOUNT_RISK_STATUS)
"""What bridges may publish on."""

TAKES_OVER_WITHIN = 15.0
"""Seconds (README, "What happens when")."""


class BridgeProcess(Process):
    """`tradovate-worker bridge`. `crash`: see `tests.crash.runner.killer`."""

    def __init__(self, env: Mapping[str, str], crash: str = "") -> None:
        command = ["-m", "tests.support.bridge_runner", crash] if crash else ["-m", "worker", "bridge"]
        super().__init__([sys.executable, *command], env)
        self._address: str | None = None

    @property
    def address(self) -> str | None:
        """Where it answers, once it has said so."""
        if self._address is None:
            said = self.logged("bridge.http")
            self._address = str(said[0]["address"]) if said else None
        return self._address

    async def health(self) -> dict[str, Any]:
        """What /health/ready says; nothing while it does not answer."""
        return json.loads(await page(self.address, "health/ready") or "{}")  # type: ignore[no-any-return]

    async def metrics(self) -> dict[str, float]:
        """The samples of /metrics, by name and labels."""
        text = await page(self.address, "metrics")
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in ("#", "")]
        return {name.removeprefix("tradovate_worker_"): float(value) for name, value in lines}

    async def is_leader(self) -> bool:
        """Whether it works, with both sockets listening and all caught up."""
        assert self.returncode is None, f"ended with {self.returncode}:\n{self.stderr[-3000:]}"
        health = await self.health()
        return health.get("state") == "leader" and bool(health.get("ready"))

    async def is_standby(self) -> bool:
        """Whether it is ready and stands by."""
        health = await self.health()
        return health.get("state") == "standby" and bool(health.get("ready"))


@dataclass
class BridgeStage:
    """`up` sets it, `down` clears it."""

    servers: str
    database_url: str
    config: SandboxConfig = field(default_factory=SandboxConfig)
    embedded: EmbeddedKafka | None = None
    env: dict[str, str] = field(default_factory=dict)
    processes: list[BridgeProcess] = field(default_factory=list)
    here: list[tuple[Bridge, asyncio.Task[None]]] = field(default_factory=list)
    records: list[ConsumerRecord] = field(default_factory=list)
    partner: RunningSandbox = field(init=False)
    prefix: str = field(init=False)
    rows: Rows = field(init=False)

    def __post_init__(self) -> None:
        self.rows = Rows(lambda: self.database_url)

    async def up(self) -> Self:
        """Starts the partner, makes ledger and topics, begins to listen."""
        await upgrade(self.database_url)
        self.partner = await serve(Sandbox(self.config))
        self.prefix = f"t{uuid.uuid4().hex[:12]}."
        self.env = {
            **settings_for(self.partner),
            "TRADOVATE_TIMEOUT_SECONDS": "5",
            "TRADOVATE_LOCKOUT_SECONDS": "3",
            "SECRET_KEY": "a key of the tests that is long enough",
            "HTTP_PORT": "0",
            "KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "KAFKA_TOPIC_PREFIX": self.prefix,
            "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS),
            "DATABASE_URL": self.database_url,
            **self.env,
        }
        partitions = PARTITIONS
        if self.embedded is None:
            await ensure_topics(self.settings, TOPICS)
        else:
            await asyncio.to_thread(self.embedded.touch_topics, [self.prefix + topic for topic in TOPICS])
            partitions = EmbeddedKafka.PARTITIONS
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            retry_backoff_ms=50,
        )
        self._consumer.assign(
            [TopicPartition(self.prefix + topic, part) for topic in TOPICS for part in range(partitions)]
        )
        await self._consumer.start()
        self._listening = asyncio.create_task(self._listen())
        return self

    async def down(self) -> None:
        """Ends everything, whatever state it is in."""
        for process in self.processes:
            process.close()
        for bridge, task in self.here:
            bridge.stopping.set()
            await asyncio.wait({task}, timeout=20)
        self._listening.cancel()
        with suppress(Exception, TimeoutError):  # a broker that the test has taken down
            async with asyncio.timeout(5):
                await self._consumer.stop()
        if self.embedded is None:
            with suppress(Exception, TimeoutError):
                async with asyncio.timeout(5):
                    admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
                    await admin.start()
                    await admin.delete_topics([self.prefix + topic for topic in TOPICS])
                    await admin.close()
        await self.partner.stop()
        self.rows.close()

    async def _listen(self) -> None:
        async for record in self._consumer:
            self.records.append(record)

    # -- bridges ---------------------------------------------------------------------------------------------

    @property
    def settings(self) -> BridgeSettings:
        """The bridges' settings."""
        return load(BridgeSettings, self.env)

    def process(self, crash: str = "") -> BridgeProcess:
        """Starts a bridge as a process of its own."""
        self.processes.append(BridgeProcess(self.env, crash))
        return self.processes[-1]

    async def leader(self, crash: str = "") -> BridgeProcess:
        """Starts a bridge, and waits until it works."""
        process = self.process(crash)
        await eventually(process.is_leader, 30)
        return process

    async def standby(self) -> BridgeProcess:
        """Starts another, and waits until it stands by."""
        process = self.process()
        await eventually(process.is_standby, 30)
        return process

    async def bridge(self, timing: SocketTiming | None = None, room: int | None = None, name: str = "here") -> Bridge:
        """Starts a bridge in this process, and waits until it works."""
        bridge = self.begin(timing, room, name)
        await self.works(bridge)
        return bridge

    def begin(self, timing: SocketTiming | None = None, room: int | None = None, name: str = "here") -> Bridge:
        """Starts a bridge in this process."""
        bridge = new_bridge(self.settings, name=name, timing=timing, room=room)
        self.here.append((bridge, asyncio.create_task(bridge.run())))
        return bridge

    async def works(self, bridge: Bridge, timeout: float = 20) -> None:
        """Waits until it leads, with both sockets listening and all caught up."""
        task = next(task for other, task in self.here if other is bridge)

        def does() -> bool:
            if task.done():
                task.result()
            return bridge.tasks is not None and all(line.caught_up for line in bridge.tasks.lines)

        await eventually(does, timeout)

    # -- the partner -----------------------------------------------------------------------------------------

    def users(self, count: int) -> list[int]:
        """Users who may sign."""
        made = [{"name": f"u{uuid.uuid4().hex[:10]}", "email": f"{uuid.uuid4().hex}@example.com"} for _ in range(count)]
        ids: list[int] = self.partner.sandbox.control.seed({"users": made})["userIds"]
        return ids

    def sign(self, *user_ids: int) -> list[int]:
        """These users sign; the ids of the signals."""
        ids: list[int] = self.partner.sandbox.control.sign({"userIds": list(user_ids)})["signalIds"]
        return ids

    def switch(self, **switches: Any) -> None:
        """Turns switches of the partner."""
        self.partner.sandbox.control.switch(switches)

    def accounts(self, count: int) -> list[int]:
        """Accounts of DEMO, each with a risk status."""
        ids: list[int] = self.partner.sandbox.control.seed({"accounts": count})["accountIds"]
        return ids

    def risk(self, event: str, *account_ids: int) -> None:
        """Something happens to the risk status of these accounts: see `RISK_EVENTS`."""
        self.partner.sandbox.control.risk({"event": event, "accountIds": list(account_ids)})

    def drop(self, domain: str | None = None) -> None:
        """Cuts the sockets."""
        self.partner.sandbox.core.hub.drop(domain)

    def count(self, path: str) -> int:
        """How many calls of one operation reached the partner."""
        return int(self.partner.sandbox.core.calls.by_path[path.lower()])

    @property
    def sockets(self) -> Counter[str]:
        """The partner's own counts of sockets."""
        return self.partner.sandbox.core.hub.counts

    @property
    def sessions(self) -> Counter[str]:
        """The partner's own counts of sessions."""
        return self.partner.sandbox.core.sessions.counts

    # -- Kafka and the ledger --------------------------------------------------------------------------------

    def published(self, topic: str = "md.signed") -> list[dict[str, Any]]:
        """The bodies on a topic, in the order in which they were heard."""
        return [json.loads(record.value) for record in self.records if record.topic == self.prefix + topic]

    def times(self) -> Counter[int]:
        """How often each signal is on md.signed."""
        return Counter(body["signalId"] for body in self.published())

    async def bridged(self, signal_ids: list[int], timeout: float = 20) -> None:
        """Waits until all of these are on md.signed."""

        def missing() -> bool:
            lacking = set(signal_ids) - self.times().keys()
            assert not lacking, f"not on md.signed: {sorted(lacking)[:10]} ({len(lacking)} of {len(signal_ids)})"
            return True

        await eventually(missing, timeout)

    async def noted(self, signal_ids: list[int]) -> None:
        """Waits until the ledger knows that these are on Kafka."""

        async def all_there() -> bool:
            return set(signal_ids) <= {row["id"] for row in await self.rows("select id from signal")}

        await eventually(all_there)
