"""Holds on a real PostgreSQL: put by many, extended and never shortened, cleared by an operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from worker.ledger import holds
from worker.ledger.database import Database

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def db(ledger_url: str) -> AsyncIterator[Database]:
    """A ledger of the test's own."""
    database = Database(ledger_url)
    yield database
    await database.close()


async def test_a_hold_is_made_longer_and_never_shorter(db: Database) -> None:
    """A shorter hold that comes later does not change the end."""
    async with db.transaction() as conn:
        first = await holds.put(conn, holds.ALL, "429", lasts=60 * MINUTE)
        assert await holds.put(conn, holds.ALL, "423", lasts=MINUTE) == first
        (hold,) = await holds.live(conn)
        assert hold.until is not None
        assert hold.until - hold.created_at > 59 * MINUTE
        await holds.put(conn, holds.ALL, "429", lasts=120 * MINUTE)
        (hold,) = await holds.live(conn)
        assert hold.until is not None
        assert hold.until - hold.created_at > 119 * MINUTE


async def test_what_only_an_operator_ends_stays_so(db: Database) -> None:
    """A hold without an end is not given one by a later one that has."""
    async with db.transaction() as conn:
        await holds.put(conn, "endpoint:x", "for ever", lasts=None)
        await holds.put(conn, "endpoint:x", "an hour", lasts=60 * MINUTE)
        (hold,) = await holds.live(conn)
    assert hold.until is None


async def test_a_hold_that_has_ended_stops_no_call_and_can_come_again(db: Database) -> None:
    """An ended hold is neither live nor listed; a new one of its scope begins from zero."""
    async with db.transaction() as conn:
        await holds.put(conn, holds.ALL, "429", lasts=-MINUTE)
        assert await holds.live(conn) == []
        assert await holds.list_holds(conn) == []
        await holds.put(conn, holds.ALL, "429", lasts=MINUTE)
        (hold,) = await holds.live(conn)
        assert hold.until is not None
        assert hold.until - hold.created_at <= MINUTE


async def test_pausing_twice_is_one_hold(db: Database) -> None:
    """Two operators who pause at once leave one pause, and one `resume` ends it."""

    async def pause(reason: str) -> None:
        async with db.transaction() as conn:
            await holds.pause(conn, None, reason)

    await asyncio.gather(*(pause(f"reason {n}") for n in range(5)))
    async with db.transaction() as conn:
        assert len(await holds.live(conn)) == 1
        assert await holds.resume(conn, None)
        assert not await holds.resume(conn, None)
        assert await holds.live(conn) == []


async def test_resuming_everything_leaves_the_pause_of_one_operation(db: Database) -> None:
    """Who paused one operation for its own reason finds it paused."""
    async with db.transaction() as conn:
        await holds.pause(conn, None, "maintenance")
        await holds.pause(conn, "createEvaluationUsers", "a bug")
        await holds.resume(conn, None)
        assert [hold.scope for hold in await holds.live(conn)] == ["pause:createEvaluationUsers"]


async def test_clearing_is_done_once_and_says_why(db: Database) -> None:
    """A hold that is cleared, or never was, cannot be cleared."""
    async with db.transaction() as conn:
        hold_id = await holds.put(conn, holds.LOGIN, "rejected", lasts=None, fingerprint="ab")
        cleared = await holds.clear(conn, hold_id, "password corrected")
        assert cleared is not None
        assert (cleared.scope, cleared.fingerprint) == (holds.LOGIN, "ab")
        assert await holds.clear(conn, hold_id, "again") is None
        assert await holds.clear(conn, 999, "what") is None
        assert await conn.fetchval("select cleared_reason from hold") == "password corrected"


async def test_a_ticket_outlives_its_wait_until_it_is_spent_once(db: Database) -> None:
    """After the wait the endpoint is open, and the ticket still there for the steps they stand for."""
    async with db.transaction() as conn:
        hold_id = await holds.put_ticket(conn, "user/create", MINUTE, "abc", body_digest=b"sealed", batch_id=7)
        await holds.put_ticket(conn, "user/create", MINUTE, "def", body_digest=b"other", batch_id=8)
        assert len(await holds.live(conn, ["endpoint:user/create"])) == 2
        await conn.execute("update hold set until = until - interval '2 minutes'")
        assert await holds.live(conn) == []
        assert len(await holds.list_holds(conn)) == 2
        ticket = await holds.ticket_of(conn, 7)
        assert ticket is not None
        assert (ticket.id, ticket.ticket, ticket.body_digest) == (hold_id, "abc", b"sealed")
        assert "abc" not in repr(ticket)
    spent = await asyncio.gather(*(_spend(db, hold_id) for _ in range(4)))
    assert sorted(spent) == [False, False, False, True]
    async with db.transaction() as conn:
        assert await holds.ticket_of(conn, 7) is None


async def _spend(db: Database, hold_id: int) -> bool:
    async with db.transaction() as conn:
        return await holds.spend_ticket(conn, hold_id)


async def test_pruning_keeps_what_is_live_or_unspent(db: Database) -> None:
    """Only holds that ended long ago leave the ledger."""
    async with db.transaction() as conn:
        await holds.put(conn, holds.ALL, "over", lasts=-120 * MINUTE)
        await holds.put(conn, "pause:x", "live", lasts=None)
        await holds.put_ticket(conn, "user/create", -120 * MINUTE, "abc", body_digest=b"sealed", batch_id=7)
        await holds.put_ticket(conn, "user/find", -120 * MINUTE, "def", body_digest=b"hash", batch_id=None)
        assert len(await holds.list_holds(conn)) == 2  # nobody takes a read's ticket after so long
        assert await holds.prune(conn, 60 * MINUTE) == 2
        assert len(await holds.list_holds(conn)) == 2
