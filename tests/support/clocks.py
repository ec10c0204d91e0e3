"""Clocks that a test sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from worker.bootstrap import Replica
from worker.ledger.clock import DatabaseClock
from worker.ledger.database import Connection


class _Standing(DatabaseClock):
    """The database's time stands still."""

    def __init__(self, at: datetime) -> None:
        super().__init__()
        self.at = at

    def now(self) -> datetime:
        return self.at

    async def read(self, _connection: Connection) -> datetime:
        return self.at


@contextmanager
def standing_at(replica: Replica, at: datetime) -> Iterator[None]:
    """For what flows decide in this replica it is always the same time; statements have the real one."""
    ledgers = (replica.ledger, replica.dispatcher.ledger)
    clocks = [ledger.clock for ledger in ledgers]
    for ledger in ledgers:
        ledger.clock = _Standing(at)
    try:
        yield
    finally:
        for ledger, clock in zip(ledgers, clocks, strict=True):
            ledger.clock = clock
