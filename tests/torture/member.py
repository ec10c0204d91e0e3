"""A replica or a bridge: its links, and its processes one after another."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.processes import Process
from tests.support.wrong_clocks import WrongClock
from tests.torture.links import Link


@dataclass
class Member:
    """A replica or a bridge: its links, and its processes one after another."""

    number: int
    kind: str
    kafka: Link
    database: Link
    clock: WrongClock | None = None
    process: Process | None = None
    frozen: bool = False
    stopping: bool = False
    killed: bool = False
    down_until: float = 0.0
    """By the monotonic clock: it is not started before."""
    logs: list[str] = field(default_factory=list)
    """What processes said that have ended."""

    @property
    def name(self) -> str:
        """As in the report."""
        return f"{self.kind} {self.number}"

    @property
    def runs(self) -> bool:
        """Whether it has a process."""
        return self.process is not None and self.process.returncode is None

    @property
    def able(self) -> bool:
        """Whether it runs, and nothing has been done to it."""
        return self.runs and not (self.frozen or self.stopping or self.killed)

    @property
    def said(self) -> str:
        """All that its processes have written up to now."""
        now = self.process.stdout + self.process.stderr if self.process is not None else ""
        return "\n".join([*self.logs, now])
