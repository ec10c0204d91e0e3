"""Departures in the ledger: which traders leave, and what that means for steps that give them something.

A departure is written when its trader is known, once for each key that the trader's steps may have (`u:<userId>`,
`t:<traderId>`), and stays for as long as its flow. Rows are locked after traders and orders, before steps.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from worker.engine.flows.base import DepartureView, departure_key
from worker.engine.flows.departing import COMES_BACK, GIVES, Verdict, strictest
from worker.ledger.database import Connection
from worker.ledger.rows import PLAN, StepState
from worker.ledger.writes import Writes, columns


@dataclass(slots=True)
class DepartureRow:
    """A departure under one key of its trader."""

    trader_key: str
    flow_id: uuid.UUID
    since: datetime
    begun_at: datetime | None
    ended: bool
    dirty: bool = False
    dropped: bool = False

    @property
    def view(self) -> DepartureView:
        """As flows see it."""
        return DepartureView(self.flow_id, self.since, self.begun_at, self.ended)


_COLUMNS = "trader_key, flow_id, since, begun_at, ended"


@dataclass(slots=True)
class Departures:
    """The departures of the traders that a transaction's flows name."""

    rows: dict[tuple[str, uuid.UUID], DepartureRow] = field(default_factory=dict)
    _unproven: list[tuple[set[str], str]] = field(default_factory=list)  # the keys of a flow, and its operation
    _over: set[uuid.UUID] = field(default_factory=set)

    async def load(self, connection: Connection, keys: Iterable[str]) -> None:
        """Locks and reads the departures under `keys`."""
        wanted = sorted(set(keys))
        if not wanted:
            return
        for row in await connection.fetch(
            f"select {_COLUMNS} from unnest($1::text[]) as k (key)"  # noqa: S608 - a constant of ours
            " join departure on trader_key = k.key order by trader_key, flow_id for update of departure",
            wanted,
        ):
            self.rows.setdefault((row["trader_key"], row["flow_id"]), DepartureRow(*row))

    async def load_unproven(self, connection: Connection, keys: Iterable[str]) -> None:
        """Reads which steps that give something to these traders were sent and have no known result yet."""
        wanted = sorted(set(keys))
        if not wanted:
            return
        for row in await connection.fetch(
            "select k.key, s.operation from unnest($1::text[]) as k (key) cross join lateral ("
            " select operation, state, attempts from step where trader_key = k.key and ended_at is null offset 0) as s"
            " where s.attempts > 0 and s.state in ('in_flight', 'unknown') and s.operation = any($2)",
            wanted,
            list(GIVES),
        ):
            self._unproven.append(({row["key"]}, row["operation"]))

    def views(self, keys: Iterable[str], but: uuid.UUID) -> tuple[DepartureView, ...]:
        """The departures under any of `keys`, by other flows than `but`."""
        wanted = set(keys)
        found = {
            row.flow_id: row.view
            for row in self.rows.values()
            if row.trader_key in wanted and row.flow_id != but and not row.dropped
        }
        return tuple(found.values())

    def unproven(self, keys: Iterable[str]) -> frozenset[str]:
        """The operations of `load_unproven`, for one trader."""
        wanted = set(keys)
        return frozenset(operation for theirs, operation in self._unproven if not wanted.isdisjoint(theirs))

    def note(self, flow_id: uuid.UUID, keys: Iterable[str], since: datetime, begun_at: datetime | None) -> None:
        """Notes that a departure is under way."""
        for key in keys:
            row = self.rows.get((key, flow_id))
            if row is None:
                row = self.rows[key, flow_id] = DepartureRow(key, flow_id, since, begun_at, ended=False, dirty=True)
            row.dirty |= (row.begun_at, row.ended) != (begun_at, False)
            row.begun_at, row.ended = begun_at, False

    def end(self, flow_id: uuid.UUID, *, withdrawn: bool) -> None:
        """Notes that a departure has ended. `withdrawn`: before it had begun, or by an operator's word."""
        self._over.add(flow_id)
        for row in self.rows.values():
            if row.flow_id == flow_id:
                row.ended, row.dropped, row.dirty = True, withdrawn, True

    def news(self) -> set[str]:
        """The keys that wake whoever waits for departures that have ended."""
        return {departure_key(flow_id) for flow_id in self._over}

    def add_writes(self, writes: Writes) -> None:
        """Adds what has changed to the transaction's writes."""
        kept = [row for row in self.rows.values() if row.dirty and not row.dropped]
        dropped = list({row.flow_id for row in self.rows.values() if row.dropped})
        if kept:
            writes.add(
                "departures",
                f"insert into departure as d ({_COLUMNS})"  # noqa: S608 - a constant of ours
                " select * from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::boolean[])"
                " on conflict (trader_key, flow_id) do update set begun_at = excluded.begun_at, ended = excluded.ended"
                " returning 1",
                *columns(kept, *_COLUMNS.replace(" ", "").split(",")),
            )
        if dropped:
            writes.add("withdrawn", "delete from departure where flow_id = any($1::uuid[]) returning 1", dropped)


async def turn_away(connection: Connection, step_ids: Sequence[int]) -> set[int]:
    """Of these steps, which give something and are locked, those that a departure keeps from being sent: each has ended
    and its flow is planned again. To be asked under `BEGIN_LOCK`: a departure's own calls begin behind it as well.
    """
    rows = await connection.fetch(
        "select s.id, f.topic, f.asked_at, d.flow_id, d.since, d.begun_at, d.ended from step s"
        " join flow f on f.id = s.flow_id join departure d on d.trader_key = s.trader_key"
        " where s.id = any($1) and d.flow_id <> s.flow_id",
        list(step_ids),
    )
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row["id"], []).append(row)
    away = [step_id for step_id, theirs in found.items() if _verdict(theirs) is not Verdict.GO]
    if away:
        await connection.execute(
            "with away as (update step set state = $2, ended_at = clock_timestamp(), context = '{}'"
            " where id = any($1) returning flow_id, trader_key, attempts),"
            " counted as (update flow set attempts = greatest(flow.attempts, away.attempts) from away"
            " where flow.id = away.flow_id)"
            " insert into step (flow_id, operation, rank, state, trader_key, due)"
            " select flow_id, $3, 0, $4, trader_key, clock_timestamp() from away",
            away,
            StepState.REFUSED.value,
            PLAN,
            StepState.WAITING.value,
        )
    return set(away)


def _verdict(rows: Sequence[Any]) -> Verdict:
    views = [DepartureView(row["flow_id"], row["since"], row["begun_at"], row["ended"]) for row in rows]
    return strictest(views, rows[0]["asked_at"], comes_back=rows[0]["topic"] == COMES_BACK)
