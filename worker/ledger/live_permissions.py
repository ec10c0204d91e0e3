"""The table `live_permission`: trading permissions that were made on LIVE."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from worker.engine.rows import LivePermissionRow
from worker.ledger.columns import columns
from worker.ledger.database import Connection


async def find(
    connection: Connection, permission_ids: Collection[int], user_ids: Collection[int]
) -> Sequence[LivePermissionRow]:
    """Those of these numbers, and those of these users."""
    if not permission_ids and not user_ids:
        return ()
    rows = await connection.fetch(_FIND, sorted(permission_ids), sorted(user_ids))
    return [LivePermissionRow(*row) for row in rows]


async def add(connection: Connection, rows: Sequence[LivePermissionRow]) -> None:
    """Adds those that are not there yet: two events for one pair get the same trading permission."""
    if rows:
        await connection.execute(_ADD, *columns(rows, *LivePermissionRow._fields))


# Each key is looked for by itself, and `offset 0` keeps it so: planned in one piece, this may read the whole table.
_FIND = """
select found.* from unnest($1::bigint[]) as named (id) cross join lateral (
    select permission_id, account_id, user_id from live_permission where permission_id = named.id offset 0) as found
union
select found.* from unnest($2::bigint[]) as named (id) cross join lateral (
    select permission_id, account_id, user_id from live_permission where user_id = named.id offset 0) as found
"""

_ADD = """
insert into live_permission (permission_id, account_id, user_id)
select * from unnest($1::bigint[], $2::bigint[], $3::bigint[]) on conflict do nothing
"""
