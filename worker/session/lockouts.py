"""Writes a lock-out that this process received to the ledger, however long the ledger is away."""

from __future__ import annotations

import asyncio

import structlog

from worker.backoff import Schedule
from worker.ledger.call_log import lock_out
from worker.ledger.database import Database, DatabaseError
from worker.partner.lockout import LockOut

__all__ = ["write_lockout", "write_lockouts"]

log = structlog.get_logger(__name__)


async def write_lockouts(lockout: LockOut, database: Database) -> None:
    """Writes each lock-out as soon as it is received; until cancelled."""
    # When the ledger is back the other replicas wait a second for it: `OTHERS_WRITE`.
    pause = Schedule(base=0.1, cap=0.4, least=0.05)
    failures = 0
    while True:
        await lockout.arrives()
        try:
            await write_lockout(lockout, database)
        except DatabaseError as error:
            failures += 1
            if failures == 1:
                log.warning("session.lockout_not_written", reason=error.reason)
            await asyncio.sleep(pause.delay(failures))
        else:
            if failures:
                log.info("session.lockout_written")
            failures = 0


async def write_lockout(lockout: LockOut, database: Database) -> None:
    """Writes the lock-out, if there is one that the ledger does not have. Raises `DatabaseError`."""
    if (unwritten := lockout.unwritten) is None:
        return
    await database.atomically(lambda connection: lock_out(connection, unwritten.status, unwritten.left))
    lockout.written(unwritten.number)
