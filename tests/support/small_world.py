"""A ledger in memory and a partner in memory around the real flows, working set, operations and rules of results.

One replica that does one thing at a time: what happens next, and what becomes of a call, is the test's choice. Loading
rows, locks and leases are not here; the integration tests have them.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson

from schemas.events import EVENTS
from schemas.outcomes import ErrorCode, Outcome, Status
from worker.backoff import Schedule
from worker.dispatch.found import as_looked_for, looked_up
from worker.dispatch.settle import Settler
from worker.engine.flows import FLOWS
from worker.engine.flows.base import End, Rules, TraderView, View
from worker.engine.flows.departing import COMES_BACK, GIVES, Verdict, strictest
from worker.ledger.crypto import Vault
from worker.ledger.departures import DepartureRow
from worker.ledger.rows import PLAN, Claimed, Finish, FlowRow, Later, Move, StepState
from worker.ledger.shared_rows import OrderRow, TraderRow
from worker.ledger.working_set import WorkingSet
from worker.partner.classify import classify
from worker.partner.look_up import look
from worker.partner.observed_forms import Seen
from worker.partner.operation import Item, Operation
from worker.partner.operations import OPERATIONS
from worker.replies import Domain, Query, Refusal, Reply, Unclear
from worker.sandbox import Sandbox, SandboxConfig
from worker.sandbox.app import _query
from worker.sandbox.config import with_switches
from worker.sandbox.core import Request

T = TypeVar("T")

SETTLE = timedelta(seconds=15)


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
    waits_for: list[str] | None = None
    attempts: int = 0
    spent: float = 0.0
    context: dict[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.state in (StepState.WAITING, StepState.DUE, StepState.UNKNOWN)


@dataclass
class Reader:
    """The partner's reads. Nothing of it waits."""

    world: SmallWorld
    seen: Seen = field(default_factory=lambda: Seen(user_id=1001))

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
        self.flows: dict[uuid.UUID, FlowRow] = {}
        self.steps: dict[int, Step] = {}
        self.outcomes: list[Outcome] = []
        self.late: dict[int, Callable[[], Reply]] = {}
        self._numbers = itertools.count(1)
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

    def _working(self) -> WorkingSet:
        ranks = {name: operation.rank for name, operation in OPERATIONS.items()}
        working = WorkingSet(self.vault, self.rules, ranks, "test", self.now)
        for row in self.traders.values():
            working.shared._add_trader(_copy(row))
        working.shared.orders = {key: _copy(row) for key, row in self.orders.items()}
        working.departures.rows = {key: _copy(row) for key, row in self.departures.items()}
        for step in self.steps.values():
            flow = self.flows[step.flow_id]
            if step.state is StepState.UNKNOWN and step.attempts and step.operation in GIVES and flow.state == "open":
                keys = {f"t:{flow.trader_id}", f"u:{flow.user_id}", step.trader_key}
                working.departures._unproven.append((keys, step.operation))
        return working

    def _save(self, working: WorkingSet) -> None:
        working.settle_wakes()
        self.traders = working.shared.traders
        self.orders = working.shared.orders
        self.departures = {key: row for key, row in working.departures.rows.items() if not row.dropped}
        self.flows |= working.changed
        for new in working.steps:
            number = next(self._numbers) if new.replaces is None else new.replaces
            key = working.rekeyed_to(new.flow) or new.flow.trader_key
            self.steps[number] = Step(
                number, new.flow.id, new.operation, new.state, working.due(new), key, new.waits_for
            )
        for step in self.steps.values():
            if step.open and step.waits_for and not working.wakes.isdisjoint(step.waits_for):
                step.due = min(step.due, self.now)
            for trader_id, (user_id, _) in working.rekeyed.items():
                if step.trader_key == f"t:{trader_id}":
                    step.trader_key = f"u:{user_id}"
        self.outcomes += [outcome for _, outcome, _, _ in working.outcomes]

    def accept(self, topic: str, **body: Any) -> uuid.UUID:
        """An event comes in."""
        self.tick()
        number = next(self._numbers)
        event = EVENTS[topic].model_validate_json(orjson.dumps(body))
        event = FLOWS[topic].freeze(event, self.rules)
        names, flow_id = FLOWS[topic].names(event), uuid.UUID(int=number)
        flow = FlowRow(
            flow_id, topic, event, f"e-{number}", None, 0, number, None, names.trader_id, names.user_id,
            names.order_id, names.account_id, self.now, self.now,
        )  # fmt: skip
        if names.trader_id is not None:
            self.traders.setdefault(
                names.trader_id, TraderRow(names.trader_id, None, None, made_here=False, maker=None)
            )
        working = self._working()
        working.accept(flow)
        self._save(working)
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
                working = self._working()
                working.plan(self.flows[step.flow_id].copy(), replaces=step.id)
                self._save(working)
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
        (move,) = self._settler().call(operation, reply, [(claimed, item)], seconds=0.0, call_id=step.id)
        self._record(step, move)

    def _turned_away(self, step: Step) -> bool:
        flow = self.flows[step.flow_id]
        rows = [row.view for row in self.departures.values() if row.trader_key == step.trader_key]
        if strictest(rows, flow.asked_at, comes_back=flow.topic == COMES_BACK) is Verdict.GO:
            return False
        step.state = StepState.REFUSED
        number = next(self._numbers)
        self.steps[number] = Step(number, flow.id, PLAN, StepState.WAITING, self.now, step.trader_key)
        return True

    def _fare(self, step: Step, operation: Operation, item: Item, fate: Fate) -> Reply:
        body = orjson.dumps(operation.request([item]))

        def effect() -> Reply:
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
        (finding,) = _run(look(operation, Reader(self), [asked], sent=step.attempts > 0))
        (move,) = looked_up(self._settler(), operation, [(claimed, finding)], 0.0)
        self._record(step, move)

    def _item(self, step: Step) -> Item:
        flow = self.flows[step.flow_id]
        shown = TraderView(flow.trader_id)
        view = View(flow.id, flow.event, flow.facts, shown, None, (), flow.created_at, self.now)
        return FLOWS[flow.topic].item(view, step.operation, self.rules)

    def _claimed(self, step: Step, state: StepState) -> Claimed:
        flow = self.flows[step.flow_id]
        return Claimed(step.id, step.operation, state, step.attempts, step.spent, step.context, None, flow)

    def _settler(self) -> Settler:
        return Settler(Schedule(1.0, 300.0, 86_400.0), SETTLE, 0.5)

    def _record(self, step: Step, move: Move) -> None:
        if isinstance(move, Later):
            step.state, step.due, step.spent = move.state, self.now + move.wait, move.spent
            step.context = dict(move.context)
            return
        assert isinstance(move, Finish)
        step.state = StepState.PARKED if move.parked else StepState.DONE
        working = self._working()
        working.advance(self.flows[step.flow_id].copy(), step.operation, step.attempts, move.end)
        self._save(working)

    # -- operators

    def cancel(self, step: Step) -> bool:
        """Cancels the flow of a step, if that was not sent."""
        if step.state is StepState.UNKNOWN and step.attempts:
            return False
        self.tick()
        step.state = StepState.REFUSED
        flow, working = self.flows[step.flow_id].copy(), self._working()
        flow.round += 1
        working.acquaint(flow)
        working.end(flow, End(Status.FAILED, ErrorCode.CANCELLED, "not wanted"))
        working.changed[flow.id] = flow
        self._save(working)
        return True

    def retry(self, flow_id: uuid.UUID) -> None:
        """Starts a failed flow again."""
        self.tick()
        flow, working = self.flows[flow_id].copy(), self._working()
        flow.asked_at = self.now
        working.take_order(flow, reopen=True)
        flow.state, flow.error_code, flow.error_text = "open", None, None
        flow.round += 1
        working.plan(flow, look_first=lambda name: OPERATIONS[name].look_up is not None)
        self._save(working)

    # -- what is seen

    def active(self, user_id: int | None) -> list[Mapping[str, Any]]:
        """The trading permissions that let a user trade."""
        rows = self.sandbox.core.world.permissions.of(user_id or 0)
        return [row for row in rows if row["status"] not in ("Revoked", "Declined")]


def _copy(row: T) -> T:
    """A row as it is loaded: what it was is what it is."""
    kind: Any = type(row)
    return kind(**{each.name: getattr(row, each.name) for each in _init_fields(kind)})  # type: ignore[no-any-return]


def _init_fields(kind: Any) -> Iterable[Any]:
    return [each for each in fields(kind) if each.init and each.name not in ("dirty", "dropped")]


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Runs what never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")
