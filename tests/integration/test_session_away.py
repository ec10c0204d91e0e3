"""What a session call is answered while PostgreSQL is away: nothing of it is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import httpx
import pytest

from tests.support.sessions import World, no_session
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres
from worker.ledger import holds
from worker.ledger.database import Database, DatabaseError
from worker.partner.lockout import LockOut
from worker.session import NoSession, SessionKeeper
from worker.session.lockouts import write_lockouts


class Outage:
    """A partner that answers while the ledger is down, and a replica that lives through it."""

    def __init__(self, server: EmbeddedPostgres, world: World) -> None:
        self.server = server
        self.world = world
        self.lockout = LockOut(timedelta(hours=1))
        self.answer = httpx.Response(429)
        self.keeper = self.another(self.lockout)

    def another(self, lockout: LockOut | None = None) -> SessionKeeper:
        """Another replica."""
        return self.world.keeper(transport=httpx.MockTransport(self), lockout=lockout)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """The ledger goes down before the answer comes."""
        self.world.partner(request)
        await asyncio.to_thread(self.server.down)
        return self.answer

    async def comes_back(self) -> None:
        """The ledger can be reached again."""
        await asyncio.to_thread(self.server.up)


@pytest.fixture
async def outage(own_postgres: EmbeddedPostgres) -> AsyncIterator[Outage]:
    """A ledger of its own, and the loop that writes lock-outs."""
    url = own_postgres.create_database("ledger", "migrated")
    database = Database(url)
    found = Outage(own_postgres, World(database))
    writing = asyncio.create_task(write_lockouts(found.lockout, database))
    yield found
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing
    await found.keeper.aclose()
    await database.close()


async def _fails(keeper: SessionKeeper) -> None:
    with pytest.raises((DatabaseError, NoSession)):
        await keeper.ensure()


@pytest.mark.parametrize("status", [423, 429])
async def test_a_lock_out_of_a_login_is_not_forgotten(outage: Outage, status: int) -> None:
    """No second login follows, and as soon as the ledger is back every replica knows it."""
    outage.answer = httpx.Response(status)
    await _fails(outage.keeper)
    assert (await no_session(outage.keeper)).scope == holds.ALL
    await outage.comes_back()
    assert (await no_session(outage.keeper)).scope == holds.ALL

    async def known() -> bool:
        return holds.ALL in await outage.world.held()

    await eventually(known)
    hold = (await outage.world.held())[holds.ALL]
    assert hold.until is not None
    assert timedelta(minutes=59) < hold.until - hold.created_at < timedelta(minutes=60)  # it began with the answer
    assert (await no_session(outage.another())).scope == holds.ALL
    assert len(outage.world.partner.logins) == 1


async def test_a_token_that_came_is_not_lost(outage: Outage) -> None:
    """It is written as soon as the ledger is back: no second login, no session that nobody uses."""
    outage.answer = outage.world.partner.token("the token")
    await _fails(outage.keeper)
    await outage.comes_back()

    async def usable() -> bool:
        try:
            return (await outage.another().ensure()).value == "the token"
        except (DatabaseError, NoSession):
            return False

    await eventually(usable, 20)
    assert len(outage.world.partner.logins) == 1


async def test_a_rejected_login_is_not_forgotten(outage: Outage) -> None:
    """The hold is written as soon as the ledger is back: wrong credentials are tried once."""
    outage.answer = httpx.Response(401)
    await _fails(outage.keeper)
    await outage.comes_back()

    async def known() -> bool:
        return holds.LOGIN in await outage.world.held()

    await eventually(known, 20)
    assert (await no_session(outage.another())).scope == holds.LOGIN
    assert len(outage.world.partner.logins) == 1
