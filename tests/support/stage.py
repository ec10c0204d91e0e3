"""Everything that a test of the spine needs, on a stage of its own: partner, ledger, topics, replicas, the shop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import RequestTimedOutError
from aiokafka.record.memory_records import MemoryRecords

from tests.support.replicas import ReplicaProcess
from tests.support.rows import Rows
from tests.support.waiting import eventually
from tests.support.wire import PURCHASED, Wire
from worker.embedded import EmbeddedKafka
from worker.engine.flows import FLOWS
from worker.kafka.admin import ensure_topics
from worker.kafka.topics import dead_letter_topic, outcome_topic
from worker.sandbox import RunningSandbox, Sandbox, SandboxConfig, serve, settings_for
from worker.sandbox.core import ServedCall
from worker.sandbox.request import Request
from worker.settings import RunSettings, load
from worker.wiring.replica import Replica

SECRET_KEY = "a key of the tests that is long enough"

FAST = {
    "TRADOVATE_TIMEOUT_SECONDS": "2",
    "TRADOVATE_SETTLE_SECONDS": "0.3",
    "TRADOVATE_LOCKOUT_SECONDS": "3",
    "RETRY_BASE_SECONDS": "0.1",
    "RETRY_CAP_SECONDS": "1",
    "SECRET_KEY": SECRET_KEY,
    "HTTP_PORT": "0",
}
"""What makes a test fast without making it another program."""

GOES_ON_WITHIN = 2 + 0.3 + 15
"""Seconds within which work of a dead replica goes on elsewhere (README, "What happens when"), with the settings
above."""

PATIENCE = 40.0
"""Seconds that tests wait for outcomes which take two or three on a machine with nothing else to do."""

PARTITIONS = 3

FINAL = frozenset({"succeeded", "failed", "in_doubt"})

TOPICS = [name for topic in FLOWS for name in (topic, outcome_topic(topic), dead_letter_topic(topic))]


async def _made(settings: RunSettings) -> bool:
    """Makes the topics. A broker that has just started and makes those of many stages may not answer in time."""
    try:
        await ensure_topics(settings, TOPICS)
    except (RequestTimedOutError, TimeoutError) as busy:
        raise AssertionError("the broker is busy with making topics") from busy
    return True


@dataclass
class Here:
    """A replica in the test's own process: quick to start, and open to be looked into."""

    replica: Replica
    task: asyncio.Task[None]

    async def ready(self) -> None:
        """Returns when it is."""

        async def is_ready() -> bool:
            if self.task.done():
                self.task.result()
            return all(why is None for why in (await self.replica.health.ready()).values())

        await eventually(is_ready, 30)

    async def stop(self) -> None:
        """Stops it in good order."""
        self.replica.stopping.set()
        self.replica.dispatcher.wake.set()
        await self.task


@dataclass
class Stage:
    """A stage. `env`: the settings of its replicas. `Stage(...).up()` sets it, `down` clears it."""

    servers: str
    database_url: str
    config: SandboxConfig = field(default_factory=SandboxConfig)
    env: dict[str, str] = field(default_factory=dict)
    embedded: EmbeddedKafka | None = None
    processes: list[ReplicaProcess] = field(default_factory=list)
    here: list[Here] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    partner: RunningSandbox = field(init=False)
    wire: Wire = field(init=False)
    rows: Rows = field(init=False)

    def __post_init__(self) -> None:
        self.rows = Rows(lambda: self.database_url)

    async def up(self) -> Self:
        """Starts the partner, makes the topics, begins to listen."""
        self.partner = await serve(Sandbox(self.config))
        prefix = self.env.get("KAFKA_TOPIC_PREFIX", f"t{uuid.uuid4().hex[:12]}.")
        self.env = {
            **FAST,
            **settings_for(self.partner),
            "KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "KAFKA_TOPIC_PREFIX": prefix,
            "KAFKA_GROUP_ID": prefix,
            "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS),
            "DATABASE_URL": self.database_url,
            **self.env,
        }
        settings = self.settings()
        partitions = EmbeddedKafka.PARTITIONS if self.embedded else settings.kafka_topic_partitions
        self.wire = Wire(settings, partitions)
        if self.embedded is not None:
            await asyncio.to_thread(self.embedded.touch_topics, [prefix + topic for topic in TOPICS])
        else:
            await eventually(partial(_made, settings), PATIENCE)
        await self.wire.start()
        return self

    async def down(self) -> None:
        """Ends everything, whatever state it is in."""
        for process in self.processes:
            process.close()
        for here in self.here:
            if not here.task.done():
                with suppress(TimeoutError):
                    async with asyncio.timeout(27):
                        await here.stop()
        if self.embedded is None:
            with suppress(Exception):  # a broker that the test has taken down
                async with asyncio.timeout(5):
                    await self.wire.delete(TOPICS)
        await self.wire.stop()
        await self.partner.stop()
        self.rows.close()
        fetcher.MemoryRecords = MemoryRecords

    # -- replicas --------------------------------------------------------------------------------------------

    def settings(self, **changes: str) -> RunSettings:
        """The replicas' settings, some of them changed."""
        return load(RunSettings, env={**self.env, **changes})

    async def replica(self, **changes: str) -> Here:
        """Starts one in this process and waits until it is ready."""
        here = self.replica_later(**changes)
        await here.ready()
        return here

    def replica_later(self, **changes: str) -> Here:
        """Starts one in this process that may not get ready."""
        replica = Replica(self.settings(**changes), {}, name=f"here-{uuid.uuid4().hex[:6]}")
        here = Here(replica, asyncio.create_task(replica.run()))
        self.here.append(here)
        return here

    def process(self, crash: str = "", **changes: str) -> ReplicaProcess:
        """Starts one as a process of its own; see `ReplicaProcess`."""
        process = ReplicaProcess({**self.env, **changes}, crash)
        self.processes.append(process)
        return process

    # -- the shop --------------------------------------------------------------------------------------------

    async def buy(self, *events: Mapping[str, Any]) -> None:
        """Sends purchases, keyed by trader."""
        self.events += [dict(event) for event in events]
        await asyncio.gather(*(self.wire.send(event, key=str(event["traderId"]).encode()) for event in events))

    def final(self, event: Mapping[str, Any] | str) -> dict[str, Any] | None:
        """The final outcome of an event, as far as it has been heard."""
        event_id = event if isinstance(event, str) else event["eventId"]
        return next((each for each in self.wire.outcomes_of(event_id) if each["status"] in FINAL), None)

    async def outcome(self, event: Mapping[str, Any] | str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Waits for the final outcome of an event."""
        found = await eventually(lambda: self.final(event), timeout)
        assert found is not None
        return found

    async def all_ended(self, timeout: float = PATIENCE) -> list[dict[str, Any]]:
        """Waits for the final outcomes of all that was bought, in the order of buying."""

        def ended() -> bool:
            final = {outcome["eventId"] for outcome in self.wire.outcomes if outcome["status"] in FINAL}
            missing = [event["eventId"] for event in self.events if event["eventId"] not in final]
            assert not missing, f"no final outcome: {missing[:10]} ({len(missing)} of {len(self.events)})"
            return True

        await eventually(ended, timeout)
        by_event = {outcome["eventId"]: outcome for outcome in self.wire.outcomes if outcome["status"] in FINAL}
        return [by_event[event["eventId"]] for event in self.events]

    async def committed(self) -> int:
        """Records of purchases that the group has done with, by its own word."""
        group = self.env["KAFKA_GROUP_ID"]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, group_id=group, enable_auto_commit=False)
        name = self.env["KAFKA_TOPIC_PREFIX"] + PURCHASED
        parts = [TopicPartition(name, part) for part in range(self.settings().kafka_topic_partitions)]
        consumer.assign(parts)
        await consumer.start()
        try:
            return sum([await consumer.committed(part) or 0 for part in parts])
        finally:
            await consumer.stop()

    # -- the partner and the ledger --------------------------------------------------------------------------

    def fault(self, action: str, operation: str = "*", **more: Any) -> None:
        """Lets the partner's calls go wrong (see worker/sandbox/fault_rules.py)."""
        self.partner.sandbox.core.faults.add({"action": action, "operation": operation, **more})

    def seed(self, **entities: list[dict[str, Any]]) -> dict[str, list[int]]:
        """Puts users, accounts and permissions there that nobody made by a call."""
        return self.partner.sandbox.control.seed(dict(entities))

    def calls(self, path: str = "") -> list[dict[str, Any]]:
        """The calls that reached the partner, oldest first."""
        return self.partner.sandbox.control.calls(last=100_000, path=path)

    def count(self, path: str) -> int:
        """How many calls of one operation reached the partner."""
        return int(self.partner.sandbox.core.calls.by_path[path.lower()])

    def record_requests(self) -> list[Request]:
        """From now on every request that reaches the partner, to the byte."""
        core, seen = self.partner.sandbox.core, list[Request]()
        begin = core.begin

        def recording(request: Request, now: float) -> ServedCall:
            seen.append(request)
            return begin(request, now)

        core.begin = recording  # type: ignore[method-assign]  # the tests' own partner
        return seen

    @property
    def effects(self) -> dict[str, Any]:
        """How often each thing took effect."""
        return self.partner.sandbox.control.effects()

    @property
    def state(self) -> dict[str, Any]:
        """The partner's own counts."""
        return self.partner.sandbox.control.state()

    async def steps(self, where: str = "true") -> list[asyncpg.Record]:
        """Steps of the ledger."""
        return await self.rows(f"select * from step where {where} order by id")  # noqa: S608 - the test's own words

    @asynccontextmanager
    async def gathered(self, *operations: str) -> AsyncIterator[None]:
        """Pauses operations, and lets each go when all that has been bought waits for it: one call, on any machine."""
        for operation in operations:
            await self.rows("insert into hold (scope, reason) values ($1, 'a test')", f"pause:{operation}")
        yield
        for operation in operations:
            await eventually(partial(self._all_wait_for, operation), PATIENCE)
            await self.rows("update hold set cleared_at = now() where scope = $1", f"pause:{operation}")

    async def _all_wait_for(self, operation: str) -> bool:
        due = await self.steps(f"operation = '{operation}' and state in ('due', 'unknown') and lease is null")
        return len(due) == len(self.events)  # one that an adopted user asks for is looked up first

    @property
    def logs(self) -> Sequence[str]:
        """All that the processes said."""
        return [process.stdout + process.stderr for process in self.processes]


__all__ = ["FAST", "FINAL", "GOES_ON_WITHIN", "PURCHASED", "Here", "Stage"]
