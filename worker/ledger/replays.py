"""Which dead letters were replayed or dismissed.

Each is replayed once, however often and by however many operators that is asked. A dismissed one is replayed only when
it is named.

A dead letter is known by its partition and offset on the dead-letter topic. A topic that was deleted and created again
begins at offset 0. So a dead letter that is younger than the note of its replay is another one, and was not replayed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from worker.ledger import notes
from worker.ledger.database import Connection

SKEW = timedelta(hours=1)
"""How far the clock of the dead letter's writer may be ahead of the database's, with a wide margin."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a dead letter stands on its topic, and when it was written there."""

    partition: int
    offset: int
    written_ms: int

    @property
    def written(self) -> datetime:
        """When, as a time."""
        return datetime.fromtimestamp(self.written_ms / 1000, UTC)


@dataclass(frozen=True, slots=True)
class Settled:
    """When a dead letter was replayed, or dismissed, why and by whom."""

    at: datetime
    dismissed: str | None = None
    by: str | None = None


async def settled(connection: Connection, topic: str, places: Collection[Place]) -> Mapping[Place, Settled]:
    """Those of `places` that were replayed or dismissed. `topic`: the input topic, without prefix."""
    rows = await connection.fetch(
        'select partition, "offset", at, dismissed, dismissed_by from replay where topic = $1'
        ' and (partition, "offset") in (select * from unnest($2::int[], $3::bigint[]))',
        topic,
        [place.partition for place in places],
        [place.offset for place in places],
    )
    noted = {
        (row["partition"], row["offset"]): Settled(row["at"], row["dismissed"], row["dismissed_by"]) for row in rows
    }
    found = {place: noted.get((place.partition, place.offset)) for place in places}
    return {place: each for place, each in found.items() if each is not None and place.written <= each.at + SKEW}


async def dismiss(connection: Connection, topic: str, place: Place, reason: str, by: str) -> None:
    """Notes that a dead letter is settled, whether it was replayed before or not."""
    await connection.execute(
        'insert into replay (topic, partition, "offset", at, dismissed, dismissed_by)'
        " values ($1, $2, $3, clock_timestamp(), $4, $5)"
        ' on conflict (topic, partition, "offset") do update'
        " set at = excluded.at, dismissed = excluded.dismissed, dismissed_by = excluded.dismissed_by",
        topic,
        place.partition,
        place.offset,
        reason,
        by,
    )
    await notes.of_letters(connection, topic, [(place.partition, place.offset)], "dismiss", by, reason)


async def claim(
    connection: Connection, topic: str, places: Collection[Place], *, again: bool, named: bool = False
) -> set[Place]:
    """Notes that `places` are replayed, and returns those of them that the caller may send: with `again` all but those
    that were dismissed, and with `named` these too.

    The primary key closes the race of two operators: the second one waits here until the first one's transaction has
    ended, and finds its claims taken. Ordered, so that two of them cannot wait for each other.
    """
    ordered = sorted(places)
    rows = await connection.fetch(
        'insert into replay as r (topic, partition, "offset", at)'
        " select $1, p, o, clock_timestamp() from unnest($2::int[], $3::bigint[], $4::timestamptz[]) as n (p, o, w)"
        ' order by p, o on conflict (topic, partition, "offset") do nothing returning partition, "offset"',
        topic,
        [place.partition for place in ordered],
        [place.offset for place in ordered],
        [place.written for place in ordered],
    )
    ours = {(row["partition"], row["offset"]) for row in rows}
    taken = [place for place in ordered if (place.partition, place.offset) not in ours]
    rows = await connection.fetch(
        "update replay set"
        " at = case when dismissed is null or at + $6::interval < w then clock_timestamp() else at end,"
        " dismissed = case when at + $6::interval >= w then dismissed end,"
        " dismissed_by = case when at + $6::interval >= w then dismissed_by end"
        " from unnest($2::int[], $3::bigint[], $4::timestamptz[]) as n (p, o, w)"
        ' where topic = $1 and partition = p and "offset" = o'
        " and (at + $6::interval < w or case when dismissed is null then $5::boolean else $7::boolean end)"
        ' returning partition, "offset"',
        topic,
        [place.partition for place in taken],
        [place.offset for place in taken],
        [place.written for place in taken],
        again,
        SKEW,
        named,
    )
    ours |= {(row["partition"], row["offset"]) for row in rows}
    return {place for place in ordered if (place.partition, place.offset) in ours}


async def sent(connection: Connection, topic: str, places: Collection[Place], by: str) -> None:
    """Notes that claimed dead letters were sent: one that was dismissed is now one that was replayed."""
    await notes.of_letters(connection, topic, [(place.partition, place.offset) for place in places], "replay", by)
    await connection.execute(
        "update replay set at = clock_timestamp(), dismissed = null, dismissed_by = null"
        ' where topic = $1 and dismissed is not null and (partition, "offset") in'
        " (select * from unnest($2::int[], $3::bigint[]))",
        topic,
        [place.partition for place in places],
        [place.offset for place in places],
    )


async def release(connection: Connection, topic: str, places: Collection[Place]) -> None:
    """Takes claims back that came to nothing. One that was dismissed stays so."""
    await connection.execute(
        'delete from replay where topic = $1 and dismissed is null and (partition, "offset") in'
        " (select * from unnest($2::int[], $3::bigint[]))",
        topic,
        [place.partition for place in places],
        [place.offset for place in places],
    )


async def prune(connection: Connection, keep: timedelta, most: int = 5000) -> int:
    """Forgets up to `most` dead letters that were replayed or dismissed longer than `keep` ago; how many."""
    rows = await connection.fetch(
        'delete from replay where (topic, partition, "offset") in (select topic, partition, "offset" from replay'
        " where at < statement_timestamp() - $1::interval order by at limit $2) returning 1",
        keep,
        most,
    )
    return len(rows)
