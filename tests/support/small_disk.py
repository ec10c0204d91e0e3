"""A disk that is small enough to be filled: a file system in memory, of so many megabytes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self


def why_no_small_disk() -> str:
    """What this machine lacks for one; empty when it lacks nothing."""
    if os.geteuid() != 0:
        return "no disk to fill: only root may mount one"
    try:
        with SmallDisk(1):
            return ""
    except subprocess.CalledProcessError as error:
        return f"no disk to fill: a tmpfs cannot be mounted ({error.stderr.decode(errors='replace').strip()})"


class SmallDisk:
    """A disk of `megabytes` at `path`, gone when the block ends."""

    def __init__(self, megabytes: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="tradovate-disk-", dir="/tmp"))
        options = f"size={megabytes}m,mode=777"
        try:
            _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path))
        except subprocess.CalledProcessError:
            self.path.rmdir()
            raise

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def fill(self) -> None:
        """Takes all that is free: every write then fails with ENOSPC."""
        with self._filler.open("ab", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def free(self) -> None:
        """Gives it back."""
        self._filler.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", "--lazy", str(self.path))  # a process that has just been killed may still hold a file
        self.path.rmdir()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
