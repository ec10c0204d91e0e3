"""Processes of the tests' own: started as a user starts them, heard, frozen, killed, and never left behind."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support import warm
from tests.support.waiting import eventually_sync

ROOT = Path(__file__).parents[2]

KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME", "COVERAGE_PROCESS_START")
"""Nothing else of the caller's environment reaches the program: a developer's own TRADOVATE_PASSWORD least of all."""


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A child process with its output in files, so that it never waits for a reader.

    It dies with the test run, even when that is killed.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, stdin: str = "", *, cold: bool = False
    ) -> None:
        """`python -m MODULE` of this Python starts with its imports done (see `warm`) unless it is to be `cold`."""
        self._home = tempfile.TemporaryDirectory(prefix="tradovate-test-")
        home = Path(self._home.name)
        (home / "stdin").write_text(stdin)
        usual = {name: os.environ[name] for name in KEPT if name in os.environ} | {"PYTHONPATH": str(ROOT)}
        env = {**usual, **(env or {})}
        with (
            (home / "stdin").open("rb") as given,
            (home / "stdout").open("wb") as out,
            (home / "stderr").open("wb") as err,
        ):
            self._process: subprocess.Popen[bytes] | warm.WarmProcess
            if not cold and list(command[:2]) == [sys.executable, "-m"] and warm.can_be_warm(env, usual):
                self._process = warm.start(command[2], command[3:], env, usual, home, (given, out, err))
            else:
                self._process = subprocess.Popen(
                    command,
                    cwd=home,  # there is no `.env` here
                    env=env,
                    stdin=given,
                    stdout=out,
                    stderr=err,
                    preexec_fn=_as_a_user_starts_it,  # noqa: PLW1509, no lock is taken in it
                )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative after a signal, None while it runs."""
        return self._process.poll()

    @property
    def stdout(self) -> str:
        """All that it wrote to standard output up to now."""
        return (Path(self._home.name) / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """All that it wrote to standard error up to now."""
        return (Path(self._home.name) / "stderr").read_text(errors="replace")

    @property
    def log(self) -> list[dict[str, Any]]:
        """The JSON lines of both outputs; what is no JSON object is left out."""
        return [found for line in (self.stdout + self.stderr).splitlines() if (found := _json_object(line))]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one name."""
        # Tests look again and again: the others of a long log are not parsed.
        lines = (line for line in (self.stdout + self.stderr).splitlines() if event in line)
        return [found for line in lines if (found := _json_object(line)) and found.get("event") == event]

    def wait_for_log(self, event: str, timeout: float = 20.0) -> dict[str, Any]:
        """The first log line of that name, or an `AssertionError` with what was said instead."""
        try:
            return eventually_sync(lambda: self.logged(event) or self._still_running(), timeout)[0]
        except AssertionError:
            raise AssertionError(f"no {event}:\n{self.stdout[-3000:]}\n{self.stderr[-3000:]}") from None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; a process that has ended takes none."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Asks it to stop, as an orchestrator does."""
        self.signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Asks it to stop, as Ctrl-C does."""
        self.signal(signal.SIGINT)

    def freeze(self) -> None:
        """Stops it where it is: a paused machine, a long pause of its host."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen one go on."""
        self.signal(signal.SIGCONT)

    def kill(self) -> int:
        """Ends it at once, wherever it is, and returns its exit code."""
        self.signal(signal.SIGKILL)
        return self._process.wait()

    def wait(self, timeout: float = 30.0) -> int:
        """The exit code, once it has one."""
        return self._process.wait(timeout)

    def close(self) -> None:
        """Kills what still runs and forgets what was said."""
        if self._process.poll() is None:
            self.kill()
        self._home.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _still_running(self) -> list[dict[str, Any]]:
        if self.returncode is not None:
            raise AssertionError
        return []


def worker(*arguments: str, env: Mapping[str, str] | None = None, stdin: str = "", cold: bool = False) -> Process:
    """`tradovate-worker …`, with these settings and no others. `cold`: it imports by itself what it needs."""
    return Process([sys.executable, "-m", "worker", *arguments], env, stdin, cold=cold)


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _as_a_user_starts_it() -> None:
    # A shell has what it puts into the background ignore Ctrl-C, and children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def frozen(database_url: str) -> Iterator[None]:
    """The embedded PostgreSQL behind an address stands still, with all its connections open: nothing answers."""
    home = Path(parse_qs(urlsplit(database_url).query)["host"][0])
    server = int((home / "data" / "postmaster.pid").read_text().split()[0])
    family = [server, *_children(server)]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
