"""Commands run as an operator runs them, while a sandbox and replicas live in the test's own process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.processes import worker
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Its output as JSON; the command must have succeeded."""
        assert self.code == 0, self.stderr
        return json.loads(self.stdout)

    @property
    def refusal(self) -> str:
        """The one line that it left on standard error."""
        lines = self.stderr.splitlines()
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("Error: "), self.stderr
        return lines[0]


async def command(env: Mapping[str, str], *arguments: str, stdin: str = "", timeout: float = 40) -> Ended:
    """Runs `tradovate-worker …` to its end without holding up this process."""
    process = await asyncio.to_thread(worker, *arguments, env=env, stdin=stdin)
    try:
        await eventually(lambda: process.returncode is not None, timeout)
        code = process.returncode
        assert code is not None
        return Ended(code, process.stdout, process.stderr)
    finally:
        process.close()
