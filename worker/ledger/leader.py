"""Which bridge works: one row with a lease, taken and extended by single statements.

Single statements, not transactions: a holder that is frozen between two statements would keep the row locked for the
server's idle limit, and that much later would the standby take over.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from worker.ledger.database import Connection


async def take(connection: Connection, holder: str, lease: uuid.UUID, lasts: timedelta) -> bool:
    """Takes the row if no other bridge has it, or extends what was taken under the same lease; whether the caller leads
    now.

    Two that find it free at once: the second one waits for the first one's lock, then finds it taken.
    """
    taken = await connection.fetchval(
        "update leader set holder = $1, lease = $2, lease_until = clock_timestamp() + $3::interval,"
        " since = case when lease = $2 then since else clock_timestamp() end"
        " where lease = $2 or lease_until is null or lease_until <= clock_timestamp() returning true",
        holder,
        lease,
        lasts,
    )
    return taken is True


async def give_back(connection: Connection, lease: uuid.UUID) -> None:
    """Ends the lease; nothing if another has taken the row."""
    await connection.execute(
        "update leader set holder = null, lease = null, lease_until = null, since = null where lease = $1", lease
    )


async def holder(connection: Connection) -> str | None:
    """The name of the bridge that works, None when none does."""
    name: str | None = await connection.fetchval("select holder from leader where lease_until > clock_timestamp()")
    return name
