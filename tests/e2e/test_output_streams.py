"""Standard output and standard error that cannot be written to: the exit code says what happened, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.processes import ROOT

FULL = Path("/dev/full")


def run(arguments: Sequence[str], stdout: int, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    """A command without any setting."""
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env={"PATH": os.environ["PATH"]},
        cwd=ROOT,
        timeout=60,
        check=False,
    )


@pytest.fixture
def unread() -> int:
    """The writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


REFUSED = [
    (["run"], 2),
    (["holds", "list"], 1),
    (["send", "trader.failed", "/nonexistent"], 2),
    (["nosuch"], 2),
    (["topics", "create"], 1),
]


@pytest.mark.parametrize(("arguments", "code"), REFUSED)
def test_a_failure_is_one_without_a_reader_too(unread: int, arguments: Sequence[str], code: int) -> None:
    """The reader of standard output has gone, and the command fails for another reason: it says which, and fails."""
    done = run(arguments, unread)
    assert done.returncode == code
    assert done.stderr.startswith(b"Error: ")
    assert done.stderr.count(b"\n") == 1


def test_a_failure_has_its_code_when_nobody_reads_anything(unread: int) -> None:
    """Standard error has no reader either: the exit code is the same."""
    assert run(["run"], unread, unread).returncode == 2


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["flows", "--help"]])
def test_a_reader_that_has_seen_enough_is_no_failure(unread: int, arguments: Sequence[str]) -> None:
    """`| head` ends a command quietly."""
    done = run(arguments, unread)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_a_full_disk_is_a_failure_with_one_line(arguments: Sequence[str]) -> None:
    """What cannot be written is a failure: one line, and no code of Python's own."""
    with FULL.open("wb") as full:
        done = run(arguments, full.fileno())
    assert (done.returncode, done.stderr) == (1, b"Error: No space left on device.\n")
