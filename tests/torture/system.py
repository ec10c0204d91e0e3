"""The whole system: a broker, a database with a read-only standby, the partner, three replicas, two bridges, and a
network link between any two of them that can be cut or slowed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests.support.kafka import KafkaServer
from tests.support.pages import page
from tests.support.postgres import Standby, crash, in_memory, system_postgres, why_no_system_postgres
from tests.support.processes import Process, free_port
from tests.support.small_disk import SmallDisk, why_no_small_disk
from tests.support.waiting import eventually
from tests.torture.links import Link
from tests.torture.listener import Listener
from tests.torture.member import Member
from worker.embedded import EmbeddedPostgres
from worker.kafka.admin import ensure_topics
from worker.kafka.topics import ALL_TOPICS, TopicNames
from worker.ledger import schema
from worker.sandbox import RunningSandbox, Sandbox, SandboxConfig, serve, settings_for
from worker.settings import RunSettings, load

MEMBERS = ("run",) * 5 + ("bridge",) * 3
"""Replicas and bridges: enough of them that some work while others start."""

PARTITIONS = 5

TIMEOUT, SETTLE, LOCKOUT = 2.0, 0.3, 10.0
"""Seconds: TRADOVATE_TIMEOUT_SECONDS, TRADOVATE_SETTLE_SECONDS and TRADOVATE_LOCKOUT_SECONDS. Short, so that much
happens in three minutes.
"""

LOCKED = 0.8 * LOCKOUT
"""Seconds of silence that the partner asks for, from the last call on. The members keep more: what had been begun may
come five seconds later, and at Tradovate that is little beside an hour.
"""

SETTINGS = {
    "KAFKA_SESSION_TIMEOUT_SECONDS": "3",
    # A run sends in minutes what needs up to four calls an event where there is no bulk read. So the hour has twice the
    # real budget, and the partner twice the real limit; the budget of the minute is the real one.
    "TRADOVATE_HOURLY_BUDGET": "9000",
    "TRADOVATE_MINUTE_BUDGET": "600",
    "TRADOVATE_TIMEOUT_SECONDS": f"{TIMEOUT:g}",
    "TRADOVATE_SETTLE_SECONDS": f"{SETTLE:g}",
    "TRADOVATE_LOCKOUT_SECONDS": f"{LOCKOUT:g}",
    "TRADOVATE_MAINTENANCE": "off",
    "BATCH_LINGER_MAX_SECONDS": "2",  # an hour's calls are spent in minutes, and calm must not take an hour
    "RETRY_BASE_SECONDS": "0.1",
    "RETRY_CAP_SECONDS": "1",
    "UNKNOWN_WAIT_SECONDS": "60",
    "SECRET_KEY": "a key of the torture that is long enough",
    "HTTP_PORT": "0",
    "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS),
}


@dataclass
class System:
    """`broken`: the name of the break that every member runs with, or empty."""

    config: SandboxConfig
    broken: str
    broker: KafkaServer
    primary: EmbeddedPostgres
    primary_port: int
    standby_port: int
    partner: RunningSandbox = field(init=False)
    partner_links: dict[str, Link] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    listener: Listener = field(init=False)
    standby: Standby = field(init=False)
    env: dict[str, str] = field(default_factory=dict)
    disks: dict[str, SmallDisk] = field(default_factory=dict)
    """The broker's and the database's, by name; none where none can be made: then no disk gets full."""
    database_up: bool = True
    broker_up: bool = True
    trouble: dict[str, list[float]] = field(default_factory=lambda: {"run": [], "bridge": []})
    """By kind of member: epoch seconds at which something happened that may keep one from noting what it has
    published.
    """
    ended_by_itself: list[str] = field(default_factory=list)
    """Members whose process ended with nobody having asked for it."""

    @property
    def database_url(self) -> str:
        """For those who look, not through a link."""
        return f"postgresql://postgres@127.0.0.1:{self.primary_port}/torture"

    @property
    def control(self) -> Any:
        """The partner's control."""
        return self.partner.sandbox.control

    def start_member(self, member: Member) -> None:
        """Starts a process for it."""
        hosts = f"127.0.0.1:{member.database.port},127.0.0.1:{self.standby_port}"
        env = {
            **self.env,
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{member.kafka.port}",
            "DATABASE_URL": f"postgresql://postgres@{hosts}/torture",
            **(member.clock.env if member.clock is not None else {}),
        }
        command = [sys.executable, "-m", "tests.torture.program", member.kind, *([self.broken] if self.broken else [])]
        member.process = Process(command, env)
        member.frozen = member.stopping = member.killed = False

    def keep_log(self, member: Member) -> None:
        """Keeps what its process said, which has ended."""
        if member.process is not None:
            member.logs.append(member.process.stdout + member.process.stderr)
            member.process.close()
            member.process = None

    def revive(self) -> None:
        """Starts every member again that has no process, and notes those that ended by themselves."""
        for member in self.members:
            if member.process is not None and member.process.returncode is not None:
                # A process that has just begun does not handle SIGTERM yet.
                asked = member.stopping and member.process.returncode in (0, -signal.SIGTERM)
                if not asked and not (member.killed and member.process.returncode == -signal.SIGKILL):
                    said = member.process.stderr[-1500:]
                    self.ended_by_itself.append(f"{member.name}: exit code {member.process.returncode}\n{said}")
                self.keep_log(member)
            if member.process is None and time.monotonic() >= member.down_until:
                self.start_member(member)

    async def locked_out(self) -> bool:
        """Whether the members know of a lock-out."""
        query = "select from hold where scope = 'all' and cleared_at is null and until > clock_timestamp()"
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return bool(await self.rows(query))
        return False

    async def crash_database(self) -> None:
        """The primary dies; the members find only the standby, which is read-only."""
        self.database_up = False
        self.trouble["bridge"].append(time.time())
        await asyncio.to_thread(crash, self.primary)

    async def start_database(self) -> None:
        """The primary recovers."""
        if not self.database_up:
            await asyncio.to_thread(self.primary.up)
            self.database_up = True

    async def stop_broker(self, *, orderly: bool) -> None:
        """The broker goes, in good order or at once."""
        self.broker_up = False
        await asyncio.to_thread(self.broker.stop if orderly else self.broker.kill)

    async def start_broker(self) -> None:
        """The broker comes back with all that it held."""
        if not self.broker_up:
            await asyncio.to_thread(self.broker.start)
            self.broker_up = True

    async def fill_database_disk(self) -> None:
        """The primary can write nothing new: it says so, panics, or ends, as its log or a table needs room."""
        self.database_up = False
        self.trouble["bridge"].append(time.time())
        await asyncio.to_thread(self.disks["database"].fill)

    async def free_database_disk(self) -> None:
        """There is room again, and an operator starts the primary if it has ended."""
        await asyncio.to_thread(self.disks["database"].free)
        try:
            await eventually(self._takes_connections, 5)
        except AssertionError:
            await asyncio.to_thread(self.primary.down)
            await asyncio.to_thread(self.primary.up)
        self.database_up = True

    async def _takes_connections(self) -> bool:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return bool(await self.rows("select pg_current_xact_id()"))
        return False

    async def fill_broker_disk(self) -> None:
        """The broker can write nothing new, and gives up when it has to."""
        self.broker_up = False
        await asyncio.to_thread(self.disks["broker"].fill)

    async def free_broker_disk(self) -> None:
        """There is room again, and an operator starts the broker again."""
        await asyncio.to_thread(self.disks["broker"].free)
        await asyncio.to_thread(self.broker.kill)
        await self.start_broker()

    async def move(self, domain: str) -> None:
        """The partner serves a domain on another host; the former one answers as a wrong one."""
        port = self.control.move({"domain": domain})["port"]
        link = await Link(port).start()
        self.partner_links[f"{domain}, moved {len(self.partner_links)}"] = link
        values = {**self.partner.sandbox.core.config.api_host_values, domain: f"127.0.0.1:{link.port}"}
        self.control.switch({"api_host_values": values})

    def links(self) -> Mapping[str, Link]:
        """Every link by its name."""
        found = dict(self.partner_links)
        for member in self.members:
            found |= {f"{member.name} to Kafka": member.kafka, f"{member.name} to PostgreSQL": member.database}
        return found

    async def restore(self) -> None:
        """Everything works again."""
        for link in self.links().values():
            link.restore()
        self.partner.sandbox.core.faults.clear()
        self.control.unlock()
        for member in self.members:
            if member.frozen and member.process is not None:
                member.process.thaw()
                member.frozen = False
            if member.clock is not None:
                member.clock.set(0)
            member.down_until = 0.0
        await self.start_database()
        await self.start_broker()
        await eventually(lambda: not any(member.stopping and member.runs for member in self.members), 40)
        self.revive()

    async def ready(self, timeout: float = 90.0) -> None:
        """Returns when all members are. One that ends meanwhile is started again, and noted."""

        async def are() -> bool:
            self.revive()
            health = {member.name: await self.health(member) for member in self.members}
            waiting = {name: page for name, page in health.items() if not page.get("ready")}
            assert not waiting, f"not ready: {waiting}"
            return True

        await eventually(are, timeout)

    async def health(self, member: Member) -> Mapping[str, Any]:
        """What its readiness page says; nothing while it does not answer."""
        page = await self.page(member, "health/ready")
        try:
            found: Mapping[str, Any] = json.loads(page)
        except ValueError:
            return {"page": page}  # none, or that of something in front of it
        return found

    async def page(self, member: Member, path: str) -> str:
        """A page that a member serves; empty while it does not answer."""
        said = member.process.logged(f"{member.kind}.http") if member.process is not None else []
        if not said:
            return ""
        return await page(said[0]["address"], path)

    def close_members(self) -> None:
        """Ends their processes."""
        for member in self.members:
            if member.process is not None:
                member.process.close()

    async def stop_links(self) -> None:
        """Ends all links."""
        for link in self.links().values():
            await link.stop()

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """What the ledger holds."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()


@asynccontextmanager
async def system(
    config: SandboxConfig, broken: str, topics: tuple[str, ...], changes: Mapping[str, str]
) -> AsyncIterator[System]:
    """Starts all of it, and ends all of it. `changes`: to the members' settings.

    Raises `RuntimeError` where a part is missing on this machine.
    """
    if why := why_no_system_postgres():
        raise RuntimeError(why)
    async with AsyncExitStack() as ends:  # each part ends, whatever another one's end raises
        disks = {name: ends.enter_context(disk) for name, disk in _disks().items()}
        kafka_links = [await Link(0).start() for _ in MEMBERS]
        broker, ports = _broker(kafka_links, disks["broker"].path if disks else None)
        ends.callback(broker.close)
        primary_port, standby_port = free_port(), free_port()
        # A crash is of the server, not of the machine: what was committed is in the system's cache, fsync or not.
        primary = system_postgres("fsync=off", "wal_keep_size=512MB", "max_connections=200", port=primary_port)
        primary._place = str(disks["database"].path) if disks else in_memory()
        ends.callback(primary.stop)
        made = System(config, broken, broker, primary, primary_port, standby_port, disks=disks)
        ends.push_async_callback(made.stop_links)
        await asyncio.gather(asyncio.to_thread(broker.start), asyncio.to_thread(primary.start))
        await schema.upgrade(await asyncio.to_thread(primary.create_database, "torture"))
        made.standby = Standby(primary, standby_port)
        made.standby._place = in_memory()
        ends.callback(made.standby.stop)
        await asyncio.to_thread(made.standby.start)
        await _start_partner(made)
        ends.push_async_callback(made.partner.stop)
        made.env |= changes
        settings = load(RunSettings, env={**made.env, "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers})
        await ensure_topics(settings, ALL_TOPICS)
        made.listener = Listener(broker.bootstrap_servers, TopicNames(settings.kafka_topic_prefix), topics, PARTITIONS)
        ends.push_async_callback(made.listener.stop)
        await made.listener.start()
        for number, (kind, link) in enumerate(zip(MEMBERS, kafka_links, strict=True), 1):
            link.target = ports[number - 1]
            made.members.append(Member(number, kind, link, await Link(primary_port).start()))
        ends.callback(made.close_members)
        made.revive()
        await made.ready()
        yield made


DISK_MEGABYTES = 4_096
"""A limit, and no room that is taken: a run needs some hundred."""


def _disks() -> dict[str, SmallDisk]:
    return {} if why_no_small_disk() else {name: SmallDisk(DISK_MEGABYTES) for name in ("broker", "database")}


def _broker(links: list[Link], place: Path | None) -> tuple[KafkaServer, list[int]]:
    """A broker with a listener for each member, whose address is that of the member's link."""
    ports = [free_port() for _ in links]
    server = KafkaServer(place)
    own, controller, _ = server._ports
    listeners = {"CLIENTS": (own, own), "CONTROLLER": (controller, controller)}
    listeners |= {f"LINK{n}": (port, link.port) for n, (port, link) in enumerate(zip(ports, links, strict=True))}
    lines = {
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, (port, _) in listeners.items()),
        "advertised.listeners": ",".join(
            f"{name}://127.0.0.1:{shown}" for name, (_, shown) in listeners.items() if name != "CONTROLLER"
        ),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
    }
    extra = Path(server._home.name) / "extra.properties"
    extra.write_text("".join(f"{name}={text}\n" for name, text in lines.items()))
    return server, ports


async def _start_partner(made: System) -> None:
    made.partner = await serve(Sandbox(made.config))
    given = settings_for(made.partner)
    port = httpx.URL(given["TRADOVATE_LIVE_URL"]).port
    assert port is not None
    urls = {}
    for domain in ("live", "demo"):
        link = made.partner_links[domain] = await Link(port).start()
        urls[f"TRADOVATE_{domain.upper()}_URL"] = given[f"TRADOVATE_{domain.upper()}_URL"].replace(
            f":{port}", f":{link.port}"
        )
    values = {domain: f"127.0.0.1:{link.port}" for domain, link in made.partner_links.items()}
    made.control.switch({"api_host_values": values})
    sockets = {name: url.replace("http", "ws", 1) + "/websocket" for name, url in urls.items()}
    sockets = {name.replace("_URL", "_WS_URL"): url for name, url in sockets.items()}
    prefix = f"torture{int(time.time())}."
    made.env = {
        **SETTINGS,
        **given,
        **urls,
        **sockets,
        "KAFKA_TOPIC_PREFIX": prefix,
        "KAFKA_GROUP_ID": prefix,
        "CONSOLE_TOKEN": "a token of the torture",
    }
