"""The tables `reconciliation` and `difference`: the runs of `reconcile`, and what they found.

One run at a time. It is interrupted as often as it may be: the next command with the same question goes on from the
cursor. Every write names the lease, and is refused (`RunTaken`) once another command has taken the run over.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from schemas.times import utc_text
from worker.errors import OperatorError
from worker.ledger.columns import column
from worker.ledger.database import Connection
from worker.ledger.differences import Difference
from worker.ledger.reconcile_results import COLUMNS, SEEN, RunSeen, run_of

LEASE = timedelta(seconds=60)
"""How long a run that nobody extends belongs to its command: a killed one is taken over after it."""

GOES_ON_FOR = timedelta(hours=24)
"""An interrupted run that began earlier is dropped: what was compared then says too little."""


class Taken(Enum):
    """How another command has a run."""

    AT_WORK = (
        "Another reconcile is at work, since {since} ({by}): wait until it has ended; the console shows what it found."
    )
    JUST_BEGUN = "Another reconcile has just begun: wait until it has ended; the console shows what it found."
    TAKEN_OVER = "Another reconcile has taken this run over: wait until that one has ended."


class RunTaken(OperatorError):
    """Another `reconcile` is at work, `since` when and `by` whom if that is known, or has taken this run over."""

    def __init__(self, how: Taken, since: datetime | None = None, by: str = "") -> None:
        super().__init__(how.name)
        self.how = how
        self.since = since
        self.by = by

    @property
    def sentence(self) -> str:
        """For an operator."""
        return self.how.value.format(since="" if self.since is None else utc_text(self.since), by=self.by)


@dataclass(frozen=True, slots=True)
class ReconcileRun:
    """A run under our lease. `resumed`: another command began it."""

    id: int
    lease: uuid.UUID
    cursor: str | None
    traders: int
    resumed: bool


async def begin(connection: Connection, *, days: int, listed: bool, by: str) -> ReconcileRun:
    """Goes on with the run that was interrupted, if it has the same question and is not too old; else begins one.

    Raises `RunTaken` while another command works. In a transaction: the row is locked, so that of two commands which
    begin at once the second one finds the lease of the first.
    """
    lease = uuid.uuid4()
    row = await connection.fetchrow(
        "select id, by, cursor, traders, started_at, lease_until > clock_timestamp() as taken,"
        " days = $1 and listed = $2 and started_at > clock_timestamp() - $3::interval as same"
        " from reconciliation where finished_at is null for update",
        days,
        listed,
        GOES_ON_FOR,
    )
    if row is not None and row["taken"]:
        raise RunTaken(Taken.AT_WORK, row["started_at"], row["by"])
    if row is not None and row["same"]:
        await connection.execute(
            "update reconciliation set by = $2, lease = $3, lease_until = clock_timestamp() + $4::interval"
            " where id = $1",
            row["id"],
            by,
            lease,
            LEASE,
        )
        return ReconcileRun(row["id"], lease, row["cursor"], row["traders"], resumed=True)
    if row is not None:
        await connection.execute("delete from difference where run_id = $1", row["id"])
        await connection.execute("delete from reconciliation where id = $1", row["id"])
    begun = await connection.fetchval(
        "insert into reconciliation (days, listed, by, lease, lease_until)"
        " values ($1, $2, $3, $4, clock_timestamp() + $5::interval) on conflict do nothing returning id",
        days,
        listed,
        by,
        lease,
        LEASE,
    )
    if begun is None:
        raise RunTaken(Taken.JUST_BEGUN)
    return ReconcileRun(begun, lease, None, 0, resumed=False)


async def extend(connection: Connection, run: ReconcileRun) -> None:
    """The command is still at it. Raises `RunTaken` when it is not its run any more."""
    await _written(
        await connection.fetchval(
            "update reconciliation set lease_until = clock_timestamp() + $3::interval"
            " where id = $1 and lease = $2 and finished_at is null returning id",
            run.id,
            run.lease,
            LEASE,
        )
    )


async def give_back(connection: Connection, run: ReconcileRun) -> None:
    """The command ends before the run has: another one may go on at once."""
    await connection.execute(
        "update reconciliation set lease = null, lease_until = null where id = $1 and lease = $2", run.id, run.lease
    )


async def write_page(
    connection: Connection,
    run: ReconcileRun,
    differences: Sequence[Difference],
    *,
    cursor: str | None,
    traders: int,
    unread: int,
    calls: int,
) -> None:
    """What came of a page of traders, and that the run has come so far. Raises `RunTaken`."""
    await _written(
        await connection.fetchval(
            "update reconciliation set cursor = coalesce($3, cursor), traders = traders + $4, unread = unread + $5,"
            " calls = calls + $6, lease_until = clock_timestamp() + $7::interval"
            " where id = $1 and lease = $2 and finished_at is null returning id",
            run.id,
            run.lease,
            cursor,
            traders,
            unread,
            calls,
            LEASE,
        )
    )
    if differences:
        rows = [
            {
                **each._asdict(),
                "key": each.key,
                "event_topic": each.fix and each.fix.topic,
                "event_id": each.fix and each.fix.event_id,
                "event_body": each.fix and dict(each.fix.body),
            }
            for each in differences
        ]
        names = COLUMNS.split(", ")
        await connection.execute(_INSERT, run.id, *(column(row[name] for row in rows) for name in names))


async def found_so_far(connection: Connection, run: ReconcileRun, after: str | None, size: int) -> list[str]:
    """The traders of whom the run has found something, in the order of their ids."""
    rows = await connection.fetch(
        "select distinct trader_id from difference where run_id = $1 and trader_id is not null"
        " and ($2::text is null or trader_id > $2) order by trader_id limit $3",
        run.id,
        after,
        size,
    )
    return [row["trader_id"] for row in rows]


async def forget(connection: Connection, run: ReconcileRun, trader_ids: Sequence[str]) -> None:
    """Deletes what the run has found of these traders: they are compared again."""
    await connection.execute(
        "delete from difference where run_id = $1 and trader_id = any($2::text[])", run.id, list(trader_ids)
    )


async def finish(connection: Connection, run: ReconcileRun) -> RunSeen:
    """The run has compared everything. Raises `RunTaken`."""
    row = await connection.fetchrow(_FINISH, run.id, run.lease)
    await _written(row)
    return run_of(row)


async def _written(row: Any) -> None:
    if row is None:
        raise RunTaken(Taken.TAKEN_OVER)


_FINISH = f"""
update reconciliation set finished_at = clock_timestamp(), lease = null, lease_until = null, counts = (
    select coalesce(jsonb_object_agg(kind, found), '{{}}')
    from (select kind, count(*) as found from difference where run_id = $1 group by kind) as counted)
where id = $1 and lease = $2 and finished_at is null returning {SEEN}
"""  # noqa: S608 - a constant of ours

_INSERT = f"""
insert into difference (run_id, {COLUMNS})
select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::bigint[],
    $9::text[], $10::bigint[], $11::bigint[], $12::timestamptz[], $13::text[], $14::text[], $15::jsonb[])
on conflict (run_id, key) do nothing
"""  # noqa: S608 - a constant of ours
