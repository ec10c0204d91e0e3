"""What is listed of a ledger that has grown: by its indexes, whatever is asked."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import Databases
from worker.ledger import browse
from worker.ledger.browse import FlowState
from worker.ledger.database import Connection, Database

_GROWN = """
insert into flow (id, topic, event_id, partition, "offset", trader_id, user_id, order_id, state, created_at,
                  asked_at)
select lpad(to_hex(n), 32, '0')::uuid, (array['trader.purchased', 'trader.failed', 'md.signed'])[1 + n % 3],
       'e-' || n, 0, n, 'cust-' || n / 3, case when n % 3 = 2 then n / 3 end, 'o-' || n / 2,
       case when n % 1000 = 0 then 'failed' when n > 39990 then 'open' else 'succeeded' end, now(), now()
from generate_series(1, 40000) n
"""

_STEPS = """
insert into step (flow_id, operation, rank, state, trader_key, due)
select id, 'createEvaluationUsers', 5, case when "offset" % 2 = 0 then 'due' else 'waiting' end, 't', now()
from flow where state = 'open'
"""


@pytest.fixture(scope="session")
def grown_template(databases: Databases) -> Iterator[str]:
    """A ledger with 40,000 flows, to be copied."""
    name = f"grown_{uuid.uuid4().hex}"
    asyncio.run(_grow(databases.create(name, databases.ledger_template)))
    yield name
    databases.drop(name)


async def _grow(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(_GROWN)
    await connection.execute(_STEPS)
    await connection.execute("insert into trader (trader_id, user_id) values ('cust-10', 10)")
    await connection.execute("analyze flow")
    await connection.close()


@pytest.fixture
async def grown(databases: Databases, grown_template: str) -> AsyncIterator[Connection]:
    """A ledger with 40,000 flows."""
    name = f"browse_{uuid.uuid4().hex}"
    database = Database(databases.create(name, grown_template), size=1)
    async with database.connection() as connection:
        yield connection
    await database.close()
    databases.drop(name)


class _Explained:
    """A connection that notes which tables its queries read from end to end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.walked: set[str] = set()

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        for row in await self._connection.fetch(f"explain {query}", *arguments):
            if "Seq Scan on flow" in row[0]:
                self.walked.add(row[0].strip())
        return await self._connection.fetch(query, *arguments)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"states": [FlowState.FAILED]},
        {"states": [FlowState.IN_DOUBT]},
        {"states": [FlowState.WORKING]},
        {"topics": ["md.signed"]},
        {"topics": ["account.reset"], "states": [FlowState.SUCCEEDED]},
        {"trader_id": "cust-10"},
        {"order_id": "o-77"},
        {"before": uuid.UUID(int=20_000)},
    ],
)
async def test_no_list_walks_the_flows(grown: Connection, filters: Mapping[str, Any]) -> None:
    """Whatever is asked, a list is found by indexes, for there may be millions of flows."""
    explained = _Explained(grown)
    await browse.newest(explained, **filters)  # type: ignore[arg-type]
    await browse.matches(explained, "e-77")  # type: ignore[arg-type]
    assert explained.walked == set()


async def test_pages_follow_each_other(grown: Connection) -> None:
    """Each page begins where the one before it ended, newest first, none twice and none left out."""
    found = await browse.newest(grown, states=[FlowState.FAILED], limit=7)
    pages = list(found)
    while found:
        found = await browse.newest(grown, states=[FlowState.FAILED], before=found[-1].flow_id, limit=7)
        pages += found
    assert [flow.offset for flow in pages] == list(range(40_000, 0, -1000))


async def test_the_two_states_of_an_open_flow_are_distinguished(grown: Connection) -> None:
    """What is due is working, what waits is waiting, and together they are what is open."""
    working = await browse.newest(grown, states=[FlowState.WORKING])
    waiting = await browse.newest(grown, states=[FlowState.WAITING])
    assert {flow.offset % 2 for flow in working} == {0}
    assert {flow.offset % 2 for flow in waiting} == {1}
    both = await browse.newest(grown, states=[FlowState.WAITING, FlowState.WORKING])
    assert len(both) == len(working) + len(waiting) == 9


async def test_a_traders_flows_are_found_by_their_user_too(grown: Connection) -> None:
    """A flow that names only the user is found by the trader whose user that is."""
    await grown.execute('update flow set trader_id = null where "offset" = 32')
    found = await browse.newest(grown, trader_id="cust-10")
    assert [flow.offset for flow in found] == [32, 31, 30]


async def test_an_id_finds_flows_by_flow_event_or_order(grown: Connection) -> None:
    """An event's id finds its flow, an order's all of its flows, and a flow's own id that flow alone."""
    assert [flow.offset for flow in await browse.matches(grown, "e-77")] == [77]
    assert [flow.offset for flow in await browse.matches(grown, "o-38")] == [77, 76]
    assert [flow.offset for flow in await browse.matches(grown, str(uuid.UUID(int=77)))] == [77]
    assert await browse.matches(grown, "nobody") == []
