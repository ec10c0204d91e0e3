"""Bringing a ledger up to date, while others do the same."""

from __future__ import annotations

import asyncio

from worker.ledger import schema
from worker.ledger.schema import Fit


async def test_of_several_upgrades_at_once_one_migrates(database_url: str) -> None:
    """Replicas whose start begins with `db upgrade` may start together: each ends well, on the same schema."""
    found = await asyncio.gather(*[schema.upgrade(database_url) for _ in range(3)])
    assert {(each.fit, each.found) for each in found} == {(Fit.CURRENT, schema.newest())}
