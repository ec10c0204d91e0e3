"""Clocks that a test sets."""

from __future__ import annotations

from datetime import datetime

from worker.ledger.clock import DatabaseClock
from worker.ledger.database import Connection


class Standing(DatabaseClock):
    """For flows the database's time stands still; statements and the dispatcher have the real one."""

    def __init__(self, at: datetime) -> None:
        super().__init__()
        self.at = at

    async def read(self, _connection: Connection) -> datetime:
        """Always the same."""
        return self.at
