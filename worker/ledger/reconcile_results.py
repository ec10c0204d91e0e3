"""The tables `reconciliation` and `difference`, as commands, pages and metrics read them; how long they are kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worker.engine.flows.days import renewal_after
from worker.ledger.clock import database_time
from worker.ledger.database import Connection
from worker.ledger.differences import Difference, Fix, Kind

KEEP_LISTS = timedelta(days=70)
"""How long the differences of a run are kept: those of the last two month ends can be compared. Its counts stay longer.
"""


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


async def last(connection: Connection) -> RunSeen | None:
    """The run that finished last."""
    row = await connection.fetchrow(
        f"select {SEEN} from reconciliation where finished_at is not null order by finished_at desc limit 1"  # noqa: S608
    )
    return None if row is None else run_of(row)


@dataclass(frozen=True, slots=True)
class Figures:
    """The last run in figures. `age`: seconds since it finished. `month_end`: seconds until what users have is billed
    again. All but that are NaN before the first run.
    """

    counts: Mapping[Kind, float]
    age: float
    month_end: float


async def figures(connection: Connection) -> Figures:
    """For metrics: the same on every replica."""
    run, now = await last(connection), await database_time(connection)
    month_end = (renewal_after(now) - now).total_seconds()
    if run is None:
        return Figures(dict.fromkeys(Kind, math.nan), math.nan, month_end)
    counts = {kind: float(run.counts.get(kind.value, 0)) for kind in Kind}
    return Figures(counts, (now - run.finished_at).total_seconds(), month_end)


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


def run_of(row: Any) -> RunSeen:
    """A run by the columns `SEEN`."""
    return RunSeen(**dict(row))


def _difference(row: Any) -> Difference:
    values = dict(row)
    del values["id"]
    topic, event_id, body = (values.pop(name) for name in ("event_topic", "event_id", "event_body"))
    return Difference(
        **{**values, "kind": Kind(values["kind"])}, fix=None if topic is None else Fix(topic, event_id, body)
    )


SEEN = "id, days, listed, by, started_at, finished_at, traders, unread, calls, counts"

COLUMNS = (
    "key, kind, sentence, trader_id, user_id, order_id, account_id, account_name, permission_id, entitlement_id,"
    " cancel_before, event_topic, event_id, event_body"
)

_BY_KIND = f"""
select id, {COLUMNS.removeprefix("key, ")} from difference
where run_id = $1 and kind = $2 and id > $3 order by id limit $4
"""  # noqa: S608 - a constant of ours
