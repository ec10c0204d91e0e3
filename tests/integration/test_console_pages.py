"""The console's pages on a ledger that has grown: no query reads more than it shows by much, whatever is asked."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest

from schemas.events import TOPICS
from worker.ledger import browse, page_queries
from worker.ledger.browse import FlowState
from worker.ledger.database import Connection, Database
from worker.operate.flow_timeline import RESULTS

_GROWN = """
insert into flow (id, topic, event_id, partition, "offset", trader_id, order_id, account_id, state, created_at,
                  asked_at)
select ('0' || lpad(to_hex(n), 31, '0'))::uuid, (array['trader.purchased', 'trader.failed', 'md.signed'])[1 + n % 3],
       'e-' || n, 0, n, 'cust-' || n / 3, 'o-' || n / 2, 900000 + n,
       case when n % 5000 = 1 then 'in_doubt' when n < 500 then 'failed'
            when n > 59990 then 'open' else 'succeeded' end,
       now() - (60000 - n) * interval '1 minute', now() - (60000 - n) * interval '1 minute'
from generate_series(1, 60000) n;
insert into step (flow_id, operation, rank, state, trader_key, due, call_ids, ended_at)
select id, 'createEvaluationUsers', 5, case state when 'open' then 'due' else 'done' end, 't', now(), array["offset"],
       case when state <> 'open' then now() end from flow;
insert into call (operation, endpoint, domain, kind, items, flow_ids, replica, at, finished_at, result)
select (array['createEvaluationUsers', 'createEvaluationAccounts', 'accessTokenRequest'])[1 + n % 3], 'e', 'live',
       'send', 1, array[('0' || lpad(to_hex(n), 31, '0'))::uuid], 'r', now() - (60000 - n) * interval '1 minute',
       now() - (60000 - n) * interval '1 minute', case when n < 100 then 'silence'
            when n = 200 then null else 'answer' end
from generate_series(1, 60000) n;
insert into outcome (outcome_id, topic, event_id, status, body, lease_until, created_at, published_at)
select 'o' || n, 'trader.purchased', 'e-' || n, 'succeeded', '{}', now(),
       now() - (60000 - n) * interval '1 minute', now() from generate_series(1, 60000) n;
"""

MOST = 5_000
"""Rows that a query may touch: 51 of each of 32 pairs of topic and state, with their steps."""


@pytest.fixture
async def grown(ledgers: Callable[[], str]) -> AsyncIterator[_Weighed]:
    """A ledger with 60,000 flows, calls and outcomes, whose rare ones are the oldest."""
    database = Database(ledgers(), size=1)
    async with database.connection() as connection:
        await connection.execute(_GROWN)
        await connection.execute("analyze")
        yield _Weighed(connection)
    await database.close()


class _Weighed:
    """A connection that counts the rows that its queries touch, those that a filter drops included."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.touched = 0

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        plan = await self._connection.fetchval(f"explain (analyze, format json) {query}", *arguments)
        self.touched += _touched((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
        return await self._connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        return next(iter(await self.fetch(query, *arguments)), None)


def _touched(plan: Mapping[str, Any]) -> int:
    below = sum(_touched(each) for each in plan.get("Plans", ()))
    if "Scan" not in plan["Node Type"]:
        return below
    rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    return below + int(rows * plan["Actual Loops"])


Ask = Callable[[Any], Awaitable[object]]

_QUERIES: Mapping[str, Ask] = {
    "all flows": browse.newest,
    "an old page": lambda c: browse.newest(c, before=uuid.UUID(int=300)),
    **{f"flows {state}": partial(browse.newest, states=(state,)) for state in FlowState},
    "a topic with none": lambda c: browse.newest(c, topics=("trader.passed",)),
    "a rare state of a topic": lambda c: browse.newest(c, topics=("md.signed",), states=(FlowState.FAILED,)),
    "a trader": lambda c: browse.newest(c, trader_id="cust-700", limit=500),
    "an order": lambda c: browse.matches(c, "o-700", 500),
    "an event": lambda c: browse.matches(c, "e-700", 500),
    "an account": lambda c: page_queries.of_account(c, 900700),
    "the oldest": lambda c: page_queries.oldest_open(c, TOPICS),
    "in doubt": lambda c: page_queries.in_doubt(c, TOPICS),
    "the hour": lambda c: page_queries.outcomes_by_minute(c, datetime.now(UTC) - timedelta(hours=1)),
    "all calls": page_queries.calls,
    "rare calls": lambda c: page_queries.calls(c, operations=["accessTokenRequest"], results=["silence"]),
    "calls that never were": lambda c: page_queries.calls(c, operations=["accessTokenRequest"], results=["ticket"]),
    "calls of an operation": lambda c: page_queries.calls(c, operations=["accessTokenRequest"], results=list(RESULTS)),
    "calls without a result": lambda c: page_queries.calls(
        c, operations=["createEvaluationUsers", "accessTokenRequest"], results=[page_queries.NO_RESULT]
    ),
    "flows of a call": lambda c: page_queries.of_call(c, 30_000, 51),
    "operations": page_queries.operations_called,
}


async def test_a_page_touches_no_more_rows_than_it_can_show(grown: _Weighed) -> None:
    """Whatever is asked, and however rare and old it is."""
    for name, ask in _QUERIES.items():
        grown.touched = 0
        await ask(grown)
        assert grown.touched < MOST, f"{name}: {grown.touched} rows"


async def test_what_is_asked_is_what_is_found(grown: _Weighed) -> None:
    """States, topics, pages, results and accounts, in the order of time."""
    connection: Any = grown
    failed = await browse.newest(connection, states=(FlowState.FAILED,), limit=1000)
    assert [flow.offset for flow in failed] == sorted((n for n in range(1, 500) if n % 5000 != 1), reverse=True)
    assert sum((await page_queries.in_doubt(connection, TOPICS)).values()) == 12
    oldest = await page_queries.oldest_open(connection, TOPICS)
    assert oldest is not None
    assert oldest.event_id == "e-59991"
    assert [found.int for found in await page_queries.of_call(connection, 30_000, 51)] == [30_000]
    assert await page_queries.of_call(connection, 70_000, 51) == []
    (flow_id,) = await page_queries.of_account(connection, 900700)
    assert flow_id.int == 700
    silent = await page_queries.calls(connection, operations=["accessTokenRequest"], results=["silence"], limit=1000)
    assert [call.id for call in silent] == sorted(range(2, 100, 3), reverse=True)
    none = await page_queries.calls(
        connection, operations=["accessTokenRequest", "createEvaluationUsers"], results=[page_queries.NO_RESULT]
    )
    assert [(call.id, call.result) for call in none] == [(200, None)]
    assert await page_queries.operations_called(connection) == [
        "accessTokenRequest", "createEvaluationAccounts", "createEvaluationUsers",
    ]  # fmt: skip
    minutes = await page_queries.outcomes_by_minute(connection, datetime.now(UTC) - timedelta(hours=1))
    assert 59 <= sum(minutes.values()) <= 60
