"""Flows on their way: what a transaction has decided about them.

`advance` asks the flow (pure) what comes next and notes it here; `saving.py` writes. Final state and outcome are in
the same transaction by construction: `End` makes both.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from schemas.outcomes import ErrorCode, Outcome, Status, outcome_id
from schemas.privacy import mask
from worker.engine.flows import FLOWS
from worker.engine.flows.base import (
    ENDED,
    LEFT,
    Decision,
    End,
    Facts,
    Failed,
    Names,
    Planned,
    Rules,
    Send,
    StepEnd,
    View,
    Wait,
    proven_key,
    widened,
)
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection
from worker.ledger.departures import Departures
from worker.ledger.rows import PLAN, FlowRow, StepState
from worker.ledger.shared_rows import OrderRow, SharedRows

log = structlog.get_logger()

OUTCOME_LEASE = 10.0
"""Seconds that whoever wrote an outcome has to publish it before another replica may. With the sweep's two it is
below the 15 s within which a dead replica's work goes on; whoever needs longer, for Kafka is away, extends it."""


_OF_THE_TRADER = frozenset({"userId", "userFrom"})


@dataclass(slots=True)
class NewStep:
    """A step to be written: a new one, or what a wait turns into."""

    flow: FlowRow
    operation: str
    state: StepState
    due: datetime
    waits_for: list[str] | None
    replaces: int | None = None  # the waiting step that turns into this one
    alike: str | None = None
    weight: int = 1


@dataclass(slots=True)
class WorkingSet:
    """The flows of one transaction."""

    vault: Vault
    rules: Rules
    ranks: Mapping[str, int]
    source: str  # the `ce_source` of outcomes
    now: datetime
    begun: float = field(default_factory=time.monotonic)  # leases that this transaction takes are counted from here
    shared: SharedRows = field(init=False)
    departures: Departures = field(default_factory=Departures)
    steps: list[NewStep] = field(default_factory=list)
    changed: dict[uuid.UUID, FlowRow] = field(default_factory=dict)
    outcomes: list[tuple[FlowRow | None, Outcome, bytes | None, dict[str, str]]] = field(default_factory=list)
    wakes: set[str] = field(default_factory=set)
    _named: dict[uuid.UUID, Names] = field(default_factory=dict)  # by flow: what its event names
    # traders whose user has just become known: the user, and the flow that brought it
    rekeyed: dict[str, tuple[int, uuid.UUID]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shared = SharedRows(self.vault)

    async def load(self, connection: Connection, flows: Sequence[FlowRow], *, new: bool = False) -> None:
        """Locks what the flows share with others."""
        named = [self.names(flow) for flow in flows]
        await self.shared.load(connection, named, new=new)
        leaving = set().union(*(self.shared.keys(names) for names in named if names.departs))
        given = set().union(*(self.shared.keys(names) for names in named if names.gives))
        await self.departures.load(connection, leaving | given)
        await self.departures.load_unproven(connection, leaving)

    def names(self, flow: FlowRow) -> Names:
        """Whom and what the flow names: its event, and what it has come across since.

        What asks for an order of its own without giving it an id has its event's id for one.
        """
        names = self._named.get(flow.id)
        if names is None:
            names = FLOWS[flow.topic].names(flow.event)
            if names.owns_order and names.order_id is None:
                names = names._replace(order_kind=f"{names.order_kind}/event", order_id=flow.event_id)
            self._named[flow.id] = names
        return widened(names, flow.facts)

    def view(self, flow: FlowRow) -> View:
        """What the flow may look at."""
        kind = FLOWS[flow.topic]
        names = self.names(flow)
        order = None
        if names.owns_order and names.order_id is not None:
            row = self.shared.orders.get((names.order_kind, names.order_id))
            if row is not None:
                mine = row.flow_id == flow.id
                order = self.shared.order_view(row, None if mine else kind.details(flow.event))
        keys = self.shared.keys(names) if names.gives or names.departs else ()
        known = [self.shared.order_view(row) for row in self.shared.references(names) if row.flow_id != flow.id]
        return View(
            flow.id,
            flow.event,
            flow.facts,
            self.shared.trader_view(names),
            order,
            known,
            flow.created_at,
            self.now,
            self.shared.owners(names),
            flow.asked_at,
            self.departures.views(keys, flow.id),
            self.departures.unproven(keys) if names.departs else frozenset(),
        )

    def accept(self, flow: FlowRow) -> None:
        """A new flow: takes its order if it may, and is planned for the first time."""
        self.take_order(flow)
        self.plan(flow)

    def take_order(self, flow: FlowRow, *, reopen: bool = False) -> None:
        """The flow takes its order if it has one and may; see `SharedRows.take_order`."""
        names = self.names(flow)
        if names.owns_order and names.order_id is not None:
            details = FLOWS[flow.topic].details(flow.event)
            left = self.shared.take_order(names, flow.id, details, flow.asked_at, reopen=reopen)
            if left is not None:
                flow.facts = {**flow.facts, LEFT: left}

    def plan(self, flow: FlowRow, replaces: int | None = None, look_first: Callable[[str], bool] | None = None) -> None:
        """Asks the flow what comes next; `replaces`: the waiting step that this ends.

        `look_first`: operations that are looked up before they are sent, since a former round may have made it.
        """
        view = self.acquaint(flow)
        planned = self._ask(flow, lambda: FLOWS[flow.topic].plan(view, self.rules))
        assert isinstance(planned, Planned)
        decision = planned.decision
        if look_first is not None and isinstance(decision, Send) and look_first(decision.operation):
            planned = Planned(replace(decision, look_first=True), planned.facts)
        self._apply(flow, planned, replaces)

    def acquaint(self, flow: FlowRow) -> View:
        """What the flow may look at. What that says of its trader is told in the outcome, and ties calls together."""
        view = self.view(flow)
        if flow.user_id is None:
            flow.user_id = view.trader.user_id
        if flow.trader_id is None:
            flow.trader_id = view.trader.trader_id
        meant = self._meant(flow)
        if meant is not None:
            flow.order_id = flow.order_id or meant.order_id
            flow.account_id = meant.account_id if flow.account_id is None else flow.account_id
            if meant.user_id is not None:
                flow.owner_key = f"u:{meant.user_id}"
        return view

    def _meant(self, flow: FlowRow) -> OrderRow | None:
        """The one order that the event means by another id than its own, and which is its trader's."""
        names = self.names(flow)
        if names.owns_order or names.of_trader:
            return None
        rows = [
            row
            for row in self.shared.references(names)
            if "/" not in row.kind  # placed without an order id
            and names.trader_id in (None, row.trader_id)
            and names.user_id in (None, row.user_id)
        ]
        return rows[0] if len(rows) == 1 else None

    def advance(self, flow: FlowRow, operation: str, attempts: int, end: StepEnd) -> None:
        """Folds the end of a step, sent so many times, into its flow, and plans on."""
        flow.attempts = max(flow.attempts, attempts)
        if isinstance(end, Failed):
            end = replace(end, text=mask(end.text, flow.event.personal_values()))
        view = self.acquaint(flow)
        # A departure that has begun may wait for what came of this step.
        self.wakes.update(proven_key(each.flow_id) for each in view.departures if each.begun and not each.ended)
        learned = self._ask(flow, lambda: FLOWS[flow.topic].learn(view, operation, end))
        if isinstance(learned, Planned):
            self._apply(flow, learned, None)
        else:
            self.learn(flow, learned)
            self.plan(flow)

    def _ask(self, flow: FlowRow, ask: Callable[[], Planned | Facts]) -> Planned | Facts:
        """Asks a flow; one that trips over its own event ends in doubt, and spoils nothing for its neighbours."""
        try:
            return ask()
        except Exception:
            log.exception("flow.cannot_decide", flow_id=str(flow.id), topic=flow.topic)
            text = "The worker could not tell what comes next, by a fault of its own; a person must look."
            return Planned(End(Status.IN_DOUBT, ErrorCode.IN_DOUBT, text), flow.facts)

    def learn(self, flow: FlowRow, facts: Mapping[str, Any]) -> None:
        """The flow knows more: its order, its trader and whoever waits for them learn it too."""
        flow.facts = dict(facts)
        flow.attempts = max(flow.attempts, flow.facts.get("sent", 0))
        names = self.names(flow)
        user_id = flow.facts.get("userId")
        if user_id is not None:
            flow.user_id = user_id
            if self.shared.learn_user(names, user_id, made_here=flow.facts.get("userFrom") == "made"):
                assert names.trader_id is not None
                self.rekeyed[names.trader_id] = user_id, flow.id
        if flow.trader_id is None:
            flow.trader_id = flow.facts.get("traderId")
        if flow.facts.get("accountId") is not None:
            flow.account_id = flow.facts["accountId"]
        if names.owns_order and names.order_id is not None:
            row = self.shared.orders.get((names.order_kind, names.order_id))
            if row is not None and row.flow_id == flow.id:
                row.user_id, row.facts = flow.user_id, flow.facts
                if flow.facts.get("accountId") is not None:  # until then, what a former owner got is kept
                    row.account_id = flow.facts["accountId"]
                    row.permission_id = flow.facts.get("tradingPermissionId")
                # Whose it is follows from its trader; anything else that it got must be found by who comes next.
                row.dirty |= row.trader_id is None or not _OF_THE_TRADER.issuperset(flow.facts)
        if names.departs and "since" in flow.facts:
            begun = flow.facts.get("begun")
            since = datetime.fromisoformat(flow.facts["since"])
            at = None if begun is None else datetime.fromisoformat(begun)
            self.departures.note(flow.id, self.shared.keys(names) | {f"u:{flow.user_id}"}, since, at)
        self.changed[flow.id] = flow

    def _apply(self, flow: FlowRow, planned: Planned, replaces: int | None) -> None:
        if planned.facts != flow.facts:
            self.learn(flow, planned.facts)
        self.changed[flow.id] = flow
        self.wakes.update(planned.wakes)
        match planned.decision:
            case Send() as send:
                if send.makes_user:
                    self.shared.set_maker(flow.trader_id, flow.id)
                state = StepState.UNKNOWN if send.look_first else StepState.DUE
                self.steps.append(
                    NewStep(flow, send.operation, state, send.at or self.now, None, replaces, send.alike, send.weight)
                )
            case Wait() as wait:
                keys = sorted(wait.keys)
                self.steps.append(NewStep(flow, PLAN, StepState.WAITING, wait.until, keys, replaces))
            case End() as end:
                self.end(flow, end)
                if replaces is not None:
                    self.steps.append(NewStep(flow, PLAN, StepState.DONE, self.now, None, replaces))
        self._tell_pending(flow, planned.decision)

    def _tell_pending(self, flow: FlowRow, decision: Decision) -> None:
        if not isinstance(decision, End) and decision.pending:
            self._outcome(flow, Status.PENDING, None, None)

    def end(self, flow: FlowRow, end: End) -> None:
        """The flow has ended: final state and outcome at once."""
        flow.state, flow.facts = end.status.value, {**flow.facts, ENDED: True}
        flow.error_code = end.error_code.value if end.error_code else None
        flow.error_text = end.error_text
        self._outcome(flow, end.status, flow.error_code, flow.error_text)
        names = self.names(flow)
        self.shared.drop_maker(flow.trader_id, flow.id)
        if names.departs:
            withdrawn = end.error_code is ErrorCode.CANCELLED or "begun" not in flow.facts
            self.departures.end(flow.id, withdrawn=withdrawn)
        if names.owns_order and names.order_id is not None:
            row = self.shared.orders.get((names.order_kind, names.order_id))
            if row is not None and row.flow_id == flow.id:
                row.state, row.facts, row.dirty = flow.state, flow.facts, True
                row.error_code, row.error_text = flow.error_code, flow.error_text

    def _outcome(self, flow: FlowRow, status: Status, code: str | None, text: str | None) -> None:
        facts = flow.facts
        permission = facts.get("tradingPermissionId")
        meant = self._meant(flow)
        outcome = Outcome.model_construct(
            outcome_id=outcome_id(flow.topic, flow.event_id, status, code, facts.get("requestStatus"), flow.round),
            event_id=flow.event_id,
            topic=flow.topic,
            flow_id=str(flow.id),
            status=status,
            order_id=flow.order_id,
            trader_id=flow.trader_id,
            user_id=flow.user_id,
            account_id=flow.account_id,
            account_name=facts.get("accountName") or (meant.facts.get("accountName") if meant is not None else None),
            trading_permission_id=permission,
            trading_permission_ids=tuple(facts.get("tradingPermissionIds") or ([permission] if permission else ())),
            request_id=facts.get("requestId"),
            request_status=facts.get("requestStatus"),
            entitlement_id=facts.get("entitlementId"),
            error_code=ErrorCode(code) if code else None,
            error_text=text,
            warnings=tuple(facts.get("warnings", ())),
            attempts=flow.attempts,
            occurred_at=self.now,
        )
        self.outcomes.append((flow, outcome, flow.record_key, dict(flow.trace or {})))

    def refuse(self, outcome: Outcome, record_key: bytes | None, trace: Mapping[str, str]) -> None:
        """An outcome of a record that became no flow: bad input whose id could be read."""
        self.outcomes.append((None, outcome, record_key, dict(trace)))

    def rekeyed_to(self, flow: FlowRow) -> str | None:
        """The key of the flow's calls if its trader's user has just become known, and not by its own step."""
        known = self.rekeyed.get(flow.trader_id) if flow.trader_id is not None and self.rekeyed else None
        return None if known is None else f"u:{known[0]}"

    def settle_wakes(self) -> None:
        """Adds to the keys that flows have named those that follow from what has changed in the rows they share."""
        self.wakes |= self.shared.news() | self.departures.news()

    def due(self, step: NewStep) -> datetime:
        """When the step is due, what has happened in the same transaction considered."""
        if step.waits_for is not None and not self.wakes.isdisjoint(step.waits_for):
            return min(step.due, self.now)
        return step.due
