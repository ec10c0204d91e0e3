"""Results that can never be stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.work import ACCOUNTS, USERS, Work, purchases
from worker.engine.rows import Claimed, Finish, Move
from worker.engine.states import StepState
from worker.ledger.call_log import EndedCall
from worker.ledger.database import Database
from worker.ledger.isolated_record import record
from worker.replies import Answer
from worker.results import Succeeded


@pytest.fixture
async def work(ledgers: Callable[[], str]) -> AsyncIterator[Work]:
    """A replica's hands on an empty ledger."""
    database = Database(ledgers())
    yield Work(database)
    await database.close()


async def test_one_result_that_cannot_be_stored_keeps_no_other_back(work: Work) -> None:
    """Of a hundred results one holds what PostgreSQL refuses: its step ends in doubt, the others are written."""
    await work.accept("trader.purchased", purchases(0, 100))
    (batch,) = await work.claim(USERS)
    bad = batch.steps[42]
    moves: list[tuple[Claimed, Move]] = [
        (step, Finish(Succeeded({"userId": 1_000 + step.id} | ({"userFrom": "\0"} if step is bad else {}))))
        for step in batch.steps
    ]
    outcomes = await record(work.ledger, batch.lease, moves, EndedCall(batch.call_id, Answer({})))
    (outcome,) = outcomes
    assert (outcome.status, bad.flow.event_id.encode() in outcome.body) == ("in_doubt", True)
    lanes = await work.lanes()
    assert lanes[ACCOUNTS, StepState.DUE].ready == 99
    assert (USERS, StepState.DUE) not in lanes
    async with work.database.connection() as connection:
        assert await connection.fetchval("select result from call where id = $1", batch.call_id) == "answer"
