"""The tables `reconciliation` and `difference`: the runs of `reconcile`, and what they found.

One run at a time. It is interrupted as often as it may be: the next command with the same question goes on from the
cursor. Every write names the lease, and is refused (`RunTaken`) once another command has taken the run over.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas.times import utc_text
from worker.errors import OperatorError
from worker.ledger.columns import column
from worker.ledger.database import Connection
from worker.ledger.differences import Difference, Fix, Kind

LEASE = timedelta(seconds=60)
"""How long a run that nobody extends belongs to its command: a killed one is taken over after it."""

GOES_ON_FOR = timedelta(hours=24)
"""An interrupted run that began earlier is dropped: what was compared then says too little."""

KEEP_LISTS = timedelta(days=70)
"""How long the differences of a run are kept: those of the last two month ends can be compared. Its counts stay longer.
"""


class RunTaken(OperatorError):
    """Another `reconcile` is at work, or has taken this run over: a sentence that names the fix."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run under our lease. `resumed`: another command began it."""

    id: int
    lease: uuid.UUID
    cursor: str | None
    traders: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run that has finished, as commands and pages read it."""

    id: int
    days: int
    listed: bool
    by: str
    started_at: datetime
    finished_at: datetime
    traders: int
    unread: int
    calls: int
    counts: Mapping[str, int]


async def begin(connection: Connection, *, days: int, listed: bool, by: str) -> Run:
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
        raise RunTaken(
            f"Another reconcile is at work, since {utc_text(row['started_at'])} ({row['by']}):"
            " wait until it has ended; the console shows what it found."
        )
    if row is not None and row["same"]:
        await connection.execute(
            "update reconciliation set by = $2, lease = $3, lease_until = clock_timestamp() + $4::interval"
            " where id = $1",
            row["id"],
            by,
            lease,
            LEASE,
        )
        return Run(row["id"], lease, row["cursor"], row["traders"], resumed=True)
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
        raise RunTaken("Another reconcile has just begun: wait until it has ended; the console shows what it found.")
    return Run(begun, lease, None, 0, resumed=False)


async def extend(connection: Connection, run: Run) -> None:
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


async def give_back(connection: Connection, run: Run) -> None:
    """The command ends before the run has: another one may go on at once."""
    await connection.execute(
        "update reconciliation set lease = null, lease_until = null where id = $1 and lease = $2", run.id, run.lease
    )


async def write_page(
    connection: Connection,
    run: Run,
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
        names = _COLUMNS.split(", ")
        await connection.execute(_INSERT, run.id, *(column(row[name] for row in rows) for name in names))


async def found_so_far(connection: Connection, run: Run, after: str | None, size: int) -> list[str]:
    """The traders of whom the run has found something, in the order of their ids."""
    rows = await connection.fetch(
        "select distinct trader_id from difference where run_id = $1 and trader_id is not null"
        " and ($2::text is null or trader_id > $2) order by trader_id limit $3",
        run.id,
        after,
        size,
    )
    return [row["trader_id"] for row in rows]


async def forget(connection: Connection, run: Run, trader_ids: Sequence[str]) -> None:
    """Deletes what the run has found of these traders: they are compared again."""
    await connection.execute(
        "delete from difference where run_id = $1 and trader_id = any($2::text[])", run.id, list(trader_ids)
    )


async def finish(connection: Connection, run: Run) -> RunSeen:
    """The run has compared everything. Raises `RunTaken`."""
    row = await connection.fetchrow(_FINISH, run.id, run.lease)
    await _written(row)
    return _seen(row)


async def last(connection: Connection) -> RunSeen | None:
    """The run that finished last."""
    row = await connection.fetchrow(
        f"select {_SEEN} from reconciliation where finished_at is not null order by finished_at desc limit 1"  # noqa: S608
    )
    return None if row is None else _seen(row)


async def differences(
    connection: Connection, run_id: int, kind: Kind, after: int = 0, limit: int = 1000
) -> list[tuple[int, Difference]]:
    """A page of what a run found of one kind, in the order in which it was found, each with its number."""
    rows = await connection.fetch(_BY_KIND, run_id, kind.value, after, limit)
    return [(row["id"], _difference(row)) for row in rows]


async def events(connection: Connection, run_id: int, topic: str, after: str, limit: int = 1000) -> list[Fix]:
    """A page of the events that fix what a run found, each once, in the order of their ids."""
    rows = await connection.fetch(
        "select distinct on (event_id) event_topic, event_id, event_body from difference"
        " where run_id = $1 and event_topic = $2 and event_id > $3 order by event_id limit $4",
        run_id,
        topic,
        after,
        limit,
    )
    return [Fix(*row) for row in rows]


async def event_topics(connection: Connection, run_id: int) -> Mapping[str, int]:
    """How many events fix what a run found, by topic."""
    rows = await connection.fetch(
        "select event_topic, count(distinct event_id) as events from difference"
        " where run_id = $1 and event_topic is not null group by 1 order by 1",
        run_id,
    )
    return {row["event_topic"]: row["events"] for row in rows}


async def prune(connection: Connection, keep: timedelta, most: int = 5000) -> int:
    """Deletes up to `most` differences of runs older than `KEEP_LISTS`, and runs older than `keep` that have none left;
    how many.
    """
    lists: str = await connection.execute(
        "delete from difference where id in (select found.id from reconciliation r"
        " cross join lateral (select id from difference where run_id = r.id limit $2) as found"
        " where r.finished_at < statement_timestamp() - $1::interval limit $2)",
        min(keep, KEEP_LISTS),
        most,
    )
    runs: str = await connection.execute(
        "delete from reconciliation r where finished_at < statement_timestamp() - $1::interval"
        " and not exists (select from difference where run_id = r.id)",
        keep,
    )
    return sum(int(each.rpartition(" ")[2]) for each in (lists, runs))


async def _written(row: Any) -> None:
    if row is None:
        raise RunTaken("Another reconcile has taken this run over: wait until that one has ended.")


def _seen(row: Any) -> RunSeen:
    return RunSeen(**dict(row))


def _difference(row: Any) -> Difference:
    values = dict(row)
    del values["id"]
    topic, event_id, body = (values.pop(name) for name in ("event_topic", "event_id", "event_body"))
    return Difference(
        **{**values, "kind": Kind(values["kind"])}, fix=None if topic is None else Fix(topic, event_id, body)
    )


_SEEN = "id, days, listed, by, started_at, finished_at, traders, unread, calls, counts"

_FINISH = f"""
update reconciliation set finished_at = clock_timestamp(), lease = null, lease_until = null, counts = (
    select coalesce(jsonb_object_agg(kind, found), '{{}}')
    from (select kind, count(*) as found from difference where run_id = $1 group by kind) as counted)
where id = $1 and lease = $2 and finished_at is null returning {_SEEN}
"""  # noqa: S608 - a constant of ours

_COLUMNS = (
    "key, kind, sentence, trader_id, user_id, order_id, account_id, account_name, permission_id, entitlement_id,"
    " cancel_before, event_topic, event_id, event_body"
)

_INSERT = f"""
insert into difference (run_id, {_COLUMNS})
select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::bigint[],
    $9::text[], $10::bigint[], $11::bigint[], $12::timestamptz[], $13::text[], $14::text[], $15::jsonb[])
on conflict (run_id, key) do nothing
"""  # noqa: S608 - a constant of ours

_BY_KIND = f"""
select id, {_COLUMNS.removeprefix("key, ")} from difference
where run_id = $1 and kind = $2 and id > $3 order by id limit $4
"""  # noqa: S608 - a constant of ours
