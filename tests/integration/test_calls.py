"""The call log on a real PostgreSQL: one budget, one lock-out, whatever happens at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from worker.engine.steps.splitting import Signs
from worker.ledger import budget, budget_view, call_log, holds
from worker.ledger.budget import Budget, Closed, Wanted
from worker.ledger.call_log import Opened
from worker.ledger.database import Connection, Database
from worker.replies import Answer, Misdirected, NotSent, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear


@pytest.fixture
async def db(ledger_url: str) -> AsyncIterator[Database]:
    """A ledger of the test's own."""
    database = Database(ledger_url)
    yield database
    await database.close()


async def begin(conn: Connection, n: int = 1, **more: Any) -> Opened | Closed:
    """Begins `n` calls of one item each."""
    allowed, items = more.pop("budget", Budget(4500)), more.pop("items", [1] * n)
    asked = {"operation": "createEvaluationUsers", "domain": "live", "kind": "send", "replica": "r"}
    return await call_log.begin_calls(conn, Wanted(**{**asked, **more}), allowed, items)


async def finish(db: Database, reply: Reply, **more: Any) -> None:
    """One call, begun and finished with this reply."""
    async with db.transaction() as conn:
        opened = await begin(conn, **more)
    assert isinstance(opened, Opened), opened
    async with db.transaction() as conn:
        await call_log.finish_call(conn, opened.call_ids[0], reply, lockout_seconds=3600)


async def session(db: Database) -> dict[str, Any]:
    """The shared session's row."""
    async with db.connection() as conn:
        return dict(await conn.fetchrow("select * from session") or {})


async def test_two_pools_at_once_never_open_more_than_the_budget(db: Database, ledger_url: str) -> None:
    """Replicas that begin calls in the same moment share the budget to the last call."""
    other = Database(ledger_url)

    async def one(database: Database) -> int:
        async with database.transaction() as conn:
            opened = await begin(conn, 3, budget=Budget(40))
        return len(opened.call_ids) if isinstance(opened, Opened) else 0

    opened = await asyncio.gather(*(one(database) for database in (db, other) for _ in range(15)))
    await other.close()
    assert sum(opened) == 36  # a tenth is kept back


async def test_what_is_kept_back_is_for_sessions_and_revocations(db: Database) -> None:
    """When the ordinary budget is used up, urgent calls still go, until the whole budget is."""
    async with db.transaction() as conn:
        assert len((await begin(conn, 100, budget=Budget(20))).call_ids) == 18  # type: ignore[union-attr]
        assert isinstance(await begin(conn, budget=Budget(20)), Closed)
        assert len((await begin(conn, 100, budget=Budget(20), reserve=True)).call_ids) == 2  # type: ignore[union-attr]
        assert isinstance(await begin(conn, budget=Budget(20), reserve=True), Closed)


async def test_an_empty_budget_says_when_it_frees_again(db: Database) -> None:
    """The time that it gives is when enough of the oldest calls leave the rolling hour for one more."""
    async with db.transaction() as conn:
        await begin(conn, 10, budget=Budget(10), reserve=True)
        await conn.execute("update call set at = at - interval '50 minutes' where id <= 2")
        closed = await begin(conn, budget=Budget(10))
        first_leaves = await conn.fetchval("select max(at) + interval '1 hour' from call where id <= 2")
        assert isinstance(closed, Closed)
        assert (closed.scope, closed.until) == ("budget", first_leaves)
        await conn.execute("update call set at = at - interval '11 minutes' where id <= 2")
        assert len((await begin(conn, 5, budget=Budget(10))).call_ids) == 1  # type: ignore[union-attr]


async def test_a_call_that_never_left_costs_nothing(db: Database) -> None:
    """A partner that cannot be reached does not use the budget up."""
    for _ in range(3):
        await finish(db, NotSent("no connection"), budget=Budget(1))
    async with db.transaction() as conn:
        assert (await budget_view.budget_view(conn, Budget(1))).used == 0


async def test_a_call_counts_from_its_end(db: Database) -> None:
    """A call that was answered within the hour still counts, though it was begun before."""
    await finish(db, Answer({}))
    async with db.transaction() as conn:
        await conn.execute("update call set at = at - interval '62 minutes'")
        assert (await budget_view.budget_view(conn, Budget())).used == 1
        await conn.execute("update call set finished_at = finished_at - interval '61 minutes'")
        assert (await budget_view.budget_view(conn, Budget())).used == 0


async def test_an_endpoints_own_limit_is_kept(db: Database) -> None:
    """`per_hour` bounds the calls of one endpoint, and of no other."""
    async with db.transaction() as conn:
        assert len((await begin(conn, 5, per_hour=3)).call_ids) == 3  # type: ignore[union-attr]
        closed = await begin(conn, per_hour=3)
        assert isinstance(closed, Closed)
        assert closed.scope == "limit:createEvaluationUsers"
        assert isinstance(await begin(conn, operation="updateContactInfo", per_hour=3), Opened)
        assert isinstance(await begin(conn, kind="look_up", reads="user/find", per_hour=3), Opened)


async def test_an_endpoints_share_of_the_minute_is_kept(db: Database) -> None:
    """`per_minute` bounds the calls of one endpoint in any rolling minute, and says when the next one may be made."""
    async with db.transaction() as conn:
        assert len((await begin(conn, 5, per_minute=2, per_hour=9)).call_ids) == 2  # type: ignore[union-attr]
        closed = await begin(conn, per_minute=2)
        assert isinstance(closed, Closed)
        assert closed.scope == "limit:createEvaluationUsers"
        assert closed.until is not None
        assert timedelta(seconds=59) < closed.until - closed.now <= timedelta(seconds=61)
        assert isinstance(await begin(conn, operation="updateContactInfo", per_minute=2), Opened)
        await conn.execute("update call set at = at - interval '1 minute', finished_at = at - interval '1 minute'")
        assert len((await begin(conn, 5, per_minute=2)).call_ids) == 2  # type: ignore[union-attr]


async def test_the_minutes_budget_keeps_some_for_sessions_and_revocations(db: Database) -> None:
    """When ordinary calls have used their part of the minute up, urgent ones still go, until the whole of it is."""
    allowed = Budget(4500, 20)
    async with db.transaction() as conn:
        assert len((await begin(conn, 100, budget=allowed)).call_ids) == 18  # type: ignore[union-attr]
        closed = await begin(conn, budget=allowed)
        assert isinstance(closed, Closed)
        assert closed.scope == budget.MINUTE_BUDGET
        assert len((await begin(conn, 100, budget=allowed, reserve=True)).call_ids) == 2  # type: ignore[union-attr]
        assert isinstance(await begin(conn, budget=allowed, reserve=True, kind="session"), Closed)


async def test_a_call_counts_for_the_minute_from_its_end(db: Database) -> None:
    """One that took longer than a minute still counts for a minute after it."""
    await finish(db, Answer({}))
    async with db.transaction() as conn:
        await conn.execute("update call set at = at - interval '64 seconds'")
        assert (await budget_view.budget_view(conn, Budget())).minute_used == 1
        await conn.execute("update call set finished_at = finished_at - interval '61 seconds'")
        assert (await budget_view.budget_view(conn, Budget())).minute_used == 0


async def test_two_pools_at_once_never_open_more_than_the_minutes_budget(db: Database, ledger_url: str) -> None:
    """Replicas that begin calls in the same moment share the minute to the last call."""
    other = Database(ledger_url)

    async def one(database: Database) -> int:
        async with database.transaction() as conn:
            opened = await begin(conn, 3, budget=Budget(4500, 40))
        return len(opened.call_ids) if isinstance(opened, Opened) else 0

    opened = await asyncio.gather(*(one(database) for database in (db, other) for _ in range(15)))
    await other.close()
    assert sum(opened) == 36  # a tenth is kept back


@pytest.mark.parametrize("status", [423, 429])
async def test_a_lock_out_stops_all_calls_and_the_next_one_is_a_renewal(db: Database, status: int) -> None:
    """After a 423 or 429 no call of any kind is begun for the lock-out's time, and the session is suspect."""
    await finish(db, Silence(status))
    async with db.transaction() as conn:
        for kind in ("send", "look_up", "session", "socket"):
            closed = await begin(conn, kind=kind, reserve=True)
            assert isinstance(closed, Closed)
            assert closed.scope == holds.ALL
            assert closed.until is not None
            assert timedelta(seconds=3590) < closed.until - closed.now <= timedelta(seconds=3600)
    assert (await session(db))["suspect"]


async def test_lock_outs_of_calls_in_flight_at_once_are_one_hold_without_deadlock(db: Database) -> None:
    """Lanes whose calls all end in a 429 leave one hold, the longest."""
    async with db.transaction() as conn:
        opened = await begin(conn, 8)
    assert isinstance(opened, Opened)

    async def end(call_id: int, seconds: float) -> None:
        async with db.transaction() as conn:
            await call_log.finish_call(conn, call_id, Silence(429), lockout_seconds=seconds)

    await asyncio.gather(*(end(call_id, 100 * n + 100) for n, call_id in enumerate(opened.call_ids)))
    async with db.transaction() as conn:
        (hold,) = await holds.live(conn)
    assert hold.until is not None
    assert hold.until - hold.created_at > timedelta(seconds=790)


async def test_two_answers_in_a_row_of_a_closed_session_make_it_suspect(db: Database) -> None:
    """One 5xx is the partner's trouble; two in a row may be a session that was closed, and calls wait for a renewal."""
    await finish(db, Unclear("HTTP 503", 503))
    await finish(db, Answer({}))
    await finish(db, Unclear("HTTP 503", 503))
    assert not (await session(db))["suspect"]
    await finish(db, Unclear("HTTP 408", 408))
    async with db.transaction() as conn:
        closed = await begin(conn)
        assert isinstance(closed, Closed)
        assert closed.scope == budget.SESSION_SCOPE
        assert isinstance(await begin(conn, kind="session"), Opened)


async def test_what_the_key_may_not_do_is_distinguished_from_a_token_that_ended(db: Database) -> None:
    """An endpoint whose last call was answered 401 while a call with the same token was answered lacks a permission."""
    accounts, users = "createEvaluationAccounts", "createEvaluationUsers"
    await finish(db, Unauthorized(), operation=accounts, generation=0)
    async with db.connection() as conn:
        assert await call_log.not_permitted(conn) == []  # nothing yet shows that the token is good
    await finish(db, Answer({}), operation=users, generation=0)
    await finish(db, Unauthorized(), operation=users, reads="user/finds", kind="look_up", generation=0)
    async with db.connection() as conn:
        assert await call_log.not_permitted(conn) == [accounts, "user/finds"]
    await finish(db, Answer({}), operation=accounts, generation=0)
    async with db.connection() as conn:
        assert await call_log.not_permitted(conn) == ["user/finds"]


async def test_signs_are_how_other_calls_of_the_operation_fared(db: Database) -> None:
    """Answered is answered or refused; unclear, not executed and unauthorized failed; reads and what never left are
    neither, and calls from before do not count.
    """
    await finish(db, Answer({}))
    async with db.connection() as conn:
        before: int = await conn.fetchval("select max(id) from call")
    for reply in (Unclear("cut"), Unauthorized(), NotSent("away")):
        await finish(db, reply)
    await finish(db, Misdirected("empty", 404), domain="demo")
    await finish(db, Answer({}), reads="user/finds", kind="look_up")
    await finish(db, Answer({}), operation="createEvaluationAccounts")
    async with db.connection() as conn:
        assert await call_log.signs_since(conn, "createEvaluationUsers", before) == Signs(0, 3)
    await finish(db, Refusal("no"))
    async with db.connection() as conn:
        newest: int = await conn.fetchval("select max(id) from call")
        assert await call_log.signs_since(conn, "createEvaluationUsers", before) == Signs(newest, 3)


async def test_timeouts_say_nothing_about_the_session(db: Database) -> None:
    """A call without any answer does not count towards a closed session."""
    for _ in range(3):
        await finish(db, Unclear("no whole answer within 60 s"))
    assert (await session(db))["streak"] == 0


async def test_late_answers_to_a_former_token_do_not_touch_the_new_one(db: Database) -> None:
    """A 5xx to a call that went with an older token leaves the streak alone."""
    async with db.transaction() as conn:
        opened = await begin(conn, 2, generation=0)
        await conn.execute("update session set generation = 1")
    assert isinstance(opened, Opened)
    for call_id in opened.call_ids:
        async with db.transaction() as conn:
            await call_log.finish_call(conn, call_id, Unclear("HTTP 500", 500), lockout_seconds=1)
    assert (await session(db))["streak"] == 0


async def test_a_replaced_token_is_noticed_before_the_call(db: Database) -> None:
    """A caller that holds an older token is refused, and sends nothing with it."""
    async with db.transaction() as conn:
        await conn.execute("update session set generation = 7")
        closed = await begin(conn, generation=6)
        assert isinstance(closed, Closed)
        assert closed.scope == budget.SESSION_SCOPE
        assert isinstance(await begin(conn, generation=7), Opened)


async def test_a_captcha_rests_its_endpoint_alone_for_an_hour(db: Database) -> None:
    """A penalty that no program can solve holds back its endpoint, not its neighbours."""
    await finish(db, Ticket("t", timedelta(seconds=19), captcha=True))
    async with db.transaction() as conn:
        closed = await begin(conn)
        assert isinstance(closed, Closed)
        assert closed.until is not None
        assert closed.until - closed.now > timedelta(minutes=59)
        assert isinstance(await begin(conn, operation="updateContactInfo"), Opened)


async def test_a_pause_stops_look_ups_of_its_operation_too(db: Database) -> None:
    """A paused operation makes no call, and makes calls again when it is resumed."""
    async with db.transaction() as conn:
        await holds.pause(conn, "createEvaluationUsers", "the partner asked")
        for closed in (await begin(conn), await begin(conn, kind="look_up", reads="user/find")):
            assert isinstance(closed, Closed)
            assert (closed.until, closed.why) == (None, "the partner asked")
        assert isinstance(await begin(conn, operation="updateContactInfo"), Opened)
        assert await holds.resume(conn, "createEvaluationUsers")
        assert isinstance(await begin(conn), Opened)


async def test_the_log_keeps_no_text_of_the_partner(db: Database) -> None:
    """Tradovate's texts may name persons: the log has its code and status, not its words."""
    await finish(db, Refusal("user jane77 is taken", 200, "UserAlreadyExists"))
    async with db.connection() as conn:
        row = await conn.fetchrow("select result, http_status, error from call")
    assert row is not None
    assert tuple(row) == ("refusal", 200, "UserAlreadyExists")


async def test_a_call_is_finished_once(db: Database) -> None:
    """A second finish of a call changes nothing, whatever it says."""
    await finish(db, Answer({}))
    async with db.transaction() as conn:
        call_id = await conn.fetchval("select id from call")
        await call_log.finish_call(conn, call_id, Silence(429), lockout_seconds=3600)
        assert await holds.live(conn) == []


async def test_the_view_tells_the_hour_and_the_minute(db: Database) -> None:
    """Metrics and the console see what is used and left of both."""
    async with db.transaction() as conn:
        await begin(conn, items=[100, 40])
        await begin(conn, operation="updateContactInfo")
        await begin(conn, kind="look_up")
        await conn.execute("update call set at = at - interval '20 minutes' where operation = 'updateContactInfo'")
        view = await budget_view.budget_view(conn, Budget(10, 5))
    assert (view.used, view.left) == (4, 6)
    assert (view.minute_used, view.minute_left) == (3, 2)
    assert view.free_again_at is not None


async def test_pruning_never_forgets_a_call_that_still_counts(db: Database) -> None:
    """However short the time to keep, the rolling hour stays whole."""
    async with db.transaction() as conn:
        await begin(conn, 3)
        await conn.execute("update call set at = at - interval '3 hours' where id = 1")
        assert await call_log.prune(conn, timedelta(0)) == 1
        assert (await budget_view.budget_view(conn, Budget())).used == 2
