"""No statement reads more rows than it is about, however full the ledger is and whatever the server knows of it.

The server counts: each statement is explained where it runs. No time is asserted; a row that is not read takes none.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from schemas.events import TOPICS
from tests.support.counted import Counted
from tests.support.fullness import RECENT_CALLS, fill
from tests.support.plans import Explaining, Seen
from tests.support.postgres import Databases
from tests.support.work import ACCOUNTS, CREATED, ITEMS, USERS, Work, lone_purchase, many_events, purchases
from worker.ledger import (
    browse,
    call_log,
    ended_counts,
    holds,
    kept_dead_letters,
    leader,
    live_permissions,
    pacing_figures,
    page_queries,
    prune,
    reconcile_results,
    reconcile_runs,
    reconcile_view,
    replays,
    replicas,
    risk_statuses,
    signals,
    state_summary,
)
from worker.ledger.audit import Line
from worker.ledger.browse import FlowState
from worker.ledger.budget import Budget
from worker.ledger.differences import Difference, Kind
from worker.ledger.story import story_of
from worker.operate.flow_export import export
from worker.partner.operations import OPERATIONS

FULL = 100_000
"""Flows that have ended. Another fifth is open."""

Ledgers = Callable[..., str]


@pytest.fixture(scope="session")
def full_template(databases: Databases) -> Iterator[str]:
    """A ledger of a year, of which the server knows nothing: not analysed, and never by itself."""
    name = f"full_{uuid.uuid4().hex}"
    asyncio.run(fill(databases.create(name, databases.ledger_template), FULL))
    yield name
    databases.drop(name)


@pytest.fixture(scope="session")
def analysed_template(databases: Databases, full_template: str) -> Iterator[str]:
    """The same ledger, which the server has analysed."""
    name = f"analysed_{uuid.uuid4().hex}"
    asyncio.run(_analyse(databases.create(name, full_template)))
    yield name
    databases.drop(name)


async def _analyse(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("analyze")
    await connection.close()


@pytest.fixture(params=["empty", "full", "full and analysed"])
async def database(
    request: pytest.FixtureRequest, databases: Databases, full_template: str, analysed_template: str
) -> AsyncIterator[Explaining]:
    """A ledger whose statements are explained."""
    templates = {"empty": databases.ledger_template, "full": full_template, "full and analysed": analysed_template}
    name = f"plans_{uuid.uuid4().hex}"
    database = Explaining(databases.create(name, templates[request.param]))
    yield database
    await database.close()
    databases.drop(name)


def reads_no_more(seen: Sequence[Seen], rows: int) -> None:
    """No statement has read more than so many rows, or looked at more than ten blocks for each; the hour's calls are
    counted by some.
    """
    for each in seen:
        most = rows + (3 * (RECENT_CALLS + ITEMS) if "call" in each.relations else 0)
        assert each.rows_read <= most, f"more than {most} rows\n{each}"
        assert each.blocks <= 10 * most, f"more than {10 * most} blocks\n{each}"


async def test_a_many_events_read_what_they_are_about(database: Explaining) -> None:
    """From intake to outcome, with results that are not known, repeats, wake-ups and traders whose user gets known."""
    await many_events(database)
    reads_no_more(database.seen, 14 * ITEMS)  # the most: places in queues, and their former versions


@pytest.mark.parametrize("made", ["empty", "full", "full and analysed"])
async def test_plans_that_are_kept_read_what_they_are_about(
    made: str, databases: Databases, full_template: str, analysed_template: str
) -> None:
    """Events and results go in with plans that are kept, which stay right in a ledger that was new when they were made:
    of a hundred and of a lone one.
    """
    templates = {"empty": databases.ledger_template, "full": full_template, "full and analysed": analysed_template}
    name = f"kept_{uuid.uuid4().hex}"
    url = databases.create(name, templates[made])
    database = Counted(url)
    await many_events(database, 0)
    await lone_purchase(database, 500)
    if made == "empty":
        await fill(url, FULL // 10)
    database.read.clear()
    await many_events(database, 1000)
    await lone_purchase(database, 1500)
    await database.close()
    databases.drop(name)
    for read in database.read:
        assert all(rows <= 30 * ITEMS for table, rows in read.items() if table not in ("call", "hold")), read


async def test_a_page_reads_what_it_shows(database: Explaining) -> None:
    """What commands and the console show, found by filters, by any id, and by trader."""
    await Work(database).accept("trader.purchased", purchases(0, ITEMS))
    database.seen.clear()
    budget = Budget()
    await state_summary.standing(database, budget)
    await state_summary.doubts(database)
    await ended_counts.ended_flows(database)
    await pacing_figures.traffic(database, list(OPERATIONS), budget, full=100, sample=10)
    async with database.connection() as connection:
        newest = await browse.newest(connection)
        await browse.newest(connection, states=[FlowState.WAITING])
        await browse.newest(connection, states=[FlowState.FAILED], topics=["trader.purchased"])
        await browse.newest(connection, trader_id="old-5")
        await browse.newest(connection, order_id="old-5")
        await browse.newest(connection, trader_id="old-5", order_id="old-5")
        for text in ("old-7", "w-3", "e-3", str(newest[0].flow_id), str(uuid.uuid4())):
            for found in await browse.matches(connection, text):
                await story_of(connection, found)
        await browse.workers(connection)
        await page_queries.oldest_open(connection, TOPICS)
        await page_queries.in_doubt(connection, TOPICS)
        await page_queries.outcomes_by_minute(connection, datetime.now(UTC) - timedelta(hours=1))
        await page_queries.of_account(connection, 2_000_005)
        await page_queries.calls(connection)
        await page_queries.calls(connection, operations=[USERS], results=["answer", page_queries.NO_RESULT])
        await page_queries.operations_called(connection)
        await holds.live(connection)
        await leader.holder(connection)
        await kept_dead_letters.waiting(connection)
        await kept_dead_letters.kept(connection, TOPICS)
        await kept_dead_letters.kept_at(connection, "trader.purchased", 0, 1)
        await replays.settled(connection, "trader.purchased", [replays.Place(0, at, 0) for at in range(ITEMS)])
        await signals.known(connection, "md.signed", range(ITEMS))
        await risk_statuses.known(connection, range(ITEMS))
        await risk_statuses.keep(connection, {at: (2, {}) for at in range(ITEMS)})
        await risk_statuses.add_changes(connection, [(at, 2, {}, {}) for at in range(ITEMS)])
        waiting = await risk_statuses.unpublished(connection, ITEMS)
        await risk_statuses.published(connection, [each.id for each in waiting])
        await risk_statuses.oldest_unpublished(connection)
        await risk_statuses.accounts_are_known(connection)
        await live_permissions.find(connection, range(ITEMS), range(ITEMS))
    reads_no_more(database.seen, 40 * ITEMS)


async def test_what_is_rare_is_not_looked_for_among_the_others(database: Explaining) -> None:
    """A state, or a result of calls, that hardly any row has is found without a walk through those of another one."""
    async with database.connection() as connection:
        await browse.newest(connection, states=[FlowState.IN_DOUBT])
        await browse.newest(connection, states=[FlowState.WAITING], topics=["account.reset"])
        assert not await page_queries.calls(connection, operations=[USERS], results=["unclear", "ticket"])
        await page_queries.operations_called(connection)
        await call_log.signs_since(connection, USERS, RECENT_CALLS + FULL - ITEMS)
    for each in database.seen:
        assert each.blocks <= ITEMS, f"more than {ITEMS} blocks\n{each}"


async def test_a_queue_that_was_empty_is_not_looked_through(database: Explaining) -> None:
    """Flows end at the same price when thousands of outcomes wait for Kafka, of which the statistics know nothing."""
    async with database.transaction() as connection:
        await connection.execute(
            "insert into outcome (outcome_id, flow_id, topic, event_id, status, body, lease_until)"
            " select i, gen_random_uuid(), 'trader.purchased', i, 'succeeded', '', now()"
            " from generate_series(1, 3000) i"
        )
    work = Work(database)
    await work.accept("trader.purchased", purchases(0, ITEMS))
    database.seen.clear()
    assert await work.send(USERS, {"userId": 7_000_000}) == ITEMS
    assert await work.send(ACCOUNTS, CREATED) == ITEMS
    reads_no_more(database.seen, 40 * ITEMS)


async def test_work_under_way_is_not_looked_through(database: Explaining) -> None:
    """Beside a thousand steps in flight, a claim reads no more, when the server has seen last that there are none; and
    the metrics read each flow once.
    """
    await _see_empty_queues(database)
    work = Work(database)
    await work.accept("trader.purchased", purchases(ITEMS, 10 * ITEMS))
    assert len(await work.claim(USERS, 10 * ITEMS)) == 10
    await work.accept("trader.purchased", purchases(0, ITEMS))
    database.seen.clear()
    (batch,) = await work.claim(USERS)
    assert len(batch.steps) == ITEMS
    reads_no_more(database.seen, 12 * ITEMS)
    database.seen.clear()
    counts, _ = await state_summary.open_flows(database)
    assert counts == {("trader.purchased", "working"): 11 * ITEMS}
    reads_no_more(database.seen, 100 * ITEMS)  # former versions of places in queues among them


async def _see_empty_queues(database: Explaining) -> None:
    """Vacuum and its statistics find that nothing is under way."""
    connection = await asyncpg.connect(database.url)
    await connection.execute("delete from step where ended_at is null")
    await connection.execute("delete from flow where state = 'open'")
    await connection.execute("vacuum analyze step, flow")
    await connection.close()


async def test_an_export_reads_what_it_shows(database: Explaining) -> None:
    """An export of an hour, and one of a trader, read what happened in that hour and to that trader."""
    await Work(database).accept("trader.purchased", purchases(0, ITEMS))
    database.seen.clear()
    written: list[Line] = []
    hour = timedelta(hours=1)
    await export(database, written.extend, since=datetime.now(UTC) - hour)
    half_a_year_ago = datetime.now(UTC) - 4_000 * hour
    await export(database, written.extend, since=half_a_year_ago, until=half_a_year_ago + hour)
    await export(database, written.extend, trader_id="old-5")
    await export(database, written.extend, trader_id="cust-5")
    assert sum(line.kind == "flow" for line in written) >= ITEMS + 1
    reads_no_more(database.seen, 12 * ITEMS)


async def test_upkeep_reads_what_it_forgets(database: Explaining) -> None:
    """Pruning reads the flows that it deletes, with what belongs to them."""
    await replicas.seen(database, "here", "worker", None)
    await prune.forget_doubtful(database)
    await prune.prune(database, timedelta(days=399), timedelta(days=14))
    await ended_counts.count_on(database)
    reads_no_more(database.seen, 12 * ITEMS)


async def test_the_flows_under_way_are_counted_without_the_others(database: Explaining) -> None:
    """The metrics read the open flows and their steps, a fifth of this ledger, and none that have ended."""
    await state_summary.open_flows(database)
    reads_no_more(database.seen, FULL)  # a fifth of the flows and steps, each seen by an index and by a join


async def test_purchases_without_an_account_are_read_without_the_others(database: Explaining) -> None:
    """Accounts that belong to nobody are compared with the open purchases, a fifth of this ledger, and no others."""
    async with database.connection() as connection:
        await reconcile_view.makings(connection)
    reads_no_more(database.seen, FULL)


async def test_a_comparison_reads_the_traders_of_its_page(database: Explaining) -> None:
    """A page of `reconcile`, the same traders again, accounts of nobody, what was found."""
    async with database.transaction() as connection:
        run = await reconcile_runs.begin(connection, days=7, listed=False, by="a test")
        page = await reconcile_view.page(connection, "old-5", ITEMS)
        again = await reconcile_view.again(connection, [each.trader_id for each in page])
        assert again == page
        await reconcile_view.known_accounts(connection, range(2_000_000, 2_000_000 + ITEMS))
        found = [Difference(Kind.UNSIGNED, "a sentence", each.trader_id) for each in page]
        await reconcile_runs.write_page(connection, run, found, cursor="x", traders=ITEMS, unread=0, calls=1)
        await reconcile_runs.found_so_far(connection, run, None, ITEMS)
        ended = await reconcile_runs.finish(connection, run)
        assert len(await reconcile_results.differences(connection, ended.id, Kind.UNSIGNED)) == len(page)
        await reconcile_results.event_topics(connection, ended.id)
        await reconcile_results.figures(connection)
    reads_no_more(database.seen, 12 * ITEMS)
