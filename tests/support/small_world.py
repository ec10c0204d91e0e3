"""A ledger in memory and a partner in memory around the real engine, operations and rules of results.

One replica that does one thing at a time: what happens next, and what becomes of a call, is the test's choice. Loading
rows, locks and leases are not here; the integration tests have them.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson

from schemas.events import EVENTS
from schemas.outcomes import Outcome, Status
from worker.backoff import Schedule
from worker.dispatch.operation_rules import rules_of, sent_steps
from worker.engine import operator
from worker.engine.event_flow import draft, item_of, new_flow
from worker.engine.flows.base import DepartureView, Rules
from worker.engine.flows.departing import COMES_BACK, GIVES, DepartureVerdict, strictest
from worker.engine.memory import EMPTY, Memory
from worker.engine.planner import Planner
from worker.engine.rows import (
    Claimed,
    DepartureRow,
    Finish,
    FlowRow,
    IncomingEvent,
    Move,
    OpenStep,
    OrderRow,
    TraderRow,
    TurnRow,
)
from worker.engine.snapshot import Snapshot
from worker.engine.states import PLAN, StepState
from worker.engine.steps.after_call import after_call
from worker.engine.steps.after_look_up import after_look_up, as_looked_for
from worker.engine.steps.timing import Timing
from worker.ledger.crypto import Vault
from worker.partner.classify import classify
from worker.partner.look_up import look
from worker.partner.observed_forms import ObservedForms
from worker.partner.operation import Item, Operation
from worker.partner.operations import OPERATIONS
from worker.partner.response import read_reply
from worker.replies import Domain, Query, Refusal, Reply, Unclear
from worker.results import Unknown
from worker.sandbox import Sandbox, SandboxConfig
from worker.sandbox.http_app import _query
from worker.sandbox.request import Request
from worker.sandbox.switches import with_switches

T = TypeVar("T")

SETTLE = timedelta(seconds=15)
TIMING = Timing(Schedule(1.0, 300.0, 86_400.0), SETTLE, 0.5)


class Fate(Enum):
    """What becomes of a call."""

    WELL = "well"
    REJECTED = "rejected"
    LOST_BEFORE = "lost before its effect"
    LOST_AFTER = "lost after its effect"
    LATE = "lost, and takes effect later"


@dataclass
class Step:
    """A step as the ledger keeps it."""

    id: int
    flow_id: uuid.UUID
    operation: str
    state: StepState
    due: datetime
    trader_key: str
    waits_for: Sequence[str] | None = None
    attempts: int = 0
    spent: float = 0.0
    memory: Memory = EMPTY

    @property
    def open(self) -> bool:
        return self.state in (StepState.WAITING, StepState.DUE, StepState.UNKNOWN)

    @property
    def ended(self) -> bool:
        return self.state in (StepState.DONE, StepState.REFUSED)


@dataclass
class Reader:
    """The partner's reads. Nothing of it waits."""

    world: SmallWorld
    seen: ObservedForms = field(default_factory=lambda: ObservedForms(user_id=1001))

    def now(self) -> datetime:
        return self.world.now

    async def get(self, domain: Domain, path: str, **query: Query) -> Reply:
        return self.world.partner(domain, path, urlencode(query, doseq=True).encode(), b"", reading=True)

    async def post(self, domain: Domain, path: str, body: Mapping[str, Any]) -> Reply:
        return self.world.partner(domain, path, b"", orjson.dumps(body), reading=True)


class SmallWorld:
    """`config`: what the partner is like."""

    def __init__(self, config: SandboxConfig, rules: Rules) -> None:
        self.rules = rules
        self.now = datetime(2026, 11, 18, 16, 0, tzinfo=UTC)
        self.vault = Vault(["a key of the tests that is long enough"])
        patient = {"token_seconds": 1e9, "hourly_calls": 10**9, "endpoint_limits_on": False}
        self.sandbox = Sandbox(with_switches(config, patient), clock=lambda: self.now.timestamp())  # noqa: PLW0108
        self.traders: dict[str, TraderRow] = {}
        self.orders: dict[tuple[str, str], OrderRow] = {}
        self.departures: dict[tuple[str, uuid.UUID], DepartureRow] = {}
        self.turns: dict[tuple[str, int], TurnRow] = {}
        self.flows: dict[uuid.UUID, FlowRow] = {}
        self.steps: dict[int, Step] = {}
        self.outcomes: list[Outcome] = []
        self.made: list[tuple[str, uuid.UUID]] = []  # calls that reached the partner, in their order: whose they were
        self.late: dict[int, Callable[[], Reply]] = {}
        self._numbers = itertools.count(1)
        self._places = itertools.count(1)
        self._token = ""
        config = self.sandbox.config
        body = {"name": config.name, "password": config.password, "appId": config.app_id, "cid": config.cid}
        answer = self._call(Domain.LIVE, "/auth/accesstokenrequest", b"", orjson.dumps({**body, "sec": config.sec}))
        self._token = orjson.loads(answer[1])["accessToken"]

    # -- the partner

    def _call(self, domain: Domain, path: str, query: bytes, body: bytes) -> tuple[int, bytes]:
        core, now = self.sandbox.core, self.now.timestamp()
        request = Request(str(domain), path.lower(), _query(query), query, body, self._token)  # type: ignore[arg-type]
        exchange = core.begin(request, now)
        reply = core.answer(exchange, now)
        core.finish(exchange, reply, now)
        return reply.status, reply.encode()

    def partner(self, domain: Domain, path: str, query: bytes, body: bytes, *, reading: bool = False) -> Reply:
        """One call."""
        return classify(*self._call(domain, path, query, body), reading=reading)

    # -- transactions

    def _planner(self) -> Planner:
        snapshot = Snapshot(self.vault, self.now)
        for trader in self.traders.values():
            snapshot.add_trader(trader)
        for order in self.orders.values():
            snapshot.add_order(order)
        for departure in self.departures.values():
            snapshot.add_departure(departure)
        for step in self.steps.values():
            flow = self.flows[step.flow_id]
            if step.state is StepState.UNKNOWN and step.attempts and step.operation in GIVES and flow.state == "open":
                for key in {f"t:{flow.trader_id}", f"u:{flow.user_id}", step.trader_key}:
                    snapshot.add_unproven(key, step.operation)
        for turn in self.turns.values():
            snapshot.turns.add(turn)
        snapshot.turns.places = [next(self._places)]
        return Planner(snapshot, self.rules)

    def _write(self, planner: Planner) -> None:
        changes = planner.changes()
        self.traders |= {row.trader_id: row for row in changes.traders}
        self.orders |= {(row.kind, row.order_id): row for row in changes.orders}
        self.departures |= {(row.trader_key, row.flow_id): row for row in changes.departures}
        self.departures = {key: row for key, row in self.departures.items() if row.flow_id not in changes.withdrawn}
        self.turns |= {(row.key, row.place): row for row in changes.turns}
        self.flows |= {flow.id: flow for flow in (*changes.new_flows, *changes.flows)}
        for closed in changes.closed:
            self.steps[closed.id].state = closed.state
        for moved in changes.moved:
            step = self.steps[moved.id]
            step.state, step.due, step.spent = moved.state, moved.due, moved.spent
            step.memory = Memory.from_json(moved.memory)
        for new in changes.new_steps:
            number = next(self._numbers) if new.replaces is None else new.replaces
            self.steps[number] = Step(
                number, new.flow_id, new.operation, new.state, new.due, new.trader_key, new.waits_for
            )
        for step in self.steps.values():
            if step.open and step.waits_for and not set(changes.wakes).isdisjoint(step.waits_for):
                step.due = min(step.due, self.now)
            step.trader_key = changes.new_trader_keys.get(step.trader_key, step.trader_key)
        for flow_id in changes.ousted:
            self._oust(flow_id)
        self.outcomes += [new.outcome for new in changes.outcomes]

    def _oust(self, flow_id: uuid.UUID) -> None:
        """See `ledger/turns.py`."""
        for step in [each for each in self.steps.values() if each.flow_id == flow_id and each.open]:
            lost_lately = step.state is StepState.UNKNOWN and step.attempts and step.due > self.now
            if step.state is StepState.WAITING:
                step.due = self.now
            elif not lost_lately or step.memory.retrying.look_ups:
                if step.id in self.late:  # the settle time has passed
                    self.happen(step.id)
                step.state = StepState.REFUSED
                number = next(self._numbers)
                self.steps[number] = Step(number, flow_id, PLAN, StepState.WAITING, self.now, step.trader_key)

    def accept(self, topic: str, **body: Any) -> uuid.UUID:
        """An event comes in."""
        self.tick()
        number = next(self._numbers)
        event = EVENTS[topic].model_validate_json(orjson.dumps(body))
        accepted, flow_id = IncomingEvent(topic, f"e-{number}", event, None, 0, number), uuid.UUID(int=number)
        flow = new_flow(draft(accepted, self.rules, b""), flow_id, self.now, accepted.came)
        if flow.trader_id is not None:
            self.traders.setdefault(flow.trader_id, TraderRow(flow.trader_id))
        planner = self._planner()
        planner.accept(flow)
        self._write(planner)
        return flow_id

    # -- work

    def tick(self) -> None:
        """A second goes by."""
        self.now += timedelta(seconds=1)

    def open_steps(self) -> list[Step]:
        """What could be done next, in the order of its time."""
        return sorted((step for step in self.steps.values() if step.open), key=lambda each: (each.due, each.id))

    def work(self, step: Step, fate: Fate = Fate.WELL) -> None:
        """Does what a step asks for, at its time or later."""
        self.tick()
        self.now = max(self.now, step.due)
        match step.state:
            case StepState.WAITING:
                planner = self._planner()
                planner.plan(self.flows[step.flow_id].copy(), replaces=step.id)
                self._write(planner)
            case StepState.DUE:
                self._send(step, fate)
            case _:
                self._look(step, fate)

    def _send(self, step: Step, fate: Fate) -> None:
        if step.operation in GIVES and self._turned_away(step):
            return
        operation, item = OPERATIONS[step.operation], self._item(step)
        step.attempts += 1
        reply = self._fare(step, operation, item, fate)
        claimed = self._claimed(step, StepState.IN_FLIGHT)
        _, result = read_reply(operation, reply, [item])
        sent = sent_steps(operation, [claimed], [item])
        (move,) = after_call(TIMING, rules_of(operation), result, sent, seconds=0.0, call_id=step.id)
        self._record(claimed, move)

    def _turned_away(self, step: Step) -> bool:
        flow = self.flows[step.flow_id]
        rows = [
            DepartureView(row.flow_id, row.since, row.begun_at, row.ended)
            for row in self.departures.values()
            if row.trader_key == step.trader_key
        ]
        if strictest(rows, flow.asked_at, comes_back=flow.topic == COMES_BACK) is DepartureVerdict.GO:
            return False
        step.state = StepState.REFUSED
        number = next(self._numbers)
        self.steps[number] = Step(number, flow.id, PLAN, StepState.WAITING, self.now, step.trader_key)
        return True

    def _fare(self, step: Step, operation: Operation, item: Item, fate: Fate) -> Reply:
        body = orjson.dumps(operation.request([item]))

        def effect() -> Reply:
            self.made.append((operation.name, step.flow_id))
            return self.partner(operation.domain, operation.path, b"", body)

        match fate:
            case Fate.REJECTED:
                return Refusal("No")
            case Fate.LOST_BEFORE:
                return Unclear("lost")
            case Fate.LOST_AFTER:
                effect()
                return Unclear("lost")
            case Fate.LATE:
                self.late[step.id] = effect
                return Unclear("lost")
            case Fate.WELL:
                return effect()

    def happen(self, step_id: int) -> None:
        """What was lost takes effect now."""
        self.late.pop(step_id)()

    def _look(self, step: Step, fate: Fate) -> None:
        if step.id in self.late:  # the settle time is longer than anything takes at the partner
            self.happen(step.id)
        operation, item = OPERATIONS[step.operation], self._item(step)
        if fate is not Fate.WELL:
            step.due = self.now + timedelta(seconds=1)  # the look-up itself was lost
            return
        claimed = self._claimed(step, StepState.UNKNOWN)
        asked = as_looked_for(claimed, item)
        (found,) = _run(look(operation, Reader(self), [asked], sent=step.attempts > 0))
        (move,) = after_look_up(TIMING, rules_of(operation), [(claimed, found)], 0.0)
        self._record(claimed, move)

    def give_up(self, step: Step) -> None:
        """Nobody could look up an unknown step for a day: an operator has to."""
        self._record(self._claimed(step, StepState.UNKNOWN), Finish(Unknown("It could not be looked up.")))

    def _item(self, step: Step) -> Item:
        return item_of(self.flows[step.flow_id], step.operation, self.rules, self.now)

    def _claimed(self, step: Step, state: StepState) -> Claimed:
        flow = self.flows[step.flow_id]
        return Claimed(step.id, step.operation, state, step.attempts, step.spent, step.memory, None, flow)

    def _record(self, claimed: Claimed, move: Move) -> None:
        planner = self._planner()
        planner.record([(claimed, move)])
        self._write(planner)

    # -- operators

    def cancel(self, step: Step) -> bool:
        """Cancels the flow of a step, if that is possible now."""
        self.tick()
        planner = self._planner()
        try:
            operator.cancel(planner, self.flows[step.flow_id].copy(), [_open(step)], "not wanted")
        except operator.NotPossible:
            return False
        self._write(planner)
        return True

    def retry(self, flow_id: uuid.UUID) -> None:
        """Starts a failed flow again."""
        self.tick()
        planner, flow = self._planner(), self.flows[flow_id].copy()
        operator.retry(planner, flow, self._parked(flow_id), lambda name: OPERATIONS[name].recovery.look_up is not None)
        self._write(planner)

    def resolve(self, flow_id: uuid.UUID, status: Status) -> None:
        """Ends a flow in doubt as an operator says."""
        self.tick()
        planner = self._planner()
        operator.resolve(planner, self.flows[flow_id].copy(), self._parked(flow_id), status, {}, "an operator looked")
        self._write(planner)

    def _parked(self, flow_id: uuid.UUID) -> list[OpenStep]:
        return [_open(step) for step in self.steps.values() if step.flow_id == flow_id and not step.ended]

    # -- what is seen

    def active(self, user_id: int | None) -> list[Mapping[str, Any]]:
        """The trading permissions that let a user trade."""
        rows = self.sandbox.core.world.permissions.of(user_id or 0)
        return [row for row in rows if row["status"] not in ("Revoked", "Declined")]


def _open(step: Step) -> OpenStep:
    return OpenStep(step.id, step.operation, step.state, step.attempts)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Runs what never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")
