"""Bulk writes that go to the database as one statement."""

from __future__ import annotations

from typing import Any

import pytest

from worker.ledger.database import Again
from worker.ledger.writes import Writes


class Told:
    """A connection that keeps what it was told to run, and answers with counts."""

    def __init__(self, **counts: Any) -> None:
        self.counts = counts
        self.ran: list[tuple[str, tuple[Any, ...]]] = []

    async def fetchrow(self, query: str, *arguments: Any) -> dict[str, Any]:
        self.ran.append((query, arguments))
        return self.counts


async def run(writes: Writes, told: Told) -> Any:
    return await writes.run(told)  # type: ignore[arg-type]


async def test_parts_become_one_statement_whose_arguments_count_on() -> None:
    """Each part numbers its own arguments from one; together they are numbered through, in the order of the parts."""
    writes = Writes()
    writes.add("a", "update t set x = $2::int where id = $1::int returning 1", 7, 8)
    writes.add("b", "insert into u select $1::text, $12::text returning v", "nine", told="max(v)")
    told = Told(a=1, b="v")
    assert await run(writes, told) == {"a": 1, "b": "v"}
    [(query, arguments)] = told.ran
    assert arguments == (7, 8, "nine")
    assert query == (
        "with a as (update t set x = $2::int where id = $1::int returning 1),"
        " b as (insert into u select $3::text, $14::text returning v)"
        " select (select count(*) from a) as a, (select max(v) from b) as b"
    )


async def test_a_part_that_wrote_fewer_rows_than_it_must_has_lost_a_race() -> None:
    """The whole transaction is run again: half of what was decided is never written."""
    writes = Writes()
    writes.add("orders", "update t set x = 1 returning 1", rows=2)
    with pytest.raises(Again):
        await run(writes, Told(orders=1))
    assert await run(writes, Told(orders=2)) == {"orders": 2}


async def test_a_column_of_nulls_goes_out_empty() -> None:
    """The server fills it up; a column with one value in it goes as it is, and so does a list that is empty."""
    writes = Writes()
    writes.add("a", "insert into t select * from unnest($1, $2, $3) returning 1", [1, 2], [None, None], [None, 3])
    told = Told(a=2)
    await run(writes, told)
    assert told.ran[0][1] == ([1, 2], [], [None, 3])


async def test_nothing_to_write_asks_nobody() -> None:
    """No statement is sent for a transaction that has decided nothing."""
    told = Told()
    assert await run(Writes(), told) == {}
    assert told.ran == []
