"""The table `note`: what operators did, who and why; and the holds that the program put and ended.

Rows are added, and never changed.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from worker.ledger.database import Connection

PROGRAM = "worker"
"""Who puts and ends a hold when no operator does."""

HELD, RELEASED = "hold", "release"
"""What the program does by itself; every other action is an operator's."""


async def of_flow(connection: Connection, flow_id: uuid.UUID, action: str, by: str, reason: str) -> None:
    """An operator's action on a flow."""
    await connection.execute(
        "insert into note (flow_id, action, by, reason) values ($1, $2, $3, $4)", flow_id, action, by, reason
    )


async def of_hold(connection: Connection, scope: str, action: str, by: str, reason: str) -> None:
    """A hold was put or ended, by an operator or the program."""
    await connection.execute(
        "insert into note (subject, action, by, reason) values ($1, $2, $3, $4)", scope, action, by, reason
    )


async def of_import(connection: Connection, what: str, by: str) -> None:
    """An operator's `import` wrote to the ledger: `what` it was."""
    await connection.execute("insert into note (subject, action, by, reason) values ($1, 'import', $2, '')", what, by)


async def of_letters(
    connection: Connection,
    topic: str,
    places: Sequence[tuple[int, int]],
    action: str,
    by: str,
    reason: str = "",
    *,
    kept: bool = False,
) -> None:
    """Dead letters of an input topic were replayed or dismissed. `places`: partition and offset of each, on the
    dead-letter topic, or (`kept`, in the ledger) those of the input record.
    """
    if places:
        await connection.execute(
            "insert into note (topic, subject, action, by, reason)"
            " select $1, format('partition %s, offset %s%s', p, o, $7::text), $4, $5, $6"
            " from unnest($2::int[], $3::bigint[]) as n (p, o)",
            topic,
            [partition for partition, _ in places],
            [offset for _, offset in places],
            action,
            by,
            reason,
            ", in the ledger" if kept else "",
        )


async def prune(connection: Connection, keep: timedelta, most: int = 5000) -> int:
    """Deletes up to `most` notes that are of no flow and older than `keep`; those of a flow go with it. How many."""
    rows = await connection.fetch(
        "delete from note where id in (select id from note where flow_id is null"
        " and at < statement_timestamp() - $1::interval order by at limit $2) returning 1",
        keep,
        most,
    )
    return len(rows)
