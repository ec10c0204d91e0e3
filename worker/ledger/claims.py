"""Beginning calls: steps are claimed, the budget is charged and the call is written down in one transaction.

All beginnings of all replicas run one after the other, behind one lock that is held for a few milliseconds: at 5,000
calls an hour that costs nothing, and it closes two races at once - two replicas that spend the same last call, and
two calls that name the same trader.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.ledger import holds
from worker.ledger.calls import BEGIN_LOCK, Budget, Closed, Opened, begin_calls, finish_call
from worker.ledger.database import Connection
from worker.ledger.ledger import Ledger
from worker.ledger.rows import Batch, Company, Lane, StepState
from worker.replies import Reply


@dataclass(frozen=True, slots=True)
class CallKind:
    """What the ledger must know of an operation to begin a call of it."""

    operation: str
    domain: str
    most: int
    reserve: bool
    per_hour: int | None
    joined: bool = False  # steps that say the same are one request


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims for one replica. `lease`: seconds within which a call must be over and recorded."""

    ledger: Ledger
    budget: Budget
    replica: str
    lease: float

    async def sends(
        self, kind: CallKind, lane: Lane, items: int, generation: int, calls: int = 100
    ) -> Sequence[Batch] | Closed:
        """Claims up to `items` due steps of the lane and writes their calls, `calls` at most, down. The calls may then
        be made, with the token of `generation`.
        """

        async def work(connection: Connection) -> Sequence[Batch] | Closed:
            await _lock(connection)
            found = await _candidates(connection, lane, items)
            groups = _calls(found, kind.most, joined=kind.joined)[:calls]
            if not groups:
                return ()
            ticket = await _ticket(connection, lane.company)
            if ticket is not None and len(found) != await _company_size(connection, lane.company):
                return ()  # the ticket stands for all of them or for none: they wait for the one that is held up
            opened = await begin_calls(
                connection,
                operation=kind.operation,
                domain=kind.domain,
                kind="send",
                items=[len(group) for group in groups],
                replica=self.replica,
                budget=self.budget,
                reserve=kind.reserve,
                per_hour=kind.per_hour,
                generation=generation,
                locked=True,
            )
            if isinstance(opened, Closed):
                return opened
            if ticket is not None and not await holds.spend_ticket(connection, ticket.id):
                ticket = None
            batches: list[Batch] = []
            rows: list[Any] = []
            for call_id, group in zip(opened.call_ids, groups, strict=False):
                lease = uuid.uuid4()
                rows += await connection.fetch(
                    "update step set state = 'in_flight', lease = $2, attempts = attempts + 1,"
                    " lease_until = clock_timestamp() + make_interval(secs => $3), call_ids = call_ids || $4::bigint"
                    " where id = any($1) returning step.*",
                    [row["id"] for row in group],
                    lease,
                    self.lease,
                    call_id,
                )
                batches.append(Batch(call_id, lease, ()))
            claimed = {step.id: step for step in await self.ledger.load_claimed(connection, rows)}
            return [
                Batch(batch.call_id, batch.lease, [claimed[row["id"]] for row in group if row["id"] in claimed], ticket)
                for batch, group in zip(batches, groups, strict=False)
            ]

        return await self.ledger.database.atomically(work)

    async def looks(self, lane: Lane, items: int) -> Batch | None:
        """Claims up to `items` unknown steps to look them up; the reads begin calls of their own."""
        lease = uuid.uuid4()

        async def work(connection: Connection) -> Batch | None:
            await _lock(connection)
            found = await _candidates(connection, lane, items)
            if not found:
                return None
            rows = await connection.fetch(
                "update step set lease = $2, lease_until = clock_timestamp() + make_interval(secs => $3)"
                " where id = any($1) returning step.*",
                [row["id"] for row in found],
                lease,
                self.lease,
            )
            return Batch(0, lease, await self.ledger.load_claimed(connection, rows))

        return await self.ledger.database.atomically(work)

    async def read(
        self, operation: str, endpoint: str, domain: str, lease: uuid.UUID, *, reserve: bool, generation: int
    ) -> Opened | Closed:
        """Begins one read of a look-up for `operation`: charges the budget, notes it with the steps, and extends their
        lease. `endpoint` is the reading one: penalties go by it.
        """

        async def work(connection: Connection) -> Opened | Closed:
            opened = await begin_calls(
                connection,
                operation=operation,
                domain=domain,
                kind="look_up",
                items=[1],
                replica=self.replica,
                budget=self.budget,
                reserve=reserve,
                endpoint=endpoint,
                generation=generation,
            )
            if isinstance(opened, Opened):
                await connection.execute(
                    "update step set call_ids = call_ids || $2::bigint,"
                    " lease_until = clock_timestamp() + make_interval(secs => $3) where lease = $1",
                    lease,
                    opened.call_ids[0],
                    self.lease,
                )
            return opened

        return await self.ledger.database.atomically(work)

    async def finish(self, call_id: int, reply: Reply) -> None:
        """Notes what came of a read, and what it says of the session and of lock-outs."""

        async def work(connection: Connection) -> None:
            await finish_call(connection, call_id, reply, lockout_seconds=self.ledger.lockout)

        await self.ledger.database.atomically(work)


async def _lock(connection: Connection) -> None:
    await connection.execute("select pg_advisory_xact_lock($1)", BEGIN_LOCK)


async def _candidates(connection: Connection, lane: Lane, items: int) -> list[Any]:
    """Steps that could go, oldest first, whose trader no call in flight names."""
    rows: list[Any] = await connection.fetch(
        "select id, trader_key, alike, weight from step s where operation = $1 and state = $2 and lease is null"
        " and due <= clock_timestamp() and company is not distinct from $4 and state in ('due', 'unknown', 'waiting')"
        " and not exists (select 1 from step b where b.lease is not null and b.trader_key = s.trader_key)"
        " order by due, id limit $3 for update skip locked",
        lane.operation,
        lane.state.value,
        items,
        lane.company,
    )
    return rows


JOINED = 100
"""Steps that one request stands for: as many as a full call has; a shop that says the same more often waits a round."""


@dataclass(slots=True)
class _Group:
    """Steps of one call."""

    alike: str | None
    most: int
    rows: list[Any] = field(default_factory=list)
    weight: int = 0

    def takes(self, row: Any) -> bool:
        return self.alike == row["alike"] and (not self.rows or self.weight + row["weight"] <= self.most)

    def add(self, row: Any) -> None:
        self.rows.append(row)
        self.weight += row["weight"]


def _calls(rows: Sequence[Any], most: int, *, joined: bool = False) -> list[list[Any]]:
    """Splits steps into calls of at most `most` items, alike ones together; `joined`: alike ones are a single request.

    Steps of one trader share a call, or the later ones stay behind: two calls that name the same trader are never in
    flight together.
    """
    groups: list[_Group] = []
    of_trader: dict[str, _Group] = {}
    filling: dict[str | None, _Group] = {}
    for row in rows:
        group = of_trader.get(row["trader_key"])
        if group is None:
            group = filling.get(row["alike"])
            if group is None or not group.takes(row):
                room = JOINED if joined and row["alike"] is not None else most
                group = filling[row["alike"]] = _Group(row["alike"], room)
                groups.append(group)
        elif not group.takes(row):
            continue
        group.add(row)
        of_trader[row["trader_key"]] = group
    return [group.rows for group in groups]


async def _ticket(connection: Connection, company: int | None) -> holds.Hold | None:
    if company is None or company % 4 != Company.TICKET:
        return None
    return await holds.ticket_of(connection, company)


async def _company_size(connection: Connection, company: int | None) -> int:
    size = await connection.fetchval(
        "select count(*) from step where company = $1 and state = $2", company, StepState.DUE.value
    )
    return int(size)
