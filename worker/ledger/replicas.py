"""Who is running: a row a replica, for health and the operator's page."""

from __future__ import annotations

from worker.ledger.database import Database


async def seen(database: Database, name: str, role: str, address: str | None) -> None:
    """Notes that the replica is there; rows of replicas not seen for a day are dropped."""
    async with database.transaction() as connection:
        await connection.execute(
            "insert into replica (name, role, address) values ($1, $2, $3) on conflict (name) do update"
            " set role = excluded.role, address = excluded.address, seen_at = now()",
            name,
            role,
            address,
        )
        await connection.execute("delete from replica where seen_at < now() - interval '1 day'")


async def gone(database: Database, name: str) -> None:
    """The replica has stopped."""
    async with database.transaction() as connection:
        await connection.execute("delete from replica where name = $1", name)
