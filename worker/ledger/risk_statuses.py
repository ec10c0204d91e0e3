"""The tables `risk_status` and `risk_change`: each account's last risk status, and changes that are to be published."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from worker.ledger.database import Connection


class Row(NamedTuple):
    """A change that is not known to be on its topic."""

    id: int
    account_id: int
    version: int
    before: Mapping[str, Any]
    now: Mapping[str, Any]


async def leads(connection: Connection, lease: uuid.UUID) -> bool:
    """Whether the bridge with this lease leads, and goes on leading until the transaction ends: another one that takes
    the lead waits for the row.
    """
    found = await connection.fetchval(
        "select true from leader where lease = $1 and lease_until > clock_timestamp() for share", lease
    )
    return found is True


async def known(connection: Connection, account_ids: Sequence[int]) -> dict[int, tuple[int, Mapping[str, Any]]]:
    """Version and status of those accounts of which there is one."""
    rows = await connection.fetch(
        "select r.account_id, r.version, r.status from unnest($1::bigint[]) as wanted (account_id),"
        " lateral (select * from risk_status where account_id = wanted.account_id offset 0) r",
        sorted(set(account_ids)),
    )
    return {row["account_id"]: (row["version"], row["status"]) for row in rows}


async def keep(connection: Connection, statuses: Mapping[int, tuple[int, Mapping[str, Any]]]) -> None:
    """Writes version and status of accounts."""
    ids = sorted(statuses)
    await connection.execute(
        "insert into risk_status (account_id, version, status)"
        " select * from unnest($1::bigint[], $2::bigint[], $3::jsonb[]) on conflict (account_id) do update set"
        " version = excluded.version, status = excluded.status",
        ids,
        [statuses[each][0] for each in ids],
        [dict(statuses[each][1]) for each in ids],
    )


async def add_changes(
    connection: Connection, changes: Sequence[tuple[int, int, Mapping[str, Any], Mapping[str, Any]]]
) -> None:
    """Writes changes down that are to be published: account, version, before, now."""
    ids, versions, before, now = zip(*changes, strict=True)
    await connection.execute(
        "insert into risk_change (account_id, version, before, now)"
        " select * from unnest($1::bigint[], $2::bigint[], $3::jsonb[], $4::jsonb[])",
        list(ids),
        list(versions),
        [dict(each) for each in before],
        [dict(each) for each in now],
    )


async def unpublished(connection: Connection, most: int) -> list[Row]:
    """The oldest changes that are to be published."""
    rows = await connection.fetch(
        "select id, account_id, version, before, now from risk_change order by id limit $1", most
    )
    return [Row(**dict(row)) for row in rows]


async def published(connection: Connection, ids: Sequence[int]) -> None:
    """These changes are on their topic."""
    await connection.execute("delete from risk_change where id = any($1::bigint[])", list(ids))


async def oldest_unpublished(connection: Connection) -> timedelta | None:
    """How long the oldest change has waited to be published; None when none waits."""
    waited: timedelta | None = await connection.fetchval(
        "select clock_timestamp() - created_at from risk_change order by id limit 1"
    )
    return waited


async def accounts_are_known(connection: Connection) -> bool:
    """Whether the firm has an account, as far as the ledger knows."""
    found = await connection.fetchval(
        "select exists (select from risk_status) or"
        " exists (select from business_order where account_id is not null and kind = 'purchased')"
    )
    return found is True
