"""Python programs that start with their imports done.

Importing takes most of a short command's CPU time. One process for each test run, the base, imports the whole program
once and forks itself for every start. What starts is a process like any other: with its own environment, directory,
input and output, with an exit code, to be frozen and killed. What it cannot show is that a command imports what it
needs: starts of the usual kind show that, a few for each command.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

__all__ = ["WarmProcess", "can_be_warm", "start"]

_ROOT = Path(__file__).parents[2]

_IMPORTED = ("schemas", "worker", "tests.crash.runner", "tests.support.bridge_runner")
"""Packages, with all that is in them, and programs of the tests that are started besides `worker`."""

_READ_AT_START = (
    "PYTHON", "LANG", "LC_", "LD_", "FAKETIME", "TERM", "COLUMNS", "FORCE_COLOR", "PY_COLORS", "NO_COLOR",
)  # fmt: skip
"""How variables begin that the loader, an interpreter or a library reads once, when it starts."""

_CLOCKS = ("LD_PRELOAD", "FAKETIME", "DONT_FAKE_MONOTONIC")
"""How those of them begin that make a clock wrong (see `wrong_clocks`): what starts with them has a base with them."""

_MESSAGE_BYTES = 256 * 1024
"""Room for the environment and the arguments of a start."""

_PR_SET_PDEATHSIG = 1


def can_be_warm(env: Mapping[str, str], usual: Mapping[str, str]) -> bool:
    """Whether a start with this environment is the same from a base, which has the `usual` one. Linux alone."""
    if sys.platform != "linux" or "COVERAGE_PROCESS_START" in env:
        return False
    own = {name for name, value in env.items() if usual.get(name) != value and not name.startswith(_CLOCKS)}
    return not any(name.startswith(_READ_AT_START) for name in own)


class WarmProcess:
    """A process that the base has forked. It has those parts of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, report: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._report = report  # of its end, by the base

    def poll(self) -> int | None:
        """The exit code, negative after a signal; None while it runs."""
        if self.returncode is None:
            ready, _, _ = select.select([self._report], [], [], 0)
            if ready:
                self._read()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has one. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            ready, _, _ = select.select([self._report], [], [], timeout)
            if not ready:
                assert timeout is not None
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self._read()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal; one that has ended takes none."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _read(self) -> None:
        status = self._report.recv(16)
        self._report.close()
        # Without a status the base itself has ended, and all that it started with it.
        self.returncode = os.waitstatus_to_exitcode(int(status)) if status else -signal.SIGKILL


class _Base:
    """The test run's side of the base, which imports these packages."""

    def __init__(self, env: Mapping[str, str], packages: Sequence[str] = _IMPORTED) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # It ends when this socket does, so with this process. A signal for the death of its parent would come when
            # the thread ends that started it.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm", str(theirs.fileno()), *packages],
                cwd=_ROOT,
                env={**env, "PYTHONPATH": str(_ROOT)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def start(self, order: Mapping[str, Any], streams: Sequence[int]) -> WarmProcess:
        """Starts a process."""
        report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._control, [json.dumps(order).encode()], [*streams, theirs.fileno()])
        pid = report.recv(16)
        assert pid, "the base of warm processes has ended"
        return WarmProcess(int(pid), report)

    def close(self) -> None:
        """Ends it, with all that it started."""
        self._control.close()
        self._process.wait()

    def kill(self) -> None:
        """The same without its doing."""
        self._process.kill()
        self.close()


_bases: dict[frozenset[tuple[str, str]], _Base] = {}
"""By what makes their clock wrong."""

_one = threading.Lock()


def start(
    module: str, arguments: Sequence[str], env: Mapping[str, str], usual: Mapping[str, str], cwd: Path,
    streams: Sequence[IO[bytes]],
) -> WarmProcess:  # fmt: skip
    """Starts `python -m module …`. `usual`: the environment of the base. `streams`: input, output, errors."""
    order = {"module": module, "arguments": list(arguments), "env": dict(env), "cwd": str(cwd)}
    clock = {name: value for name, value in env.items() if name.startswith(_CLOCKS)}
    key = frozenset(clock.items())
    with _one:
        if key not in _bases:
            _bases[key] = _Base({**usual, **clock})
            atexit.register(_bases[key].close)
        return _bases[key].start(order, [stream.fileno() for stream in streams])


# -- the base itself ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Order:
    """What is to be started, with its descriptors: input, output, errors."""

    module: str
    arguments: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    streams: Sequence[int]


def _import_all(name: str) -> None:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
        if not found.name.endswith((".__main__", ".env")) and ".versions" not in found.name:
            importlib.import_module(found.name)


def _serve(control: socket.socket) -> _Order | None:
    """Starts what is asked for, until the asking side has gone: None. In a process that it forked: its order."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    base, reports = os.getpid(), dict[int, int]()
    while True:
        ready, _, _ = select.select([control.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(reports)
        if control.fileno() not in ready:
            continue
        message, received, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 4)
        if not message:
            return None
        *streams, report = received
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for descriptor in (control.detach(), wake_read, wake_write, report, *reports.values()):
                os.close(descriptor)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != base:  # it ended before it could be waited for
                os._exit(1)
            return _Order(**json.loads(message), streams=streams)
        os.write(report, str(pid).encode())
        reports[pid] = report
        for descriptor in streams:
            os.close(descriptor)


def _reap(reports: dict[int, int]) -> None:
    """Reports those that have ended."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with suppress(BrokenPipeError):  # nobody asks any more
                os.write(reports[pid], str(status).encode())
            os.close(reports.pop(pid))


def _become(order: _Order) -> None:
    """Makes this process what a fresh one would be."""
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, stream in enumerate(order.streams):
        os.dup2(stream, descriptor)
        os.close(stream)
    os.chdir(order.cwd)
    os.environ.clear()
    os.environ.update(order.env)
    time.tzset()
    sys.argv = [order.module, *order.arguments]


def _main() -> str | None:
    """The module that this process is to run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the test run
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    for name in sys.argv[2:]:
        _import_all(name)
    gc.collect()
    gc.freeze()  # a collection in a forked process would copy all of it
    order = _serve(control)
    if order is None:
        return None
    _become(order)
    return order.module


if __name__ == "__main__":
    # At the outermost level, where an exit and Ctrl-C end the interpreter as they always do.
    if (chosen := _main()) is not None:
        runpy.run_module(chosen, run_name="__main__", alter_sys=True)
