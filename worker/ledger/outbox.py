"""Outcomes that are written and not published yet: who may publish them, and in which order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from worker.ledger.database import Database
from worker.ledger.rows import OutcomeRow
from worker.ledger.working_set import OUTCOME_LEASE


@dataclass(frozen=True, slots=True)
class Outbox:
    """The table of outcomes as publishers use it. Raises `DatabaseError`."""

    database: Database

    async def unpublished(self, limit: int = 500, without: Sequence[str] = ()) -> Sequence[OutcomeRow]:
        """Outcomes that the replica that wrote them has not published in time, leased to this replica; oldest first.
        Those of the input topics `without` are left where they are.

        Of each flow only the first that is not noted as published: the order of a flow's outcomes is kept however many
        replicas publish, and one that is being claimed by another replica (`skip locked`) holds back those after it.
        """
        begun = time.monotonic()
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "with late as (select id from outcome o where published_at is null and lease_until < clock_timestamp()"
                " and not exists (select 1 from outcome e where e.flow_id = o.flow_id and e.id < o.id"
                " and e.published_at is null) and topic <> all($3::text[])"
                " order by id limit $1 for update skip locked)"
                " update outcome set lease_until = clock_timestamp() + make_interval(secs => $2) from late"
                " where outcome.id = late.id"
                " returning outcome.id, topic, status, record_key, headers, body, flow_id,"
                " (select created_at from flow where flow.id = outcome.flow_id) as accepted_at,"
                " clock_timestamp() as now",
                limit,
                OUTCOME_LEASE,
                list(without),
            )
        if rows:
            self.database.clock.told(rows[-1]["now"])  # this may be the first that a replica does
        return sorted((OutcomeRow.leased(row, begun + OUTCOME_LEASE) for row in rows), key=lambda row: row.id)

    async def keep(self, ids: Sequence[int]) -> float:
        """Extends the lease of outcomes that are surely still ours; until when (monotonic)."""
        begun = time.monotonic()
        async with self.database.connection() as connection:
            await connection.execute(
                "update outcome set lease_until = clock_timestamp() + make_interval(secs => $2) where id = any($1)",
                list(ids),
                OUTCOME_LEASE,
            )
        return begun + OUTCOME_LEASE

    async def published(self, ids: Sequence[int]) -> None:
        """Notes that these outcomes are on their topics."""
        async with self.database.connection() as connection:
            await connection.execute(
                "update outcome set published_at = clock_timestamp() where id = any($1)", list(ids)
            )
