"""The limits of a container, without a container engine: memory and processor time of processes, by control groups."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_GROUPS = Path("/sys/fs/cgroup")

_PERIOD = 100_000
"""Microseconds; Kubernetes gives a container its share of the processor in periods of this length."""

_ENTER = 'for each in $GROUPS; do echo $$ >"$each/cgroup.procs" || exit 97; done; unset GROUPS; exec "$@"'


def why_no_container() -> str:
    """What this machine lacks to limit processes as a container does; empty when it lacks nothing."""
    if os.geteuid() != 0:
        return "no limits of memory and processor time: only root may make control groups"
    try:
        with Container():
            return ""
    except OSError as error:
        return f"no limits of memory and processor time: control groups cannot be made ({error.strerror})"


@dataclass
class Container:
    """Processes that have so many bytes of memory together, and such a part of a core. At the limit of memory the
    kernel kills one of them, as it does in a container.
    """

    memory: int = 256_000_000
    cores: float = 0.5
    _groups: list[Path] = field(default_factory=list)  # one with version 2 of control groups, two with version 1

    def __enter__(self) -> Self:
        name = f"tradovate-test-{uuid.uuid4().hex[:12]}"
        quota = int(self.cores * _PERIOD)
        if (_GROUPS / "cgroup.controllers").exists():
            with suppress(OSError):
                (_GROUPS / "cgroup.subtree_control").write_text("+cpu +memory")
            limits = {"": {"memory.max": self.memory, "cpu.max": f"{quota} {_PERIOD}"}}
        else:
            limits = {
                "memory": {"memory.limit_in_bytes": self.memory},
                "cpu": {"cpu.cfs_period_us": _PERIOD, "cpu.cfs_quota_us": quota},
            }
        try:
            for controller, files in limits.items():
                group = _GROUPS / controller / name
                group.mkdir()
                self._groups.append(group)
                for file, text in files.items():
                    (group / file).write_text(str(text))
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while self._groups:
            self._groups.pop().rmdir()  # its processes have ended, or this says that it is busy

    def enter(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` within the limits from its first instruction on, in the same process."""
        return ["/bin/sh", "-c", f"GROUPS='{' '.join(map(str, self._groups))}'; {_ENTER}", "sh", *command]

    @property
    def peak(self) -> int:
        """The most bytes that were charged to it; what the kernel keeps of files, and would give back, counts."""
        return int(self._read("memory.peak", "memory.max_usage_in_bytes"))

    @property
    def kills(self) -> int:
        """How many processes were killed for want of memory."""
        return self._fields("memory.events", "memory.oom_control").get("oom_kill", 0)

    @property
    def throttled(self) -> float:
        """The part of the periods in which it had to wait for the next one."""
        found = self._fields("cpu.stat", "cpu.stat")
        return found.get("nr_throttled", 0) / max(found.get("nr_periods", 0), 1)

    def _read(self, *names: str) -> str:
        return next((group / name).read_text() for name in names for group in self._groups if (group / name).exists())

    def _fields(self, *names: str) -> Mapping[str, int]:
        lines = (line.split() for line in self._read(*names).splitlines())
        return {line[0]: int(line[1]) for line in lines}
