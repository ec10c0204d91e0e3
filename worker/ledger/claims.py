"""Beginning calls: steps are claimed, the budget is charged and the call is written down in one transaction.

All replicas begin calls one after the other, under one lock that is held for a few milliseconds. At 5,000 calls an hour
that costs nothing. It closes two races: two replicas that spend the same last call of the budget, and two calls that
name the same trader.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.engine.flows.departing import GIVES
from worker.engine.states import SharedBatch, StepState
from worker.engine.steps.splitting import Signs
from worker.ledger import holds, host_table, same_request, steps
from worker.ledger.budget import Budget, Closed, Wanted, room_for
from worker.ledger.call_groups import grouped
from worker.ledger.call_log import Opened, begin_lock, begin_read, insert_calls, signs_since
from worker.ledger.database import Connection
from worker.ledger.departures import turn_away
from worker.ledger.flows import FLOW_COLUMNS, claimed_step, flow_of, opened
from worker.ledger.ledger import Ledger
from worker.ledger.priority_lock import PriorityLock
from worker.ledger.rows import Batch, Lane


@dataclass(frozen=True, slots=True)
class CallKind:
    """What the ledger must know of an operation to begin a call of it."""

    operation: str
    domain: str
    rank: int
    most: int
    reserve: bool
    per_hour: int | None
    per_minute: int | None = None
    joined: bool = False  # steps that say the same are one request
    fresh_for: float | None = None  # seconds after which a step is planned again in place of being sent


ANY_READ = "*"
"""The endpoint of a look-up that has still to choose what it reads: nothing is held back at it, nothing counted."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims for one replica. `lease`: seconds within which a call must have ended and be recorded.

    Only one task of a process begins a call at a time, the most urgent first. All would have to wait for `BEGIN_LOCK`
    in any case, each while it holds a connection, and PostgreSQL serves the first that came.
    """

    ledger: Ledger
    budget: Budget
    replica: str
    lease: float
    beginning: PriorityLock = field(default_factory=PriorityLock)

    async def sends(
        self, kind: CallKind, lane: Lane, items: int, generation: int, calls: int = 100
    ) -> Sequence[Batch] | Closed:
        """Claims up to `items` due steps of the lane and writes their calls, `calls` at most, down. The calls may then
        be made, with the token of `generation`.
        """
        leases = [uuid.uuid4() for _ in range(calls)]

        async def work(connection: Connection) -> Sequence[Batch] | Closed:
            await begin_lock(connection)
            return await self.claim(connection, kind, lane, items, generation, leases)

        with self.ledger.giving_up(leases):
            async with self.beginning.held(kind.rank):
                return await self.ledger.database.atomically(work)

    async def claim(
        self,
        connection: Connection,
        kind: CallKind,
        lane: Lane,
        items: int,
        generation: int,
        leases: Sequence[uuid.UUID],
    ) -> Sequence[Batch] | Closed:
        """`sends` within a transaction that has `BEGIN_LOCK`: one call for each lease at most."""
        found = await _candidates(connection, lane, items)
        if lane.operation in GIVES and (leaving := [row["id"] for row in found if row["leaves"]]):
            away = await turn_away(connection, leaving)
            found = [row for row in found if row["id"] not in away]
        if kind.fresh_for is not None and (old := [row["id"] for row in found if row["age"] >= kind.fresh_for]):
            await steps.plan_again(connection, old)
            found = [row for row in found if row["id"] not in old]
        if kind.joined and found:
            again = await same_request.look_up_again(connection, [row["id"] for row in found])
            found = [row for row in found if row["id"] not in again]
        groups = grouped(found, kind.most, joined=kind.joined)[: len(leases)]
        if not groups:
            return ()
        ticket = await _ticket(connection, lane.batch_id)
        if ticket is not None and len(found) != await _batch_size(connection, lane.batch_id):
            return ()  # the ticket stands for all of them or for none: they wait for the one that is held up
        wanted = Wanted(
            kind.operation,
            kind.domain,
            "send",
            self.replica,
            kind.reserve,
            kind.per_hour,
            kind.per_minute,
            generation=generation,
        )
        room = await room_for(connection, wanted, self.budget)
        if isinstance(room, Closed):
            return room
        if ticket is not None and not await holds.spend_ticket(connection, ticket.id):
            ticket = None
        if kind.joined:
            await same_request.put_others_back(connection, [row["id"] for group in groups[:room] for row in group])
        return await self._begin(connection, wanted, groups[:room], leases, ticket)

    async def _begin(
        self,
        connection: Connection,
        wanted: Wanted,
        groups: Sequence[Sequence[Any]],
        leases: Sequence[uuid.UUID],
        ticket: holds.Hold | None,
    ) -> Sequence[Batch]:
        """Writes the calls down, each with its steps under a lease of its own; the steps come back with their flows."""
        begun = time.monotonic()
        kept = self.ledger.kept_events.take(row["flow_id"] for group in groups for row in group)
        rows = await connection.fetch(
            _BEGIN,
            *wanted.columns,
            [len(group) for group in groups],
            [row["id"] for group in groups for row in group],
            [place for place, group in enumerate(groups, 1) for _ in group],
            list(leases[: len(groups)]),
            self.lease,
            [kept[row["flow_id"]].round if row["flow_id"] in kept else None for group in groups for row in group],
            [row["flow_id"] for group in groups for row in group],
        )
        batches: dict[int, Batch] = {}
        for row in sorted(rows, key=lambda each: (each["call_id"], each["id"])):
            batch = batches.setdefault(row["call_id"], Batch(row["call_id"], row["lease"], [], ticket, begun))
            known = kept[row["flow_id"]] if row["kept"] else None
            event = opened(row, self.ledger.vault) if known is None else known.event
            flow = None if event is None else flow_of(row, event, known and known.named)
            if flow is not None:
                batch.steps.append(claimed_step(row, flow))
        return list(batches.values())

    async def look_ups(self, kind: CallKind, lane: Lane, items: int, generation: int) -> Sequence[Batch] | Closed:
        """Claims up to `items` unknown steps, in one batch, to look them up. The reads begin calls of their own, one of
        which may be begun now.
        """
        lease = uuid.uuid4()
        wanted = Wanted(
            kind.operation,
            kind.domain,
            "look_up",
            self.replica,
            kind.reserve,
            reads=ANY_READ,
            generation=generation,
        )

        async def work(connection: Connection) -> Sequence[Batch] | Closed:
            await begin_lock(connection)
            found = await _candidates(connection, lane, items)
            if not found:
                return ()
            room = await room_for(connection, wanted, self.budget)
            if isinstance(room, Closed):
                return room
            rows = await connection.fetch(
                "update step set lease = $2, lease_until = clock_timestamp() + make_interval(secs => $3)"
                " from unnest($1::bigint[]) as n (id) where step.id = n.id returning step.*",
                [row["id"] for row in found],
                lease,
                self.lease,
            )
            return (Batch(0, lease, await self.ledger.load_claimed(connection, rows)),)

        with self.ledger.giving_up([lease]):
            async with self.beginning.held(kind.rank):
                return await self.ledger.database.atomically(work)

    async def read(
        self,
        operation: str,
        endpoint: str,
        domain: str,
        lease: uuid.UUID,
        *,
        rank: int,
        reserve: bool,
        generation: int,
        asked: bytes,
    ) -> tuple[Opened | Closed, str | None]:
        """Begins one read of a look-up for `operation`: charges the budget, notes it with the steps, and extends their
        lease. `endpoint` is the reading one: penalties go by it. Besides, the ticket that goes with what is
        `asked`, a body or a query.
        """

        async def work(connection: Connection) -> tuple[Opened | Closed, str | None]:
            wanted = Wanted(operation, domain, "look_up", self.replica, reserve, reads=endpoint, generation=generation)
            opened, ticket = await begin_read(connection, self.ledger.vault, wanted, self.budget, asked, lease)
            if isinstance(opened, Opened):
                await connection.execute(
                    "update step set call_ids = call_ids || $2::bigint,"
                    " lease_until = clock_timestamp() + make_interval(secs => $3) where lease = $1",
                    lease,
                    opened.call_ids[0],
                    self.lease,
                )
            return opened, ticket

        async with self.beginning.held(rank):
            return await self.ledger.database.atomically(work)

    async def signs_since(self, operation: str, since: int) -> Signs:
        """How calls of `operation` that were begun after the call `since` have fared."""
        async with self.ledger.database.connection() as connection:
            return await signs_since(connection, operation, since)

    async def doubt_host(self, domain: str, generation: int, why: str) -> None:
        """Notes that the host to which calls of a domain go under this token may be the wrong one."""

        async def work(connection: Connection) -> None:
            now = await connection.fetchval("select clock_timestamp()")
            await host_table.doubt(connection, domain, generation, host_table.Sign(why, strong=False, begun_at=now))

        await self.ledger.database.atomically(work)


_FLOWS = "(select array_agg(s.flow_id) from unnest($9::int[], $13::uuid[]) as s (place, flow_id) where s.place = o)"

_BEGIN = f"""
with opened as ({insert_calls(_FLOWS)}),
given as (
    select s.id, calls.ids[s.place] as call_id, ($10::uuid[])[s.place] as lease, s.round
    from unnest($8::bigint[], $9::int[], $12::int[]) as s (id, place, round)
    cross join (select array_agg(id order by id) as ids from opened) as calls
)
update step set state = 'in_flight', lease = given.lease, attempts = step.attempts + 1,
    lease_until = clock_timestamp() + make_interval(secs => $11::float8), call_ids = step.call_ids || given.call_id
from given, flow f
where step.id = given.id and f.id = step.flow_id
returning given.call_id, step.id, step.operation, step.state, step.attempts, step.spent, step.memory, step.batch_id,
    step.lease, {FLOW_COLUMNS}, coalesce(given.round = f.round, false) as kept,
    case when given.round is distinct from f.round then f.body end as body
"""  # noqa: S608 - constants of ours


async def _candidates(connection: Connection, lane: Lane, items: int) -> list[Any]:
    """Steps that could go, oldest first, whose trader no call in flight names.

    Leased steps are looked for by their trader, which `offset 0` keeps so: a vacuum that finds none tells the planner
    that their index is empty, and it would read all of them for each step that could go.
    """
    rows: list[Any] = await connection.fetch(
        "select id, flow_id, trader_key, alike, weight,"
        " extract(epoch from clock_timestamp() - created_at)::float8 as age,"
        " exists (select 1 from departure d where d.trader_key = s.trader_key) as leaves"
        " from step s where operation = $1 and state = $2"
        " and lease is null and due <= statement_timestamp() and batch_id is not distinct from $4"
        " and state in ('due', 'unknown', 'waiting')"
        " and not exists (select from step b where b.lease is not null and b.trader_key = s.trader_key offset 0)"
        " order by due, id limit $3 for update skip locked",
        lane.operation,
        lane.state.value,
        items,
        lane.batch_id,
    )
    return rows


async def _ticket(connection: Connection, batch_id: int | None) -> holds.Hold | None:
    if batch_id is None or batch_id % 4 != SharedBatch.TICKET:
        return None
    return await holds.ticket_of(connection, batch_id)


async def _batch_size(connection: Connection, batch_id: int | None) -> int:
    size = await connection.fetchval(
        "select count(*) from step where batch_id = $1 and state = $2", batch_id, StepState.DUE.value
    )
    return int(size)
