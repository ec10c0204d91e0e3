"""PostgreSQL as users have it: the distribution's server, which waits for its disk, and a pooler in front of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg

from tests.support.processes import Process, free_port
from tests.support.waiting import eventually, eventually_sync
from worker.embedded import EmbeddedPostgres
from worker.ledger import schema

_PLENTY = 6 * 2**30
"""Bytes: all runners together need less than two GiB."""

T = TypeVar("T")

_SERVERS = Path("/usr/lib/postgresql")
"""Where Debian keeps the servers, a directory for each major version."""


def why_no_system_postgres() -> str:
    """What this machine lacks for a server of its distribution; empty when it lacks nothing."""
    return "" if system_server() else f"no PostgreSQL below {_SERVERS}: apt-get install postgresql"


def why_no_pgbouncer() -> str:
    """What this machine lacks for a pooler; empty when it lacks nothing."""
    return "" if _pgbouncer() else "no PgBouncer: apt-get install pgbouncer"


def system_postgres(*options: str, port: int | None = None) -> EmbeddedPostgres:
    """The distribution's server with its own settings for the disk (`fsync` on), and more `options` ("name=value")."""
    server = system_server()
    assert server is not None, why_no_system_postgres()
    return EmbeddedPostgres(server, durable=True, port=port, options=options)


def system_server() -> Path | None:
    """Where the programs of the newest one are."""
    found = [server for server in _SERVERS.glob("*/bin") if (server / "postgres").exists()]
    return max(found, key=lambda server: int(server.parent.name), default=None)


def _pgbouncer() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Databases:
    """Makes and drops databases over one connection: the tools `createdb` and `dropdb` begin a process and a session
    for each. Any thread may use it, also one whose event loop runs.
    """

    def __init__(self, server: EmbeddedPostgres, how: str = "") -> None:
        self.server = server
        self._how = how  # more options of `create database`
        self._template: str | None = None
        self._one = threading.RLock()  # a connection does one thing at a time, and stages are set in parallel
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="databases", daemon=True)
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    def create(self, name: str, template: str = "template1") -> str:
        """Makes an empty database, or a copy of `template` (to which nobody may be connected); its address."""
        self._run(f'create database "{name}" template "{template}" {self._how}')
        return self.server.url.replace("/postgres?", f"/{name}?")

    @property
    def ledger_template(self) -> str:
        """A migrated database to copy: copying takes a fifth of the time of migrating."""
        with self._one:
            if self._template is None:
                name = f"template_{uuid.uuid4().hex}"
                self._wait(schema.upgrade(self.create(name)))
                self._template = name
            return self._template

    def drop(self, name: str) -> None:
        """Removes a database, cutting off its clients."""
        self._run(f'drop database if exists "{name}" with (force)')

    def __enter__(self) -> Self:
        self._thread.start()
        self._connection = self._wait(asyncpg.connect(self.server.url))
        return self

    def __exit__(self, *_: object) -> None:
        assert self._connection is not None
        self._wait(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, statement: str) -> None:
        with self._one:
            self._wait(self._execute(statement))

    async def _execute(self, statement: str) -> None:
        assert self._connection is not None
        if self._connection.is_closed():  # the server has restarted its sessions: the other tests go on
            self._connection = await eventually(self._connected, 20)
        await self._connection.execute(statement)

    async def _connected(self) -> asyncpg.Connection[asyncpg.Record]:
        try:
            return await asyncpg.connect(self.server.url)
        except (OSError, asyncpg.CannotConnectNowError) as away:
            raise AssertionError from away

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class PgBouncer:
    """PgBouncer on a free port of 127.0.0.1, in front of the server of `url`."""

    def __init__(self, url: str, mode: str, *, size: int = 5, **settings: str) -> None:
        given = parse_qs(urlsplit(url).query)
        self._upstream = f"host={given['host'][0]} port={given.get('port', ['5432'])[0]}"
        self._settings = {"pool_mode": mode, "default_pool_size": str(size), "max_client_conn": "100", **settings}
        self._port = free_port()
        self._home = tempfile.TemporaryDirectory(prefix="tradovate-pgbouncer-", dir="/tmp")
        self._process: Process | None = None

    def url(self, database: str) -> str:
        """The address of a database behind it."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def start(self) -> Self:
        """Starts it, and returns when it listens."""
        program = _pgbouncer()
        assert program is not None, why_no_pgbouncer()
        home = Path(self._home.name)
        home.chmod(0o755)
        (home / "users").write_text('"postgres" ""\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self._port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(home / "users"),
            "admin_users": "postgres",
            **self._settings,
        }
        text = "\n".join(f"{name} = {value}" for name, value in lines.items())
        (home / "pgbouncer.ini").write_text(f"[databases]\n* = {self._upstream}\n[pgbouncer]\n{text}\n")
        as_user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
        self._process = Process([program, *as_user, str(home / "pgbouncer.ini")])
        eventually_sync(self._listens, 20)
        return self

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._home.cleanup()

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self._process.stderr
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return True
        except OSError:
            return False


def in_memory() -> str:
    """Where servers keep data that nobody needs later: in memory if there is plenty. To make a database takes eight
    times the CPU time on a disk, and much longer.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _PLENTY
    return str(memory) if roomy else "/tmp"


def embedded_postgres() -> EmbeddedPostgres:
    """The embedded server as tests use it."""
    return EmbeddedPostgres(place=in_memory(), options=("max_wal_size=128MB",))


class Copied(EmbeddedPostgres):
    """A server that begins with the data of another one, which is down: making them again takes most of a start."""

    def __init__(self, original: EmbeddedPostgres, *options: str) -> None:
        super().__init__(place=in_memory(), options=options)
        self._original = original

    def _make_data(self) -> None:
        subprocess.run(["cp", "-a", self._original._there() / "data", self._there() / "data"], check=True)


class Standby(EmbeddedPostgres):
    """A hot standby of a server that listens on a port; it can be promoted."""

    def __init__(self, primary: EmbeddedPostgres, port: int) -> None:
        super().__init__(primary._bin, durable=True, port=port)
        self._primary = primary

    def _make_data(self) -> None:
        self._run("pg_basebackup", *self._primary._where, "-D", "data", "-R", "-X", "stream", "-c", "fast")

    def promote(self) -> None:
        """Makes it a primary, with all that it has received."""
        self._run("pg_ctl", "promote", "-w", "-D", "data")


def crash(server: EmbeddedPostgres) -> None:
    """Ends a server without a word to its clients, and keeps its data."""
    pid_file = Path(parse_qs(urlsplit(server.url).query)["host"][0]) / "data/postmaster.pid"
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)
    server.down()


class Role:
    """A user of the server who must give a password, is no superuser and owns nothing: as a worker's should be."""

    def __init__(self, server: EmbeddedPostgres, name: str) -> None:
        self.server, self.name, self.password = server, name, "a password"
        self._rules = Path(parse_qs(urlsplit(server.url).query)["host"][0]) / "data/pg_hba.conf"

    def url(self, database: str) -> str:
        """The address of a database, with the name and the password."""
        where = urlsplit(self.server.url).query
        return f"postgresql://{self.name}:{quote(self.password)}@/{database}?{where}"

    async def run(self, *statements: str) -> None:
        """Runs statements as the superuser, in the database `postgres`."""
        await self.within("postgres", *statements)

    async def within(self, database: str, *statements: str) -> None:
        """The same in another database."""
        connection = await asyncpg.connect(f"postgresql://postgres@/{database}?{urlsplit(self.server.url).query}")
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def create(self, database: str) -> Self:
        """Makes the user, with all that a worker needs in that database."""
        rules = self._rules.read_text()
        self._rules.write_text(f"local all {self.name} scram-sha-256\n{rules}")
        await self.run("select pg_reload_conf()", f"create role {self.name} login password '{self.password}'")
        await self.within(database, self.grant)
        return self

    async def drop(self, database: str) -> None:
        """Removes the user."""
        await self.run(self.kick)
        await self.within(database, f"drop owned by {self.name}")
        await self.run(f"drop role {self.name}")
        kept = [line for line in self._rules.read_text().splitlines(keepends=True) if self.name not in line]
        self._rules.write_text("".join(kept))

    @property
    def grant(self) -> str:
        """The privileges that a worker needs."""
        return f"grant select, insert, update, delete on all tables in schema public to {self.name}"

    @property
    def kick(self) -> str:
        """Ends the user's sessions."""
        return f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{self.name}'"  # noqa: S608
