"""What a transaction changes beside its own flows, and what it sees of another one that runs at the same time."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs

from tests.support.events import purchase
from tests.support.waiting import eventually
from tests.support.work import USERS, Work, failures, purchases, resets
from worker.engine.rows import Finish
from worker.ledger import steps, traders
from worker.ledger.call_log import EndedCall
from worker.ledger.database import Database
from worker.ledger.errors import DatabaseUnavailable
from worker.replies import Answer
from worker.results import Succeeded


@pytest.fixture
async def work(ledgers: Callable[[], str]) -> AsyncIterator[Work]:
    """A replica's hands on an empty ledger."""
    database = Database(ledgers())
    yield Work(database)
    await database.close()


async def test_all_steps_of_a_trader_get_the_key_of_a_user_that_becomes_known(work: Work) -> None:
    """The step of another order of the trader has it at once, so that no call names the trader beside it."""
    await work.accept("trader.purchased", [purchase(1, trader=7), purchase(2, trader=7)])
    await work.send(USERS, {"userId": 1_000})
    async with work.database.connection() as connection:
        rows = await connection.fetch("select flow_id, trader_key from step where ended_at is null")
    assert len({row["flow_id"] for row in rows}) == 2
    (key,) = {row["trader_key"] for row in rows}
    assert key.startswith("u:")


async def test_an_ordinary_reply_ends_what_was_suspected_of_session_and_host(work: Work) -> None:
    """The count of replies that a closed session would give begins again, and the host is the right one."""
    await work.accept("trader.purchased", purchases(1, 1))
    (batch,) = await work.claim(USERS)
    async with work.database.connection() as connection:
        await connection.execute("update session set streak = 1")
        await connection.execute("update host set doubt = 'an empty 404', hops = 1")
    moves = [(step, Finish(Succeeded({"userId": 1_000}))) for step in batch.steps]
    await work.ledger.record(batch.lease, moves, EndedCall(batch.call_id, Answer({})))
    async with work.database.connection() as connection:
        assert await connection.fetchval("select streak from session") == 0
        left = await connection.fetch("select domain from host where doubt is not null")
    assert [row["domain"] for row in left] == ["demo"]


async def test_a_trader_whom_another_transaction_has_just_added_is_seen(work: Work) -> None:
    """Of two first events of a trader the second one waits for the first, and reads what it has written."""
    async with work.database.transaction() as first, work.database.transaction() as second:
        await traders.lock(first, ["cust-1"], [], new=True)
        waiting = asyncio.create_task(traders.lock(second, ["cust-1"], [], new=True))
        async with work.database.connection() as beside:
            await eventually(
                lambda: beside.fetch(
                    "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
                )
            )
        await first.execute("update trader set user_id = 29721 where trader_id = 'cust-1'")
        await first.commit()
        locked, now = await waiting
        assert [(row.trader_id, row.user_id) for row in locked] == [("cust-1", 29721)]
        assert now is not None
        await first.begin()


async def test_a_result_of_a_call_whose_lease_another_replica_has_changes_nothing(work: Work) -> None:
    """A replica that was away for longer than its lease must not write what came of its call: the step is another's."""
    await work.accept("trader.purchased", purchases(1, 1))
    (batch,) = await work.claim(USERS)
    async with work.database.connection() as connection:
        await connection.execute("update step set lease = gen_random_uuid() where lease = $1", batch.lease)
    moves = [(step, Finish(Succeeded({"userId": 1_000}))) for step in batch.steps]
    assert await work.ledger.record(batch.lease, moves, EndedCall(batch.call_id, Answer({}))) == []
    async with work.database.connection() as connection:
        assert await connection.fetchval("select state from step where ended_at is null") == "in_flight"
        assert await connection.fetchval("select facts from flow") == {}
        assert await connection.fetchval("select user_id from trader") is None


async def test_a_flow_with_facts_that_cannot_be_read_is_left_out(work: Work) -> None:
    """Others go on, and the log names the flow and the field: nothing is decided by facts of another form."""
    await work.accept("trader.purchased", purchases(1, 2))
    async with work.database.connection() as connection:
        bad = await connection.fetchval("update flow set facts = '{\"userid\": 5}' where event_id = 'e-1' returning id")
    with capture_logs() as logs:
        (batch,) = await work.claim(USERS)
    assert [step.flow.event_id for step in batch.steps] == ["e-2"]
    (entry,) = logs
    assert f"flow {bad} (trader.purchased) cannot be read: userid" in entry["error"]


async def test_an_order_with_facts_that_cannot_be_read_stops_what_concerns_it(work: Work) -> None:
    """Nothing is decided about the order, the error names it, and other orders go on."""
    await work.accept("trader.purchased", purchases(1, 1))
    async with work.database.connection() as connection:
        await connection.execute("update business_order set facts = '{\"userid\": 5}'")
    with pytest.raises(DatabaseUnavailable, match=r"order 100001 \(purchased\).*userid"):
        await work.accept("trader.failed", failures(1, 1))
    await work.accept("trader.purchased", purchases(2, 1))


async def test_large_events_are_planned_again_a_few_at_a_time(work: Work) -> None:
    """Of flows whose wait has passed, those are taken together whose events fit into memory; one is always taken."""
    await work.accept("account.reset", resets(0, 6))
    async with work.database.connection() as connection:
        await connection.execute("update step set due = now() - interval '1 minute'")
        await connection.execute("update flow set body = repeat('x', 1000)::bytea")
        taken = [
            len(await steps.claim_waits(connection, uuid.uuid4(), limit, most_bytes, 10.0))
            for limit, most_bytes in ((200, 2500), (200, 1), (1, 10_000), (200, 10_000))
        ]
    assert taken == [3, 1, 1, 1]
