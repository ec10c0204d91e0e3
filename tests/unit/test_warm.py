"""Processes that start with their imports done are processes like any other."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.processes import ROOT, Process, worker
from tests.support.waiting import eventually_sync

_LOOK = "import os, sys; print(os.getcwd(), os.environ.get('SAID'), sys.argv[0], os.getpid(), sys.flags.utf8_mode)"


def _timeit(*statements: str, **env: str) -> Process:
    """Runs statements in a process of its own: a module of Python's that does no more than that."""
    return Process([sys.executable, "-m", "timeit", "-n", "1", "-r", "1", *statements], env)


def _is_warm(process: Process) -> bool:
    return isinstance(process._process, warm.WarmProcess)


def test_it_has_its_own_environment_directory_and_output() -> None:
    """What is given to one process is seen by no other, and nothing of the test run's."""
    with _timeit(_LOOK, SAID="one") as one, _timeit(_LOOK, SAID="two") as two, _timeit(_LOOK) as three:
        said = []
        for process in (one, two, three):
            assert (process.wait(), process.stderr) == (0, "")
            assert _is_warm(process)
            directory, word, program, pid, _ = process.stdout.splitlines()[0].split()
            assert program.endswith("timeit.py")
            assert int(pid) == process.pid
            said.append((directory, word))
    assert [word for _, word in said] == ["one", "two", "None"]
    directories = {directory for directory, _ in said}
    assert len(directories) == 3
    assert directories.isdisjoint({str(Path.cwd()), str(ROOT)})


def test_it_reads_its_input_and_tells_its_end() -> None:
    """Input, exit codes and what stands on standard error are those of a process that was started cold."""
    for text in ('{"a": [1]}', "no json"):
        ends = []
        for cold in (False, True):
            with Process([sys.executable, "-m", "json.tool"], stdin=text, cold=cold) as process:
                assert _is_warm(process) is not cold
                ends.append((process.wait(), process.stdout, process.stderr))
        assert ends[0] == ends[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_ends_it(number: signal.Signals) -> None:
    """A killed process has ended by that signal, and another signal to it is no error."""
    with _timeit("import signal, sys; print('there', flush=True); signal.pause()") as process:
        eventually_sync(lambda: "there" in process.stdout)
        assert process.returncode is None
        process.signal(number)
        assert process.wait() == -number
        process.signal(number)


def test_ctrl_c_is_heard() -> None:
    """The base ignores it; what starts there does not."""
    with worker("sandbox", "--port", "0") as process:
        eventually_sync(lambda: "TRADOVATE_MAINTENANCE" in process.stdout, 20)
        assert _is_warm(process)
        process.interrupt()
        assert process.wait() == 130


def test_what_an_interpreter_reads_when_it_starts_makes_a_cold_start() -> None:
    """A variable that only counts at the start is not ignored."""
    with _timeit(_LOOK, PYTHONUTF8="1") as process:
        assert (process.wait(), _is_warm(process)) == (0, False)
        assert process.stdout.splitlines()[0].endswith(" 1")


def test_it_does_not_outlive_the_test_run(tmp_path: Path) -> None:
    """What was started ends with the base, as that ends with the test run."""
    base = warm._Base({}, packages=())
    with (tmp_path / "out").open("w+b") as out, Path(os.devnull).open("rb") as nothing:
        order = {"module": "timeit", "arguments": ["-n1", "import signal; signal.pause()"], "env": {}, "cwd": "/"}
        process = base.start(order, [nothing.fileno(), out.fileno(), out.fileno()])
        assert process.poll() is None
        base.kill()
        assert process.wait(20) == -signal.SIGKILL
        eventually_sync(lambda: not Path(f"/proc/{process.pid}").exists(), 20)
