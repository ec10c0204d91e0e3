"""A firm that runs already, for `import` and `reconcile`: a sandbox with traders, an empty ledger, no Kafka."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO, StringIO, TextIOWrapper
from typing import Any
from unittest.mock import patch

from tests.support.commands import Ended
from tests.support.stage import FAST
from worker.backoff import Schedule
from worker.cli.import_file import ImportSettings, ImportSource, import_lines
from worker.cli.main import main
from worker.ledger.database import Database
from worker.operate.partner_reader import PartnerReader
from worker.sandbox import RunningSandbox, Sandbox, SandboxConfig, serve, settings_for
from worker.settings import load
from worker.wiring.partner_reads import ReadingSettings, partner_reader


async def in_this_process(env: Mapping[str, str], *arguments: str, stdin: bytes = b"") -> Ended:
    """Runs a command as an operator does, in a thread: what it prints, and its exit code."""

    def run() -> Ended:
        printed, err, given = BytesIO(), StringIO(), TextIOWrapper(BufferedReader(BytesIO(stdin)))
        out = TextIOWrapper(printed, "utf-8", newline="", write_through=True)  # JSON is written as bytes
        with (
            patch.dict(os.environ, env),
            patch.object(sys, "stdin", given),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = main(arguments)
        return Ended(code, printed.getvalue().decode(), err.getvalue())

    return await asyncio.to_thread(run)


@dataclass
class RunningFirm:
    """`env`: the settings of commands. `waits`: what readers have reported of their waits."""

    partner: RunningSandbox
    env: dict[str, str]
    waits: list[str | None] = field(default_factory=list)

    def traders(self, count: int, first: int = 0) -> tuple[list[int], list[int], list[int]]:
        """Puts traders there, each with one account: `trader<n>`, `EVAL<n>`; their users, accounts and permissions."""
        numbers = range(first, first + count)
        made = self.seed(
            users=[{"name": f"trader{n}", "email": f"trader{n}@example.com"} for n in numbers],
            accounts=[{"name": f"EVAL{n}"} for n in numbers],
        )
        users, accounts = made["userIds"], made["accountIds"]
        pairs = zip(users, accounts, strict=True)
        permissions = self.seed(permissions=[{"userId": user, "accountId": account} for user, account in pairs])
        return users, accounts, permissions["tradingPermissionIds"]

    def seed(self, *, foreign: bool = False, **entities: list[dict[str, Any]]) -> Mapping[str, list[int]]:
        """Puts users, accounts and permissions there that nobody made by a call."""
        found: Mapping[str, list[int]] = self.partner.sandbox.control.seed({**entities, "foreign": foreign})
        return found

    def fault(self, action: str, operation: str, **more: Any) -> None:
        """Lets the partner's calls go wrong."""
        self.partner.sandbox.core.faults.add({"action": action, "operation": operation, **more})

    def count(self, path: str) -> int:
        """How many calls of one operation reached the partner."""
        return int(self.partner.sandbox.core.calls.by_path[path.lower()])

    @property
    def calls(self) -> int:
        """How many calls reached the partner."""
        return int(self.partner.sandbox.core.calls.total)

    @asynccontextmanager
    async def reader(self, **changes: str) -> AsyncIterator[PartnerReader]:
        """A reader as commands get it, which retries at once."""
        settings = load(ReadingSettings, env={**self.env, **changes})
        async with partner_reader(settings, "import", self.waits.append) as reader:
            reader.delays = Schedule(base=0.05, cap=0.05)
            yield reader

    async def command(self, *arguments: str, stdin: bytes = b"", **changes: str) -> Ended:
        """Runs a command as an operator does, in a thread of this process: what it prints, and its exit code."""
        return await in_this_process({**self.env, **changes}, *arguments, stdin=stdin)

    def import_task(self, content: bytes) -> asyncio.Task[int]:
        """Begins an import in this very loop, so that it can be cancelled as by Ctrl-C; its exit code."""
        settings = load(ImportSettings, env=self.env)
        return asyncio.create_task(
            import_lines(settings, ImportSource("a file", BytesIO(content), None), "ada", None, dry_run=False)
        )

    async def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """What a statement returns."""
        database = Database(self.env["DATABASE_URL"], size=1)
        try:
            async with database.connection() as connection:
                return [dict(row) for row in await connection.fetch(sql, *values)]
        finally:
            await database.close()


@asynccontextmanager
async def running_firm(ledger_url: str, config: SandboxConfig | None = None) -> AsyncIterator[RunningFirm]:
    """A firm with a partner in a good mood."""
    partner = await serve(Sandbox(config or SandboxConfig()))
    try:
        yield RunningFirm(partner, {**FAST, **settings_for(partner), "DATABASE_URL": ledger_url})
    finally:
        await partner.stop()
