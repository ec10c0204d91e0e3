"""Fixtures of the tests of the whole spine, and of the session alone."""

from collections.abc import AsyncIterator

import pytest

from tests.support.sessions import World
from tests.support.spine import fragile_stage, real_stage, restartable_stage, stage
from worker.ledger.database import Database

__all__ = ["fragile_stage", "real_stage", "restartable_stage", "stage"]


@pytest.fixture
async def world(ledger_url: str) -> AsyncIterator[World]:
    """A fresh ledger and a partner in a good mood."""
    db = Database(ledger_url)
    yield World(db)
    await db.close()
