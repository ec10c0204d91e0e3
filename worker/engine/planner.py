"""What an event, a result or an operator's action changes: decided here, written by the ledger.

A planner has a snapshot of all that its flows share with others. It asks each flow what comes next, keeps what follows
from the answers, and returns it as `Changes`. Pure: no SQL, no clock, no I/O. An end and its outcome are made together.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from schemas.outcomes import ErrorCode, Outcome, Status
from worker.engine.changes import Changes, ClosedStep, NewOutcome
from worker.engine.facts import Facts, changed, order_facts
from worker.engine.flow_views import FlowViews
from worker.engine.flows import FLOWS
from worker.engine.flows.base import End, Planned, Rules, Send, Wait, proven_key
from worker.engine.outcome import outcome_of
from worker.engine.rows import Claimed, Finish, FlowRow, LivePermissionRow, Move
from worker.engine.shared_rows import Shared
from worker.engine.snapshot import Snapshot
from worker.engine.states import PLAN, StepState
from worker.engine.steps.written import PlannedStep, moved_step
from worker.results import Result

log = structlog.get_logger()


@dataclass(slots=True)
class Planner:
    """The decisions of one transaction. Flows that are given to it are changed: give copies."""

    snapshot: Snapshot
    rules: Rules
    shared: Shared = field(init=False)
    views: FlowViews = field(init=False)
    _steps: list[PlannedStep] = field(default_factory=list)
    _moved: list[tuple[Claimed, Move]] = field(default_factory=list)
    _closed: list[ClosedStep] = field(default_factory=list)
    _new: dict[uuid.UUID, FlowRow] = field(default_factory=dict)
    _changed: dict[uuid.UUID, FlowRow] = field(default_factory=dict)
    _live_permissions: list[LivePermissionRow] = field(default_factory=list)
    _outcomes: list[NewOutcome] = field(default_factory=list)
    _wakes: set[str] = field(default_factory=set)
    _ousted: list[uuid.UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shared = Shared(self.snapshot)
        self.views = FlowViews(self.shared, self.now)

    @property
    def now(self) -> datetime:
        """The database's time of this transaction."""
        return self.snapshot.now

    # What an event changes

    def accept(self, flow: FlowRow) -> None:
        """A new flow: takes its order if it may, and is planned for the first time."""
        self._new[flow.id] = flow
        self.take_order(flow)
        self.take_turn(flow)
        self.plan(flow)

    def refuse(self, outcome: Outcome, record_key: bytes | None, trace: Mapping[str, str]) -> None:
        """An outcome of a record that became no flow: bad input whose id could be read."""
        self._outcomes.append(NewOutcome(outcome, None, record_key, dict(trace)))

    # What a result changes

    def record(self, steps: Sequence[tuple[Claimed, Move]]) -> Sequence[FlowRow]:
        """Steps with the results of their calls or look-ups; flows whose step has ended are planned on.

        Returns these flows, as they are now. Raises `ValueError` for a move that is not allowed.
        """
        ended = []
        for step, move in steps:
            self._moved.append((step, move))
            if isinstance(move, Finish):
                flow = step.flow.copy()
                self._advance(flow, step, move.result)
                ended.append(flow)
        return ended

    def _advance(self, flow: FlowRow, step: Claimed, result: Result) -> None:
        flow.attempts = max(flow.attempts, step.attempts)
        view = self.views.introduce(flow)._replace(attempts=step.attempts)
        # A departure that has begun may wait for what came of this step.
        self._wakes.update(proven_key(each.flow_id) for each in view.departures if each.begun and not each.ended)
        learned = self._ask(flow, lambda: FLOWS[flow.topic].learn(view, step.operation, result))
        if isinstance(learned, Planned):
            self._apply(flow, learned, None)
        else:
            self.learn(flow, learned)
            self.plan(flow)

    # What time, or the change of something that a flow waits for, changes

    def plan(self, flow: FlowRow, replaces: int | None = None, look_first: Callable[[str], bool] | None = None) -> None:
        """Asks the flow what comes next; `replaces`: the waiting step that this ends.

        `look_first`: operations that are looked up before they are sent, since a former round may have made it.
        """
        view = self.views.introduce(flow)
        planned = self._ask(flow, lambda: FLOWS[flow.topic].plan(view, self.rules))
        assert isinstance(planned, Planned)
        decision = planned.decision
        if look_first is not None and isinstance(decision, Send) and look_first(decision.operation):
            planned = Planned(decision._replace(look_first=True), planned.facts)
        self._apply(flow, planned, replaces)

    # What an operator's action changes: see `operator.py`

    def close(self, step_id: int, state: StepState) -> None:
        """Ends a step that has not been sent, or that an operator has looked into."""
        self._closed.append(ClosedStep(step_id, state))

    # The parts

    def take_order(self, flow: FlowRow, *, reopen: bool = False) -> None:
        """The flow takes its order if it has one and may; see `Shared.take_order`."""
        names = self.views.names(flow)
        if names.owns_order and names.order_id is not None:
            details = FLOWS[flow.topic].details(flow.event)
            facts = order_facts(flow.facts)
            flow.facts = self.shared.take_order(names, flow.id, facts, details, flow.asked_at, reopen=reopen)

    def take_turn(self, flow: FlowRow) -> None:
        """The flow gets the last place among the events of its account, if it is executed in turn with them."""
        names = self.views.names(flow)
        if names.in_turn is not None:
            self.shared.rows.turns.take(
                flow.id, self.shared.rows.turn_keys(names), names.in_turn, must_act=names.must_act
            )

    def _ask(self, flow: FlowRow, ask: Callable[[], Planned | Facts]) -> Planned | Facts:
        """Asks a flow. An error of its code ends that flow in doubt, and the others of the transaction go on."""
        try:
            return ask()
        except Exception:
            log.exception("flow.cannot_decide", flow_id=str(flow.id), topic=flow.topic)
            text = "The worker could not decide what comes next, by an error of its own; an operator must look."
            return Planned(End(Status.IN_DOUBT, ErrorCode.IN_DOUBT, text), flow.facts)

    def learn(self, flow: FlowRow, facts: Facts) -> None:
        """The flow has new facts: its order, its trader and its departure get what is theirs of them."""
        flow.facts = facts
        flow.attempts = max(flow.attempts, facts.sent)
        names = self.views.names(flow)
        if facts.user_id is not None:
            flow.user_id = facts.user_id
            self.shared.learn_user(names, facts.user_id, made_here=facts.made_user)
        if flow.trader_id is None:
            flow.trader_id = facts.trader_id
        if facts.account_id is not None:
            flow.account_id = facts.account_id
        self._learn_order(flow)
        if facts.departure is not None:
            keys = self.shared.rows.trader_keys(names) | {f"u:{flow.user_id}"}
            self.shared.note_departure(flow.id, keys, facts.departure)
        self._changed[flow.id] = flow

    def _learn_order(self, flow: FlowRow) -> None:
        row = self.views.own_order(flow)
        if row is None or row.flow_id != flow.id:
            return
        facts = order_facts(flow.facts)
        account, permission = facts.account_id, facts.trading_permission_id
        if account is None:  # until then, what a former owner got is kept
            account, permission = row.account_id, row.permission_id
        learned = row._replace(user_id=flow.user_id, facts=facts, account_id=account, permission_id=permission)
        # Whose it is follows from its trader; anything else that it got must be found by the next event.
        self.shared.put_order(learned, write=row.trader_id is None or not facts.only_of_trader)

    def _apply(self, flow: FlowRow, planned: Planned, replaces: int | None) -> None:
        if planned.facts is not flow.facts and planned.facts.differs_in(flow.facts):
            self.learn(flow, planned.facts)
        self._changed[flow.id] = flow
        self._wakes.update(planned.wakes)
        match planned.decision:
            case Send() as send:
                self.shared.rows.turns.begin(flow.id, self.now)
                if send.makes_user:
                    self.shared.set_maker(flow.trader_id, flow.id)
                state = StepState.UNKNOWN if send.look_first else StepState.DUE
                due = send.at or self.now
                self._steps.append(
                    PlannedStep(flow, send.operation, state, due, None, send.alike, send.weight, replaces=replaces)
                )
            case Wait() as wait:
                if wait.ousts is not None:
                    self.shared.rows.turns.oust(wait.ousts)
                    self._ousted.append(wait.ousts)
                keys = sorted(wait.keys)
                self._steps.append(PlannedStep(flow, PLAN, StepState.WAITING, wait.until, keys, replaces=replaces))
            case End() as end:
                self.end(flow, end)
                if replaces is not None:
                    self._steps.append(PlannedStep(flow, PLAN, StepState.DONE, self.now, replaces=replaces))
                return
        if planned.decision.pending:
            self._publish(flow, Status.PENDING, None, None)

    def end(self, flow: FlowRow, end: End) -> None:
        """The flow has ended: final state and outcome at once."""
        flow.state, flow.facts = end.status.value, changed(flow.facts, ended=True)
        flow.error_code = end.error_code.value if end.error_code else None
        flow.error_text = end.error_text
        self._changed[flow.id] = flow
        self._publish(flow, end.status, flow.error_code, flow.error_text)
        self.shared.drop_maker(flow.trader_id, flow.id)
        self.shared.rows.turns.end(flow.id)
        names, permission = self.views.names(flow), flow.facts.trading_permission_id
        if names.on_live and permission is not None and names.account_id is not None and names.user_id is not None:
            self._live_permissions.append(LivePermissionRow(permission, names.account_id, names.user_id))
        if names.departs:
            dates = flow.facts.departure
            withdrawn = end.error_code is ErrorCode.CANCELLED or dates is None or dates.begun is None
            self.shared.end_departure(flow.id, withdrawn=withdrawn)
        row = self.views.own_order(flow)
        if row is not None and row.flow_id == flow.id:
            facts = order_facts(flow.facts)
            self.shared.put_order(
                row._replace(state=flow.state, facts=facts, error_code=flow.error_code, error_text=flow.error_text)
            )

    def _publish(self, flow: FlowRow, status: Status, code: str | None, text: str | None) -> None:
        outcome = outcome_of(flow, status, code, text, self.now, self.views.meant(flow))
        self._outcomes.append(NewOutcome(outcome, flow.id, flow.record_key, dict(flow.trace or {}), flow.created_at))

    def changes(self) -> Changes:
        """What the transaction writes."""
        shared, wakes = self.shared, self._wakes | self.shared.wakes()
        return Changes(
            self.now,
            new_flows=list(self._new.values()),
            flows=[flow for flow in self._changed.values() if flow.id not in self._new],
            traders=shared.changed_traders(),
            orders=shared.changed_orders(),
            departures=shared.changed_departures(),
            withdrawn=shared.withdrawn,
            turns=shared.rows.turns.changed(),
            ousted=self._ousted,
            live_permissions=self._live_permissions,
            moved=[moved_step(step, move, self.now, self._new_key(step.flow)) for step, move in self._moved],
            new_steps=[step.written(self.now, wakes, self._new_key(step.flow)) for step in self._steps],
            closed=self._closed,
            outcomes=self._outcomes,
            wakes=sorted(wakes),
            new_trader_keys={f"t:{trader_id}": f"u:{user_id}" for trader_id, user_id in shared.new_users.items()},
        )

    def _new_key(self, flow: FlowRow) -> str | None:
        """The key of the flow's calls if its trader's user has just become known."""
        user_id = self.shared.new_users.get(flow.trader_id) if flow.trader_id is not None else None
        return None if user_id is None else f"u:{user_id}"
