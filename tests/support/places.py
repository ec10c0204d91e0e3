"""Ordinary calls under the shared session, for tests of the hosts: what the ledger allows, and where they go."""

from __future__ import annotations

from typing import Any

from tests.support.sessions import World
from worker.ledger import call_log, host_table
from worker.ledger.budget import Budget, Closed, Wanted
from worker.ledger.call_log import Opened
from worker.replies import Domain, Misdirected, Reply

WRONG = Misdirected("HTTP 421: the wrong host", 421)
EMPTY = Misdirected("HTTP 404 without a body", 404)


def redirect(host: str) -> Misdirected:
    """A redirect to the same path on that host."""
    return Misdirected("HTTP 307: a redirect", 307, host)


async def begin(
    world: World, domain: Domain = Domain.DEMO, kind: Any = "send", generation: int | None = None
) -> Opened | Closed:
    """Begins a call with the token in use, or says what keeps it back."""
    async with world.db.transaction() as conn:
        used = (await world.row())["generation"] if generation is None else generation
        return await call_log.begin_calls(conn, Wanted("x", domain, kind, "r", generation=used), Budget(), [1] * 16)


async def finish(world: World, call_id: int, reply: Reply) -> None:
    """What came back."""
    async with world.db.transaction() as conn:
        await call_log.finish_call(conn, call_id, reply, lockout_seconds=600)


async def call(world: World, reply: Reply, domain: Domain = Domain.DEMO, kind: Any = "send") -> None:
    """A whole call."""
    opened = await begin(world, domain, kind)
    assert isinstance(opened, Opened)
    await finish(world, opened.call_ids[0], reply)


async def place(world: World, domain: Domain = Domain.DEMO) -> host_table.DomainHost:
    """The domain's row."""
    async with world.db.connection() as conn:
        return next(row for row in await host_table.load(conn) if row.domain == domain)
