"""What a connection costs the server before it does anything."""

from __future__ import annotations

import uuid

from worker.ledger.connect import Connector


async def test_the_driver_asks_about_types_on_one_connection_of_all(database_url: str) -> None:
    """Each further connection knows the types of lists already: the driver's long statement about them is not sent."""
    connect = Connector(database_url)
    first, second = await connect(), await connect()
    prepared = [row["statement"] for row in await second.fetch("select statement from pg_prepared_statements")]
    assert any("uuid[]" in statement for statement in prepared)
    assert not any("typeinfo" in statement for statement in prepared)
    ids = [uuid.uuid4(), uuid.uuid4()]
    assert await second.fetchval("select $1::uuid[]", ids) == ids
    assert await second.fetchval("select $1::jsonb[]", [{"a": 1}, {"b": [2]}]) == [{"a": 1}, {"b": [2]}]
    await first.close()
    await second.close()
