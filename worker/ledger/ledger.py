"""The ledger's interface: accept events, survey what could be claimed, record results, plan again, reap leases.

Every method is one transaction of a few bulk statements. A claim gives a lease; every later write names it and
the state it expects, so that a slow former holder changes nothing.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import structlog

from schemas.events import Event
from schemas.outcomes import Outcome
from worker.engine.event_flow import draft, new_flow
from worker.engine.flows.base import Rules
from worker.engine.known_events import sort_out
from worker.engine.planner import Planner
from worker.engine.rows import Claimed, Finish, FlowRow, IncomingEvent, Move
from worker.engine.states import StepState
from worker.errors import Interruption
from worker.ledger import changing, flows, snapshots, steps
from worker.ledger.call_log import EndedCall, finish_call
from worker.ledger.clock import DatabaseClock
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, Database, DatabaseError
from worker.ledger.kept_events import KeptEvents
from worker.ledger.leases import reap, release
from worker.ledger.rows import Lane, OutcomeRow

if TYPE_CHECKING:
    from worker.ledger.next_call import NextCall

log = structlog.get_logger()

PLAN_LEASE = 10.0
"""Seconds in which a wait is planned again. Below the 15 s within which a dead replica's work goes on elsewhere; the
transaction that writes the plan checks the lease."""

PLANNED_BYTES = 8 * 1024 * 1024
"""Of events, encrypted, whose flows are planned together: two hundred events with documents would take a gigabyte."""

SURVEYED = 500
"""Steps of a lane that a survey reads: five full calls, more than a replica begins at once."""


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record that became a dead letter although its id could be read: the outcome that says so."""

    outcome: Outcome
    record_key: bytes | None
    trace: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AcceptedBatch:
    """The result for a batch of records: new and known events by topic, outcomes that exist already, and events whose
    id belongs to another event. The last ones are not in the ledger.
    """

    accepted: Mapping[str, int]
    known: Mapping[str, int]
    outcomes: Sequence[OutcomeRow]
    reused: Sequence[IncomingEvent] = ()


@dataclass(slots=True)
class Ledger:
    """All that the rest of the program may ask of the ledger. Raises `DatabaseError`."""

    database: Database
    vault: Vault
    rules: Rules
    ranks: Mapping[str, int]  # rank of each operation: 0 goes first
    lockout: float = 3600.0
    clock: DatabaseClock = field(init=False)  # set by each survey and each snapshot
    kept_events: KeptEvents = field(default_factory=KeptEvents)
    _given_up: set[uuid.UUID] = field(default_factory=set)

    def __post_init__(self) -> None:
        """The clock is the database's."""
        self.clock = self.database.clock

    async def planner(self, connection: Connection, touched: Sequence[FlowRow], *, new: bool = False) -> Planner:
        """A planner for these flows, with all that they share with others, locked. `new`: they are not written yet."""
        return Planner(await snapshots.load(connection, touched, self.vault, self.clock, new=new), self.rules)

    async def write(
        self,
        connection: Connection,
        planner: Planner,
        lease: uuid.UUID | None = None,
        next_call: NextCall | None = None,
        call: EndedCall | None = None,
    ) -> Sequence[OutcomeRow]:
        """Writes what the planner has decided, with the end of an ordinary `call`, and begins the `next_call`.
        Raises `Again` when a race was lost.
        """
        changes = planner.changes()
        written = await changing.write(connection, changes, self.vault, self.ranks, lease=lease, call=call)
        if next_call is not None:
            await next_call.begin(connection, changes, others=written.others)
        return written.outcomes

    async def now(self) -> datetime:
        """The database's time, which is asked only if it has not been read yet."""
        now = self.clock.now_if_known()
        if now is None:
            async with self.database.connection() as connection:
                now = await self.clock.read(connection)
        return now

    async def accept(
        self,
        events: Sequence[IncomingEvent],
        refusals: Sequence[RefusedRecord] = (),
        next_call: NextCall | None = None,
    ) -> AcceptedBatch:
        """Writes a batch of events, their flows and first steps. What is known already changes nothing.

        `next_call`: begins the first calls in the same transaction.
        """

        async def work(connection: Connection) -> tuple[AcceptedBatch, Sequence[FlowRow]]:
            return await self._accept(connection, events, refusals, next_call)

        with self.giving_up(next_call.leases if next_call is not None else ()):
            intake, flows = await self.database.atomically(work, keep_plans=True)
        self.kept_events.keep(flows)
        return intake

    async def try_out(self, event: Event) -> None:
        """Accepts an event under ids of its own, and undoes that: raises what `accept` would raise."""
        own = {name: f"try-{uuid.uuid4()}" for name in ("trader_id", "order_id") if getattr(event, name, None)}
        accepted = IncomingEvent(event.topic, f"try-{uuid.uuid4()}", event.model_copy(update=own), None, 0, 0)

        async def work(connection: Connection) -> None:
            await self._accept(connection, [accepted], ())
            raise _Undone

        with suppress(_Undone):
            await self.database.atomically(work)

    def drafted(self, accepted: IncomingEvent) -> IncomingEvent:
        """The event with what `accept` makes of it before it asks the database. Raises whatever goes wrong."""
        return accepted.drafted(self._draft(accepted))

    async def _accept(
        self,
        connection: Connection,
        events: Sequence[IncomingEvent],
        refusals: Sequence[RefusedRecord],
        next_call: NextCall | None = None,
    ) -> tuple[AcceptedBatch, Sequence[FlowRow]]:
        batch = {(event.topic, event.event_id) for event in events}
        refused = {(each.outcome.topic, each.outcome.event_id): each for each in reversed(refusals)}
        # The time that it takes to write them is part of their linger.
        now, known = await flows.known(connection, [*batch, *refused])
        self.clock.set(now)
        found = sort_out(events, known, self.vault)
        new = [self._new_flow(event, now) for event in found.new]
        planner = Planner(await snapshots.load(connection, new, self.vault, self.clock, now, new=True), self.rules)
        for flow in new:
            planner.accept(flow)
        for key, each in refused.items():
            if key not in known and key not in batch:
                planner.refuse(each.outcome, each.record_key, each.trace)
        outcomes = await self.write(connection, planner, next_call=next_call)
        await flows.note_places(connection, found.moved)
        accepted = Counter(flow.topic for flow in new)
        repeats = Counter(event.topic for event in events) - accepted - Counter(event.topic for event in found.reused)
        return AcceptedBatch(accepted, repeats, outcomes, found.reused), new

    def _draft(self, accepted: IncomingEvent) -> FlowRow:
        return draft(accepted, self.rules, self.vault.digest(accepted.event.content()))

    def _new_flow(self, accepted: IncomingEvent, now: datetime) -> FlowRow:
        drafted = accepted.draft or self._draft(accepted)
        return new_flow(drafted, flows.new_flow_id(now), now, accepted.came)

    async def survey(self, operations: Sequence[str], limit: int = SURVEYED) -> tuple[Sequence[Lane], datetime | None]:
        """What could go now, by operation, state and batch_id; and when the next step will be due. Sets the clock.

        A few index probes for each operation, however many steps wait: at most `limit` rows of a lane are read.
        """
        async with self.database.connection() as connection:
            rows = await connection.fetch(_SURVEY, list(operations), limit)
        self.clock.set(rows[0]["now"])
        lanes = [
            Lane(row["operation"], StepState(row["state"]), row["batch_id"], row["ready"], row["oldest"], row["newest"])
            for row in rows
            if row["ready"]
        ]
        later = [row["next_due"] for row in rows if row["next_due"] is not None]
        return lanes, min(later, default=None)

    async def load_claimed(self, connection: Connection, rows: Sequence[Any]) -> list[Claimed]:
        """The claimed steps with their flows; bodies are opened here. Flows that cannot be read are left out."""
        found = await flows.read(connection, {row["flow_id"] for row in rows}, self.vault)
        return [flows.claimed_step(row, found[row["flow_id"]]) for row in rows if row["flow_id"] in found]

    async def read_flow(self, connection: Connection, flow_id: uuid.UUID, event: Event | None = None) -> FlowRow | None:
        """One flow, with `event` in place of a body that is gone; None when there is neither."""
        return (await flows.read(connection, {flow_id}, self.vault, event)).get(flow_id)

    async def record(
        self,
        lease: uuid.UUID,
        moves: Sequence[tuple[Claimed, Move]],
        call: EndedCall | None = None,
        next_call: NextCall | None = None,
    ) -> Sequence[OutcomeRow]:
        """Writes the results of the steps under `lease`, plans their flows on, and notes what came of the call itself.

        Steps that are under another lease by now are left alone. `next_call`: begins the flows' next calls in the same
        transaction. Returns the outcomes, leased to this replica. Raises `DatabaseError`.
        """
        tries = count()

        async def work(connection: Connection) -> tuple[Sequence[OutcomeRow], Sequence[FlowRow]]:
            if call is not None and not call.ordinary:
                left = max(0.0, self.lockout - (time.monotonic() - call.at))
                await finish_call(connection, call.id, call.reply, lockout_seconds=left)
            if call is not None and call.put_ticket is not None:
                await call.put_ticket(connection)
            # The lease is nearly always ours still, and `write` finds out when it is not: then it is asked about.
            ours = moves if next(tries) == 0 else await self._still_under(connection, lease, moves)
            planner = await self.planner(connection, [step.flow for step, move in ours if isinstance(move, Finish)])
            planned = planner.record(ours)
            outcomes = await self.write(connection, planner, lease, next_call, call)
            return outcomes, planned

        with self.giving_up(next_call.leases if next_call is not None else ()):
            outcomes, planned = await self.database.atomically(work, keep_plans=True)
        self.kept_events.keep(planned)
        return outcomes

    async def _still_under(
        self, connection: Connection, lease: uuid.UUID, moves: Sequence[tuple[Claimed, Move]]
    ) -> Sequence[tuple[Claimed, Move]]:
        held = await steps.still_under(connection, lease, [step.id for step, _ in moves])
        return [(step, move) for step, move in moves if step.id in held]

    async def replan(self, limit: int = 200) -> Sequence[OutcomeRow] | None:
        """Plans again the flows whose wait has passed; None when there were none."""
        lease = uuid.uuid4()

        async def claim(connection: Connection) -> Sequence[Any]:
            return await steps.claim_waits(connection, lease, limit, PLANNED_BYTES, PLAN_LEASE)

        with self.giving_up([lease]):
            rows = await self.database.atomically(claim)
            return await self._plan_again(lease, rows) if rows else None

    async def _plan_again(self, lease: uuid.UUID, rows: Sequence[Any]) -> Sequence[OutcomeRow]:
        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            claimed = await self.load_claimed(connection, rows)
            planner = await self.planner(connection, [step.flow for step in claimed])
            held = await steps.still_under(connection, lease, [step.id for step in claimed])
            for step in claimed:
                if step.id in held:
                    planner.plan(step.flow, replaces=step.id)
            return await self.write(connection, planner)

        return await self.database.atomically(work)

    @contextmanager
    def giving_up(self, leases: Collection[uuid.UUID]) -> Iterator[None]:
        """Work under leases of this replica that sends nothing: if the database goes away in the middle of it, the
        leases are given up, and the next `reap` releases them. A claim whose commit was not answered counts as well.
        """
        try:
            yield
        except DatabaseError:
            self._given_up.update(leases)
            raise

    async def reap(self, settle: timedelta) -> int:
        """Releases what this replica gave up, and takes back steps whose lease has run out. Returns how many."""
        given_up = set(self._given_up)
        async with self.database.transaction() as connection:
            released = await release(connection, given_up) if given_up else 0
            late = await reap(connection, settle)
        self._given_up -= given_up
        return released + late


class _Undone(Interruption):
    """Ends the transaction of `try_out`."""


_SURVEY = """
select w.operation, w.state, ready.batch_id, coalesce(ready.ready, 0) as ready, ready.oldest, ready.newest,
       later.next_due, clock_timestamp() as now
from (select o as operation, s as state from unnest($1::text[]) o cross join unnest(array['due', 'unknown']) s
      union all select 'plan', 'waiting') w
left join lateral (
    select batch_id, count(*) as ready, min(arrived) as oldest, max(arrived) as newest from (
        select batch_id, arrived from step
        where step.state = w.state and step.operation = w.operation and lease is null and due <= statement_timestamp()
          and state in ('due', 'unknown', 'waiting')
        order by due, id limit $2) as first
    group by batch_id) as ready on true
left join lateral (
    select due as next_due from step
    where step.state = w.state and step.operation = w.operation and lease is null and due > statement_timestamp()
      and state in ('due', 'unknown', 'waiting')
    order by due limit 1) as later on true
"""
