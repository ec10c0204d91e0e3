"""Outcomes that are written and not published yet: who may publish them, and in which order."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.base import utc_text
from worker.engine.changes import NewOutcome
from worker.ledger.database import Connection, Database
from worker.ledger.rows import NOT_OURS, OutcomeRow
from worker.ledger.statement import Part, Rows, bytes_in_json

OUTCOME_LEASE = 10.0
"""Seconds that the replica which wrote an outcome has to publish it before another one may. With the sweep's two it is
below the 15 s within which a dead replica's work goes on; a replica that needs longer (Kafka is away) extends it.
"""


EARLIER = """
(select true from outcome as earlier
where earlier.flow_id = {flow} {but} and coalesce(earlier.published_at, 'infinity') = 'infinity' limit 1)
"""
"""True if the flow has an unpublished outcome, else null. The condition is not `published_at is null`: with it, the
server would read the queue of all flows when its statistics say that the queue is empty.
"""


@dataclass(frozen=True, slots=True)
class Outbox:
    """The table of outcomes as publishers use it. Raises `DatabaseError`."""

    database: Database

    async def unpublished(self, limit: int = 500, without: Sequence[str] = ()) -> Sequence[OutcomeRow]:
        """Outcomes that the replica that wrote them has not published in time, leased to this replica; oldest first.
        Those of the input topics `without` are left where they are.

        Of each flow only the first that is not noted as published. So the order of a flow's outcomes is kept however
        many replicas publish: one that another replica is claiming (`skip locked`) holds back those after it.
        """
        begun = time.monotonic()
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "with late as (select id from outcome o"  # noqa: S608 - a constant of ours
                " where published_at is null and lease_until < clock_timestamp()"
                f" and {EARLIER.format(flow='o.flow_id', but='and earlier.id < o.id')} is null"
                " and topic <> all($3::text[])"
                " order by id limit $1 for update skip locked)"
                " update outcome set lease_until = clock_timestamp() + make_interval(secs => $2) from late"
                " where outcome.id = late.id"
                " returning outcome.id, outcome_id, topic, status, record_key, trace, body, flow_id,"
                " (select created_at from flow where flow.id = outcome.flow_id) as accepted_at,"
                " clock_timestamp() as now",
                limit,
                OUTCOME_LEASE,
                list(without),
            )
        if rows:
            self.database.clock.set(rows[-1]["now"])  # this may be the first that a replica does
        return sorted((_leased(row, begun + OUTCOME_LEASE) for row in rows), key=lambda row: row.id)

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


def new_rows(outcomes: Sequence[NewOutcome]) -> Rows:
    """The rows of `NEW_OUTCOMES`, which leases them to this replica."""
    return [
        {
            "outcome_id": new.outcome.outcome_id,
            "flow_id": new.flow_id,
            "topic": new.outcome.topic,
            "event_id": new.outcome.event_id,
            "status": new.outcome.status.value,
            "record_key": bytes_in_json(_record_key(new)),
            "trace": new.trace or None,
            "body": new.outcome.to_json(),
            "lease": OUTCOME_LEASE,
        }
        for new in outcomes
    ]


def added(
    outcomes: Sequence[NewOutcome], rows: Rows, result: Sequence[tuple[str, int, bool]], begun: float
) -> Sequence[OutcomeRow]:
    """The outcomes that were added, by what `NEW_OUTCOMES` has returned; repeats (the same outcome id) are left out.
    `begun`: monotonic seconds, before that statement.
    """
    there = {outcome_id: (row_id, ours) for outcome_id, row_id, ours in result}
    return [
        OutcomeRow(
            found[0],
            row["topic"],
            row["status"],
            _record_key(new),
            _headers(row["outcome_id"], row["topic"], utc_text(new.outcome.occurred_at), new.trace),
            row["body"],
            begun + OUTCOME_LEASE if found[1] else NOT_OURS,
            new.flow_id,
            new.accepted_at,
        )
        for new, row in zip(outcomes, rows, strict=True)
        if (found := there.get(row["outcome_id"])) is not None
    ]


async def leave(connection: Connection, outcomes: Sequence[OutcomeRow]) -> None:
    """Gives up the lease of outcomes: any replica may publish them."""
    await connection.execute(
        "update outcome set lease_until = clock_timestamp() where id = any($1)", [row.id for row in outcomes]
    )


def _record_key(new: NewOutcome) -> bytes | None:
    """The outcome's Kafka key: the input record's, or the trader, or the user."""
    if new.record_key is not None:
        return new.record_key
    return None if new.outcome.key is None else new.outcome.key.encode()


def _leased(row: Any, until: float) -> OutcomeRow:
    """An outcome that was found, leased to us until `until` (monotonic seconds)."""
    occurred_at = orjson.loads(row["body"])["occurredAt"]
    headers = _headers(row["outcome_id"], row["topic"], occurred_at, row["trace"] or {})
    topic, status, key, body = (row[name] for name in ("topic", "status", "record_key", "body"))
    return OutcomeRow(row["id"], topic, status, key, headers, body, until, row["flow_id"], row["accepted_at"])


def _headers(outcome_id: str, topic: str, occurred_at: str, trace: Mapping[str, str]) -> Mapping[str, str]:
    """CloudEvents headers in binary mode, and the input's trace context. They are not stored, as they are as long as
    the outcome itself: all but the trace follows from the row.
    """
    return {
        "ce_specversion": "1.0",
        "ce_id": outcome_id,
        "ce_type": f"{topic}.outcome",
        "ce_source": "tradovate-worker",
        "ce_time": occurred_at,
        "content-type": "application/json",
        **trace,
    }


# While an earlier outcome of its flow is not noted as published, an outcome is leased to no replica. The
# replica that publishes the earlier one claims it next: `pending` never comes after the final one.
NEW_OUTCOMES = Part(
    "new_outcomes",
    f"""
insert into outcome (outcome_id, flow_id, topic, event_id, status, record_key, trace, body, lease_until)
select outcome_id, flow_id, topic, event_id, status, record_key, trace, :long[body],
    clock_timestamp() + make_interval(secs => case when {EARLIER.format(flow="ended.flow_id", but="")}
        then 0 else ended.lease end)
from json_to_recordset(:rows) as ended (outcome_id text, flow_id uuid, topic text, event_id text, status text,
    record_key bytea, trace jsonb, body int, lease float8)
on conflict do nothing
returning outcome_id, id, lease_until > clock_timestamp() as ours
""",  # noqa: S608 - a constant of ours
    "json_agg(json_build_array(outcome_id, id, ours))",
    long="body",
)
