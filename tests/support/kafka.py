"""A real Kafka broker: one of our own on Java, which tests may stop, kill and start again, or one that runs already."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.postgres import in_memory
from tests.support.processes import ROOT, Process, free_port
from tests.support.waiting import eventually_sync

_START_SECONDS = 180.0
"""A broker is up within five seconds; the first one waits for Maven to fetch its jars."""

_STOP_SECONDS = 30.0

_HEAD = struct.Struct(">qi")
"""How a record batch begins: its first offset, and the number of bytes that follow."""


@dataclass(frozen=True)
class Broker:
    """Where a broker is."""

    bootstrap_servers: str


class KafkaServer:
    """An Apache Kafka broker on this machine, with its data in a directory of its own.

    Clients at `bootstrap_servers` may do everything, those at `signed_in` what ACLs allow the user `worker`.
    """

    def __init__(self, place: Path | None = None, **extra: str) -> None:
        """`place`: where its directory is made. `extra`: settings of the broker, with underscores for dots."""
        self._home = tempfile.TemporaryDirectory(prefix="tradovate-kafka-", dir=place or in_memory())
        lines = [f"{name.replace('_', '.')}={text}\n" for name, text in extra.items()]
        (Path(self._home.name) / "extra.properties").write_text("".join(lines))
        self._ports = free_port(), free_port(), free_port()
        self._process: Process | None = None
        self.bootstrap_servers = f"127.0.0.1:{self._ports[0]}"
        self.signed_in = f"127.0.0.1:{self._ports[2]}"

    @property
    def pid(self) -> int:
        """The id of its process, whose child may be the broker."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process is not None and self._process.returncode is not None

    def start(self) -> Self:
        """Starts it, or starts it again with all that it held, at the same address. Returns when it answers."""
        port, controller, sasl = map(str, self._ports)
        command = [str(ROOT / "tests/kafka/start"), port, self._home.name, controller, sasl]
        self._process = Process(command, {name: text for name, text in os.environ.items() if name in _MAVENS})
        try:
            eventually_sync(self._answers, _START_SECONDS)
        except AssertionError:
            said = self._process.stderr[-3000:]
            self.close()
            raise RuntimeError(f"Kafka did not start:\n{said}") from None
        return self

    def stop(self) -> None:
        """Shuts it down in good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_STOP_SECONDS)
            self._process.close()
            self._process = None

    def kill(self) -> None:
        """Ends it at once."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def freeze(self) -> None:
        """Lets it hold its connections and answer nothing."""
        if self._process is not None:
            self._process.freeze()

    def thaw(self) -> None:
        """Lets a frozen one go on."""
        if self._process is not None:
            self._process.thaw()

    def flip_a_bit(self, topic: str, batch: int) -> None:
        """Damages a record batch of a topic's partition 0 on the disk, or repairs it when called a second time."""
        with (Path(self._home.name) / "log" / f"{topic}-0" / f"{0:020}.log").open("r+b") as log:
            end = 0
            for _ in range(batch + 1):
                log.seek(end)
                end += _HEAD.size + _HEAD.unpack(log.read(_HEAD.size))[1]
            log.seek(end - 1)
            last = log.read(1)[0]
            log.seek(end - 1)
            log.write(bytes([last ^ 1]))

    def close(self) -> None:
        """Ends it and removes its data."""
        self.kill()
        self._home.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answers(self) -> bool:
        if self._process is None or self._process.returncode is not None:
            raise AssertionError
        try:
            with socket.create_connection(("127.0.0.1", self._ports[0]), timeout=1):
                return True
        except OSError:
            return False


_MAVENS = ("KAFKA_JARS", "XDG_CACHE_HOME", "MAVEN_OPTS", "MAVEN_ARGS")


def why_no_java() -> str:
    """What this machine lacks for a broker of its own; empty when it lacks nothing."""
    lacking = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if not lacking:
        return ""
    return f"no real Kafka: {' and '.join(lacking)} not found, and KAFKA_BOOTSTRAP_SERVERS is not set"
