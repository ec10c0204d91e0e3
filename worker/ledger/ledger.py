"""The ledger's face: accept events, survey what could go, claim it, record what came of it, plan again, reap.

Every method is one transaction of a few bulk statements. Whoever claims gets a lease; every later write names it and
the state it expects, so that a slow former holder changes nothing.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import structlog

from schemas.events import Event
from schemas.outcomes import Outcome
from worker.engine.flows import FLOWS
from worker.engine.flows.base import Rules
from worker.ledger.call_log import FAIR, add_answered, finish_call
from worker.ledger.clock import DatabaseClock
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, Database, DatabaseError
from worker.ledger.flow_rows import FLOW_COLUMNS, InHand, claimed, flow_of, opened
from worker.ledger.known_events import Known, sort_out
from worker.ledger.leases import reap, release
from worker.ledger.rows import PLAN, Accepted, Claimed, Finish, FlowRow, Lane, Move, OutcomeRow, StepState
from worker.ledger.saving import Moves, save
from worker.ledger.working_set import WorkingSet
from worker.ledger.writes import Writes, columns
from worker.replies import Reply

log = structlog.get_logger()

SURVEYED = 500
"""Steps of a lane that a survey reads: five full calls, more than a replica begins at once."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that became a dead letter although its id could be read: the outcome that says so."""

    outcome: Outcome
    record_key: bytes | None
    trace: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Intake:
    """What came of a batch of records: new and known events by topic, the outcomes that there are already, and the
    events whose id belongs to another event: these are not in the ledger.
    """

    accepted: Mapping[str, int]
    known: Mapping[str, int]
    outcomes: Sequence[OutcomeRow]
    reused: Sequence[Accepted] = ()


@dataclass(slots=True)
class Ledger:
    """All that the rest of the program may ask of the ledger. Raises `DatabaseError`."""

    database: Database
    vault: Vault
    rules: Rules
    ranks: Mapping[str, int]  # rank of each operation: 0 goes first
    source: str = "tradovate-worker"
    lockout: float = 3600.0
    clock: DatabaseClock = field(init=False)  # told by each survey and each working set
    in_hand: InHand = field(default_factory=InHand)
    _given_up: set[uuid.UUID] = field(default_factory=set)

    def __post_init__(self) -> None:
        """The clock is the database's."""
        self.clock = self.database.clock

    async def working_set(self, connection: Connection) -> WorkingSet:
        """An empty working set, as of the database's time now."""
        return WorkingSet(self.vault, self.rules, self.ranks, self.source, await self.clock.read(connection))

    async def now(self) -> datetime:
        """The database's time, which is asked only if nothing has told it yet."""
        now = self.clock.now_if_told()
        if now is None:
            async with self.database.connection() as connection:
                now = await self.clock.read(connection)
        return now

    async def accept(self, events: Sequence[Accepted], refusals: Sequence[Refusal] = ()) -> Intake:
        """Writes a batch of events, their flows and first steps. What is known already changes nothing."""

        async def work(connection: Connection) -> tuple[Intake, Sequence[FlowRow]]:
            return await self._accept(connection, events, refusals)

        intake, flows = await self.database.atomically(work)
        self.in_hand.keep(flows)
        return intake

    async def try_out(self, event: Event) -> None:
        """Accepts an event under ids of its own, and undoes that: raises what `accept` would raise."""
        own = {name: f"try-{uuid.uuid4()}" for name in ("trader_id", "order_id") if getattr(event, name, None)}
        accepted = Accepted(event.topic, f"try-{uuid.uuid4()}", event.model_copy(update=own), None, 0, 0)

        async def work(connection: Connection) -> None:
            await self._accept(connection, [accepted], ())
            raise _Undone

        with suppress(_Undone):
            await self.database.atomically(work)

    def check(self, accepted: Accepted) -> None:
        """Makes of an event what `accept` makes of it before it asks the database. Raises whatever goes wrong."""
        self._flow(accepted, _NO_TIME).event.keep()

    async def _accept(
        self, connection: Connection, events: Sequence[Accepted], refusals: Sequence[Refusal]
    ) -> tuple[Intake, Sequence[FlowRow]]:
        working = await self.working_set(connection)  # what it takes to write them is part of their linger
        batch = {(event.topic, event.event_id) for event in events}
        refused = {(each.outcome.topic, each.outcome.event_id): each for each in reversed(refusals)}
        known = await _known(connection, [*batch, *refused])
        found = sort_out(events, known, self.vault)
        flows = [self._flow(event, working.now) for event in found.new]
        await working.load(connection, flows, new=True)
        for flow in flows:
            working.accept(flow)
        for key, each in refused.items():
            if key not in known and key not in batch:
                working.refuse(each.outcome, each.record_key, each.trace)
        outcomes = await save(connection, working, new=True)
        await _note_places(connection, found.moved)
        accepted = Counter(flow.topic for flow in flows)
        repeats = Counter(event.topic for event in events) - accepted - Counter(event.topic for event in found.reused)
        return Intake(accepted, repeats, outcomes, found.reused), flows

    def _flow(self, accepted: Accepted, now: datetime) -> FlowRow:
        kind = FLOWS[accepted.topic]
        event = kind.freeze(accepted.event, self.rules)
        names = kind.names(event)
        return FlowRow(
            new_flow_id(now),
            accepted.topic,
            event,
            accepted.event_id,
            accepted.record_key,
            accepted.partition,
            accepted.offset,
            accepted.trace,
            names.trader_id,
            names.user_id,
            names.order_id,
            names.account_id,
            now,
            # The producer's clock may be wrong: what is asked for cannot have been asked for later than now.
            now if accepted.came is None else min(accepted.came, now),
            content=self.vault.digest(accepted.event.content()),
        )

    async def survey(self, operations: Sequence[str], limit: int = SURVEYED) -> tuple[Sequence[Lane], datetime | None]:
        """What could go now, by operation, state and company; and when the next step will be due. Sets the clock.

        A few index probes for each operation, however many steps wait: at most `limit` rows of a lane are read.
        """
        async with self.database.connection() as connection:
            rows = await connection.fetch(_SURVEY, list(operations), limit)
        self.clock.told(rows[0]["now"])
        lanes = [
            Lane(row["operation"], StepState(row["state"]), row["company"], row["ready"], row["oldest"], row["newest"])
            for row in rows
            if row["ready"]
        ]
        later = [row["next_due"] for row in rows if row["next_due"] is not None]
        return lanes, min(later, default=None)

    async def load_claimed(self, connection: Connection, rows: Sequence[Any]) -> list[Claimed]:
        """The claimed steps with their flows; bodies are opened here. Flows that cannot be read are left out."""
        flows = await self._flows(connection, {row["flow_id"] for row in rows})
        return [claimed(row, flows[row["flow_id"]]) for row in rows if row["flow_id"] in flows]

    async def read_flow(self, connection: Connection, flow_id: uuid.UUID, event: Event | None = None) -> FlowRow | None:
        """One flow, with `event` in place of a body that is gone; None when there is neither."""
        return (await self._flows(connection, {flow_id}, event)).get(flow_id)

    async def _flows(
        self, connection: Connection, ids: set[uuid.UUID], given: Event | None = None
    ) -> dict[uuid.UUID, FlowRow]:
        rows = await connection.fetch(
            f"select {FLOW_COLUMNS}, f.body from flow f where f.id = any($1)",  # noqa: S608 - a constant of ours
            list(ids),
        )
        events = ((row, opened(row, self.vault) if given is None else given) for row in rows)
        return {row["flow_id"]: flow_of(row, event) for row, event in events if event is not None}

    async def record(
        self,
        lease: uuid.UUID,
        moves: Sequence[tuple[Claimed, Move]],
        call: tuple[int, Reply] | None = None,
        held: Callable[[Connection], Any] | None = None,
        since: float = 0.0,
    ) -> Sequence[OutcomeRow]:
        """Writes what came of the steps under `lease`, plans their flows on, and notes the call's own result, which is
        `since` seconds old: a lock-out began then.

        Steps whose lease has gone to somebody else are left alone. Returns the outcomes, leased to this replica.
        """
        tries = count()

        async def work(connection: Connection) -> tuple[Sequence[OutcomeRow], Sequence[FlowRow]]:
            # Waits are counted from here: the call is over.
            working, writes = await self.working_set(connection), Writes()
            if call is not None and isinstance(call[1], FAIR):
                add_answered(writes, *call)
            elif call is not None:
                await finish_call(connection, *call, lockout_seconds=max(0.0, self.lockout - since))
            if held is not None:
                await held(connection)
            # The lease is nearly always ours still, and `save` finds out when it is not: then it is asked about.
            ours = moves if next(tries) == 0 else await self._still_under(connection, lease, moves)
            # The flows are worked on as copies: a transaction that is run again starts with them as they were.
            ended = [(step, move.end, step.flow.copy()) for step, move in ours if isinstance(move, Finish)]
            await working.load(connection, [flow for _, _, flow in ended])
            for step, end, flow in ended:
                working.advance(flow, step.operation, step.attempts, end)
            outcomes = await save(connection, working, moves=Moves(lease, ours), writes=writes)
            return outcomes, [flow for _, _, flow in ended]

        outcomes, flows = await self.database.atomically(work)
        self.in_hand.keep(flows)
        return outcomes

    async def _still_under(
        self, connection: Connection, lease: uuid.UUID, moves: Sequence[tuple[Claimed, Move]]
    ) -> Sequence[tuple[Claimed, Move]]:
        held = await _held(connection, lease, [step.id for step, _ in moves])
        return [(step, move) for step, move in moves if step.id in held]

    async def replan(self, limit: int = 200, lease_seconds: float = 30.0) -> Sequence[OutcomeRow] | None:
        """Plans again the flows whose wait is over; None when there were none."""
        lease = uuid.uuid4()

        async def claim(connection: Connection) -> list[Any]:
            return await connection.fetch(
                "with ready as (select id from step where operation = $1 and state = 'waiting' and lease is null"
                " and due <= statement_timestamp() order by due, id limit $2 for update skip locked)"
                " update step set lease = $3, lease_until = clock_timestamp() + make_interval(secs => $4)"
                " from ready where step.id = ready.id returning step.*",
                PLAN,
                limit,
                lease,
                lease_seconds,
            )

        with self.giving_up([lease]):
            rows = await self.database.atomically(claim)
            return await self._plan_again(lease, rows) if rows else None

    async def _plan_again(self, lease: uuid.UUID, rows: Sequence[Any]) -> Sequence[OutcomeRow]:
        async def work(connection: Connection) -> Sequence[OutcomeRow]:
            working = await self.working_set(connection)
            steps = await self.load_claimed(connection, rows)
            await working.load(connection, [step.flow for step in steps])
            held = await _held(connection, lease, [step.id for step in steps])
            for step in steps:
                if step.id in held:
                    working.plan(step.flow, replaces=step.id)
            return await save(connection, working)

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


_NO_TIME = datetime.fromtimestamp(0, UTC)
"""Of a flow that is never written."""


class _Undone(Exception):  # noqa: N818 - what was tried out is rolled back
    """Ends the transaction of `try_out`."""


async def _held(connection: Connection, lease: uuid.UUID, ids: Sequence[int]) -> set[int]:
    """Those of the steps that are still under the lease; they are locked."""
    rows = await connection.fetch(
        "select step.id, step.lease from unnest($1::bigint[]) as n (id) join step on step.id = n.id"
        " order by step.id for update of step",
        list(ids),
    )
    return {row["id"] for row in rows if row["lease"] == lease}


async def _known(connection: Connection, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Known]:
    rows = await connection.fetch(
        'select topic, event_id, content, partition, "offset" from flow where (topic, event_id) in'
        " (select * from unnest($1::text[], $2::text[]))",
        [topic for topic, _ in keys],
        [event_id for _, event_id in keys],
    )
    return {(row["topic"], row["event_id"]): Known(row["content"], row["partition"], row["offset"]) for row in rows}


async def _note_places(connection: Connection, events: Sequence[Accepted]) -> None:
    """Where these events stand on their topics now: a retry reads them there."""
    if events:
        await connection.execute(
            'update flow set partition = n.p, "offset" = n.o'
            " from unnest($1::text[], $2::text[], $3::int[], $4::bigint[]) as n (t, e, p, o)"
            " where flow.topic = n.t and flow.event_id = n.e",
            *columns(events, "topic", "event_id", "partition", "offset"),
        )


def new_flow_id(now: datetime) -> uuid.UUID:
    """A time-ordered id (UUID version 7, RFC 9562): new flows go to one end of the index, pages follow time."""
    milliseconds = int(now.timestamp() * 1000)
    value = milliseconds << 80 | 0x7 << 76 | int.from_bytes(os.urandom(2)) % 0x1000 << 64
    return uuid.UUID(int=value | 0b10 << 62 | int.from_bytes(os.urandom(8)) % (1 << 62))


_SURVEY = """
select w.operation, w.state, ready.company, coalesce(ready.ready, 0) as ready, ready.oldest, ready.newest,
       later.next_due, clock_timestamp() as now
from (select o as operation, s as state from unnest($1::text[]) o cross join unnest(array['due', 'unknown']) s
      union all select 'plan', 'waiting') w
left join lateral (
    select company, count(*) as ready, min(arrived) as oldest, max(arrived) as newest from (
        select company, arrived from step
        where step.state = w.state and step.operation = w.operation and lease is null and due <= statement_timestamp()
          and state in ('due', 'unknown', 'waiting')
        order by due, id limit $2) as first
    group by company) as ready on true
left join lateral (
    select due as next_due from step
    where step.state = w.state and step.operation = w.operation and lease is null and due > statement_timestamp()
      and state in ('due', 'unknown', 'waiting')
    order by due limit 1) as later on true
"""
