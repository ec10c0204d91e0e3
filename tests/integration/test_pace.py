"""What the pacing reads from the call log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from worker.ledger.budget import Budget
from worker.ledger.database import Database
from worker.ledger.pacing_figures import SendFigures, traffic

OPERATION = "createEvaluationUsers"


@pytest.fixture
async def database(ledgers: Callable[[], str]) -> AsyncIterator[Database]:
    """An empty ledger."""
    database = Database(ledgers())
    yield database
    await database.close()


async def log(database: Database, *sent: tuple[float, int]) -> None:
    """Writes down calls: seconds ago, items."""
    async with database.connection() as connection:
        await connection.execute(
            "insert into call (operation, endpoint, domain, kind, items, replica, at)"
            " select $1::text, $1, 'live', 'send', i, 'here', clock_timestamp() - make_interval(secs => s)"
            " from unnest($2::int[], $3::float8[]) as n (i, s)",
            OPERATION,
            [items for _, items in sent],
            [seconds for seconds, _ in sent],
        )


async def test_few_calls_show_no_pace(database: Database) -> None:
    """Calls that are fewer than a sample are counted, and say nothing of a stream's pace."""
    await log(database, (2.0, 1), (1.0, 1))
    seen = await traffic(database, [OPERATION], Budget(), full=100, sample=2)
    assert seen.used == 2
    assert seen.sent == {OPERATION: SendFigures(2, 2, 0.0, 2)}


async def test_quickest_calls_in_a_row_are_the_pace(database: Database) -> None:
    """The pace is that of the quickest part-filled calls in a row; full calls say nothing."""
    await log(database, *((100 - n, 1) for n in range(5)), *((10 - n / 10, 1) for n in range(5)), (5, 100), (4.99, 100))
    sent = (await traffic(database, [OPERATION], Budget(), full=100, sample=4)).sent[OPERATION]
    assert (sent.items, sent.calls) == (210, 12)
    assert sent.part_filled == 5
    assert sent.quickest == pytest.approx(10.0, rel=0.05)


async def test_what_is_long_ago_is_forgotten(database: Database) -> None:
    """Calls count for an hour, streams are measured over ten minutes."""
    await log(database, (4000, 1), (700, 1), (601, 100))
    seen = await traffic(database, [OPERATION], Budget(), full=100, sample=4)
    assert (seen.used, seen.minute_used) == (2, 0)
    assert seen.sent == {}
