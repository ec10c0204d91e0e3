"""A disk that is small enough to be filled: a file system in memory, of so many megabytes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

_TRIES = 50
"""To find it as it is, while servers write."""


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
        self._size = f"size={megabytes}m"
        options = f"{self._size},mode=777"
        try:
            _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path))
        except subprocess.CalledProcessError:
            self.path.rmdir()
            raise

    def fill(self) -> None:
        """Makes it as small as what it holds: every write of something new then fails with ENOSPC."""
        for _ in range(_TRIES):
            disk = os.statvfs(self.path)
            with suppress(subprocess.CalledProcessError):  # somebody has written meanwhile
                self._resize(f"size={(disk.f_blocks - disk.f_bfree) * disk.f_frsize}")
                return
        raise RuntimeError(f"the disk at {self.path} could not be made full")

    def free(self) -> None:
        """Makes it as large as it was."""
        self._resize(self._size)

    def _resize(self, size: str) -> None:
        _run("mount", "-o", f"remount,{size}", str(self.path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", "--lazy", str(self.path))  # a process that has just been killed may still hold a file
        self.path.rmdir()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
