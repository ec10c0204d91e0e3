"""What a running replica holds of the machine's things that may run out, and what it must never hold more of."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import httpx

from tests.support.replicas import ReplicaProcess
from tests.support.waiting import let_time_pass
from worker.dispatch.choose import IN_FLIGHT
from worker.operate.console import routes
from worker.wiring.replica import CONNECTIONS

MOST: Mapping[str, int] = {
    "connections": CONNECTIONS + routes.CONNECTIONS,
    # PostgreSQL, a connection for each call, four Kafka clients with a few brokers each, pages that are being read,
    # and what any process of asyncio has.
    "descriptors": CONNECTIONS + routes.CONNECTIONS + IN_FLIGHT + 34,
    # The main one, and those that look up names: the default of Python for two cores is six.
    "threads": 1 + min(32, (os.cpu_count() or 1) + 4),
}
"""They follow from the sizes of pools alone, whatever waits."""

_EVERY = 0.2
"""Seconds between two looks."""


class Usage:
    """The most of each that a replica had, in `most`; `slowest`: seconds of its liveness probe, `failed` those that
    did not say 200 within the five seconds that the manifests allow.
    """

    def __init__(self) -> None:
        self.most: Counter[str] = Counter()
        self.slowest = 0.0
        self.failed = 0

    @property
    def above(self) -> dict[str, int]:
        """What there was too much of."""
        return {name: self.most[name] for name, limit in MOST.items() if self.most[name] > limit}

    @classmethod
    @asynccontextmanager
    async def watched(cls, replica: ReplicaProcess, database_url: str) -> AsyncIterator[Usage]:
        """Looks again and again, until the block ends or the replica has ended."""
        usage = cls()
        looking = asyncio.create_task(usage._look(replica, database_url))
        try:
            yield usage
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    async def _look(self, replica: ReplicaProcess, database_url: str) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                while replica.returncode is None:
                    with suppress(FileNotFoundError, ProcessLookupError, StopIteration):  # it ends just now
                        self._see("descriptors", _descriptors(replica.pid))
                        self._see("threads", _status(replica.pid, "Threads"))
                        self._see("memory", 1024 * _status(replica.pid, "VmHWM"))
                    self._see("connections", int(await connection.fetchval(_CONNECTIONS)))
                    began = time.monotonic()
                    try:
                        self.failed += (await client.get(f"{replica.address}/health/live")).status_code != 200
                    except httpx.HTTPError:
                        self.failed += replica.returncode is None
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    await let_time_pass(_EVERY)
        finally:
            await connection.close()

    def _see(self, name: str, count: int) -> None:
        self.most[name] = max(self.most[name], count)


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


_CONNECTIONS = """
select count(*) from pg_stat_activity where datname = current_database() and application_name = 'tradovate-worker'
"""
