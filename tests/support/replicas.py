"""Worker replicas as processes of their own: waited for over HTTP, killed, frozen, stopped, and heard to the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.container import Container
from tests.support.pages import page
from tests.support.processes import Process
from tests.support.waiting import eventually

_READY_SECONDS = 40.0
"""A replica is ready within three seconds; a machine that runs other tests too takes its time."""


class ReplicaProcess(Process):
    """One worker replica.

    `crash`: `point:n`, where it kills itself when it comes by that point for the n-th time, or `point:n:SIGSTOP`,
    where it freezes. `within`: limits of memory and processor time; it runs the command `run` then.
    """

    def __init__(
        self, env: Mapping[str, str], crash: str = "", *, cold: bool = False, within: Container | None = None
    ) -> None:
        if within is None:
            super().__init__([sys.executable, "-m", "tests.crash.runner", *([crash] if crash else [])], env, cold=cold)
        else:
            super().__init__(within.enter([sys.executable, "-m", "worker", "run"]), env, cold=True)
        self._address: str | None = None

    @property
    def address(self) -> str | None:
        """Where it answers, once it has said so."""
        if self._address is None:
            said = self.logged("run.http")
            self._address = said[0]["address"] if said else None
        return self._address

    async def health(self, of: str = "ready") -> dict[str, Any]:
        """What its health page says; nothing while it does not answer."""
        found: dict[str, Any] = json.loads(await page(self.address, f"health/{of}") or "{}")
        return found

    async def ready(self) -> None:
        """Returns when it is."""

        async def is_ready() -> bool:
            assert self.returncode is None, f"ended with {self.returncode}:\n{self.stderr[-3000:]}"
            return bool((await self.health()).get("ready"))

        await eventually(is_ready, _READY_SECONDS)

    async def frozen(self, timeout: float = 30.0) -> None:
        """Returns when it has stopped where it is."""
        stat = Path(f"/proc/{self.pid}/stat")
        await eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", timeout)

    async def ended(self, timeout: float = 30.0) -> int:
        """Its exit code, without holding up the sandbox that runs in this process."""
        await eventually(lambda: self.returncode is not None, timeout)
        code = self.returncode
        assert code is not None
        return code
