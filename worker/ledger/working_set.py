"""Flows on their way: what a transaction has decided about them, written back with a handful of bulk statements.

`advance` asks the flow (pure) what comes next and notes it here; `save` writes. Final state and outcome are in the
same transaction by construction: `End` makes both.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from schemas.base import utc_text
from schemas.outcomes import ErrorCode, Outcome, Status, outcome_id
from schemas.privacy import mask
from worker.flows import FLOWS
from worker.flows.base import (
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
    order_key,
    trader_key,
    widened,
)
from worker.ledger.crypto import Vault
from worker.ledger.database import Again, Connection
from worker.ledger.rows import PLAN, Claimed, FlowRow, OutcomeRow, StepState
from worker.ledger.shared_rows import SharedRows

log = structlog.get_logger()

OUTCOME_LEASE = 10.0
"""Seconds that whoever wrote an outcome has to publish it before another replica may. With the sweep's two it is
below the 15 s within which a dead replica's work goes on; whoever needs longer, for Kafka is away, extends it."""


@dataclass(slots=True)
class _NewStep:
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
    steps: list[_NewStep] = field(default_factory=list)
    changed: dict[uuid.UUID, FlowRow] = field(default_factory=dict)
    outcomes: list[tuple[FlowRow | None, Outcome, bytes | None, dict[str, str]]] = field(default_factory=list)
    wakes: set[str] = field(default_factory=set)
    _named: dict[uuid.UUID, tuple[Facts, Names]] = field(default_factory=dict)  # by flow, as long as its facts stand
    rekeyed: dict[str, int] = field(default_factory=dict)  # traders whose user has just become known

    def __post_init__(self) -> None:
        self.shared = SharedRows(self.vault)

    async def load(self, connection: Connection, flows: Sequence[FlowRow], *, new: bool = False) -> None:
        """Locks what the flows share with others."""
        await self.shared.load(connection, [self.names(flow) for flow in flows], new=new)

    def names(self, flow: FlowRow) -> Names:
        """Whom and what the flow names: its event, and what it has come across since.

        What asks for an order of its own without giving it an id has its event's id for one.
        """
        facts, names = self._named.get(flow.id, (None, None))
        if names is None or facts is not flow.facts:
            names = widened(FLOWS[flow.topic].names(flow.event), flow.facts)
            if names.owns_order and names.order_id is None:
                names = replace(names, order_kind=f"{names.order_kind}/event", order_id=flow.event_id)
            self._named[flow.id] = flow.facts, names
        return names

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
        )

    def accept(self, flow: FlowRow) -> None:
        """A new flow: takes its order if it may, and is planned for the first time."""
        kind = FLOWS[flow.topic]
        names = self.names(flow)
        if names.owns_order and names.order_id is not None:
            self.shared.take_order(names, flow.id, kind.details(flow.event))
        self.plan(flow)

    def plan(self, flow: FlowRow, replaces: int | None = None, look_first: Callable[[str], bool] | None = None) -> None:
        """Asks the flow what comes next; `replaces`: the waiting step that this ends.

        `look_first`: operations that are looked up before they are sent, since a former round may have made it.
        """
        view = self.view(flow)
        # What the ledger knows of the trader is told in the outcome, and ties calls that name one trader together.
        if flow.user_id is None and view.trader.user_id is not None:
            flow.user_id = view.trader.user_id
        if flow.trader_id is None:
            flow.trader_id = view.trader.trader_id
        planned = self._ask(flow, lambda: FLOWS[flow.topic].plan(view, self.rules))
        assert isinstance(planned, Planned)
        decision = planned.decision
        if look_first is not None and isinstance(decision, Send) and look_first(decision.operation):
            planned = Planned(replace(decision, look_first=True), planned.facts)
        self._apply(flow, planned, replaces)

    def advance(self, step: Claimed, end: StepEnd) -> None:
        """Folds a step's end into its flow, and plans on."""
        flow = step.flow
        flow.attempts = max(flow.attempts, step.attempts)
        if isinstance(end, Failed):
            end = Failed(end.code, mask(end.text, flow.event.personal_values()))
        learned = self._ask(flow, lambda: FLOWS[flow.topic].learn(self.view(flow), step.operation, end))
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
                self.wakes.add(trader_key(names.trader_id))
                self.rekeyed[names.trader_id] = user_id
        if flow.trader_id is None:
            flow.trader_id = flow.facts.get("traderId")
        if flow.facts.get("accountId") is not None:
            flow.account_id = flow.facts["accountId"]
        if names.owns_order and names.order_id is not None:
            row = self.shared.orders.get((names.order_kind, names.order_id))
            if row is not None and row.flow_id == flow.id:
                row.user_id, row.account_id = flow.user_id, flow.account_id
                row.permission_id, row.facts = flow.facts.get("tradingPermissionId"), flow.facts
                row.dirty = True
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
                    _NewStep(flow, send.operation, state, send.at or self.now, None, replaces, send.alike, send.weight)
                )
            case Wait() as wait:
                keys = sorted(wait.keys)
                self.steps.append(_NewStep(flow, PLAN, StepState.WAITING, wait.until, keys, replaces))
            case End() as end:
                self.end(flow, end)
                if replaces is not None:
                    self.steps.append(_NewStep(flow, PLAN, StepState.DONE, self.now, None, replaces))
        self._tell_pending(flow, planned.decision)

    def _tell_pending(self, flow: FlowRow, decision: Decision) -> None:
        if not isinstance(decision, End) and decision.pending:
            self._outcome(flow, Status.PENDING, None, None)

    def end(self, flow: FlowRow, end: End) -> None:
        """The flow is over: final state and outcome at once."""
        flow.state = end.status.value
        flow.error_code = end.error_code.value if end.error_code else None
        flow.error_text = end.error_text
        self._outcome(flow, end.status, flow.error_code, flow.error_text)
        names = self.names(flow)
        if self.shared.drop_maker(flow.trader_id, flow.id):
            assert flow.trader_id is not None
            self.wakes.add(trader_key(flow.trader_id))
        if names.owns_order and names.order_id is not None:
            row = self.shared.orders.get((names.order_kind, names.order_id))
            if row is not None and row.flow_id == flow.id:
                row.state, row.facts, row.dirty = flow.state, flow.facts, True
                row.error_code, row.error_text = flow.error_code, flow.error_text
                self.wakes.add(order_key(names.order_kind, names.order_id))

    def _outcome(self, flow: FlowRow, status: Status, code: str | None, text: str | None) -> None:
        facts = flow.facts
        permission = facts.get("tradingPermissionId")
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
            account_name=facts.get("accountName"),
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

    async def save(self, connection: Connection, *, insert_flows: bool = False) -> list[OutcomeRow]:
        """Writes all of it. Raises `Again` when a race was lost. Returns the outcomes, leased to this replica."""
        if insert_flows:
            await self._insert_flows(connection)
        if not await self.shared.save(connection):
            raise Again
        if not insert_flows:
            await self._update_flows(connection)
        await self._save_steps(connection)
        await self._rekey(connection)
        outcomes = await self._save_outcomes(connection)
        if self.wakes:
            await connection.execute(
                "update step set due = least(due, $2::timestamptz)"
                " where waits_for && $1::text[] and state in ('waiting', 'due')",
                list(self.wakes),
                self.now,
            )
        return outcomes

    async def _rekey(self, connection: Connection) -> None:
        """Steps that were tied together by their trader are tied by the trader's user from now on, all of them: a call
        that names the one must not be in flight beside a call that names the other.
        """
        if self.rekeyed:
            await connection.execute(
                "update step set trader_key = 'u:' || n.u from unnest($1::text[], $2::bigint[]) as n (t, u)"
                " join flow f on f.trader_id = n.t where step.flow_id = f.id and step.trader_key = 't:' || n.t"
                " and step.state in ('waiting', 'due', 'unknown', 'in_flight')",
                list(self.rekeyed),
                list(self.rekeyed.values()),
            )

    async def _insert_flows(self, connection: Connection) -> None:
        flows = list(self.changed.values())
        if not flows:
            return
        seal = self.vault.seal
        inserted = await connection.fetch(
            'insert into flow (id, topic, event_id, record_key, partition, "offset", trace, trader_id, user_id,'
            " order_id, account_id, state, attempts, facts, body, error_code, error_text, created_at, ended_at)"
            " select *, case when s = 'open' then null else c end from unnest($1::uuid[], $2::text[], $3::text[],"
            " $4::bytea[], $5::int[], $6::bigint[], $7::jsonb[], $8::text[], $9::bigint[], $10::text[], $11::bigint[],"
            " $12::text[], $13::int[], $14::jsonb[], $15::bytea[], $16::text[], $17::text[], $18::timestamptz[])"
            " as n (a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, s, a13, a14, a15, a16, a17, c)"
            " on conflict (topic, event_id) do nothing returning 1",
            [flow.id for flow in flows],
            [flow.topic for flow in flows],
            [flow.event_id for flow in flows],
            [flow.record_key for flow in flows],
            [flow.partition for flow in flows],
            [flow.offset for flow in flows],
            [flow.trace for flow in flows],
            [flow.trader_id for flow in flows],
            [flow.user_id for flow in flows],
            [flow.order_id for flow in flows],
            [flow.account_id for flow in flows],
            [flow.state for flow in flows],
            [flow.attempts for flow in flows],
            [flow.facts for flow in flows],
            [seal(flow.event.keep()) if flow.state in ("open", "in_doubt") else None for flow in flows],
            [flow.error_code for flow in flows],
            [flow.error_text for flow in flows],
            [flow.created_at for flow in flows],
        )
        if len(inserted) != len(flows):
            raise Again  # delivered to another replica too, which was quicker: read again what is known

    async def _update_flows(self, connection: Connection) -> None:
        flows = list(self.changed.values())
        if not flows:
            return
        await connection.execute(
            "update flow set user_id = n.user_id, trader_id = n.trader_id, account_id = n.account_id,"
            " state = n.state, round = n.round,"
            " attempts = n.attempts, facts = n.facts, error_code = n.error_code, error_text = n.error_text,"
            " ended_at = case when n.state = 'open' then null else $10::timestamptz end,"
            " body = case when n.state in ('open', 'in_doubt') then flow.body end"
            " from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::int[], $6::int[], $7::jsonb[],"
            " $8::text[], $9::text[], $11::text[]) as n (id, user_id, account_id, state, round, attempts, facts,"
            " error_code, error_text, trader_id) where flow.id = n.id",
            [flow.id for flow in flows],
            [flow.user_id for flow in flows],
            [flow.account_id for flow in flows],
            [flow.state for flow in flows],
            [flow.round for flow in flows],
            [flow.attempts for flow in flows],
            [flow.facts for flow in flows],
            [flow.error_code for flow in flows],
            [flow.error_text for flow in flows],
            self.now,
            [flow.trader_id for flow in flows],
        )

    async def _save_steps(self, connection: Connection) -> None:
        fresh = [step for step in self.steps if step.replaces is None]
        if fresh:
            await connection.execute(
                "insert into step (flow_id, operation, rank, state, trader_key, due, arrived, waits_for, alike, weight)"
                " select f, o, r, s, t, d, d, string_to_array(w, e'\\x1f'), a, g from unnest($1::uuid[], $2::text[],"
                " $3::smallint[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::text[], $9::smallint[])"
                " as n (f, o, r, s, t, d, w, a, g)",
                *self._step_columns(fresh, with_flow=True),
            )
        turned = [step for step in self.steps if step.replaces is not None]
        if turned:
            await connection.execute(
                "update step set operation = n.o, rank = n.r, state = n.s, trader_key = n.t, due = n.d, arrived = n.d,"
                " waits_for = string_to_array(n.w, e'\\x1f'), alike = n.a, weight = n.g, lease = null,"
                " lease_until = null,"
                " ended_at = case when n.s in ('done', 'refused') then n.d end"
                " from unnest($1::bigint[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::timestamptz[],"
                " $7::text[], $8::text[], $9::smallint[]) as n (id, o, r, s, t, d, w, a, g)"
                " where step.id = n.id and step.state = 'waiting'",
                *self._step_columns(turned, with_flow=False),
            )

    def _step_columns(self, steps: Sequence[_NewStep], *, with_flow: bool) -> list[list[Any]]:
        return [
            [step.flow.id if with_flow else step.replaces for step in steps],
            [step.operation for step in steps],
            [self.ranks.get(step.operation, 0) for step in steps],
            [step.state.value for step in steps],
            [step.flow.trader_key for step in steps],
            [step.due for step in steps],
            ["\x1f".join(step.waits_for) if step.waits_for else None for step in steps],
            [step.alike for step in steps],
            [step.weight for step in steps],
        ]

    async def _save_outcomes(self, connection: Connection) -> list[OutcomeRow]:
        if not self.outcomes:
            return []
        rows = [
            (
                outcome.outcome_id,
                flow.id if flow else None,
                outcome.topic,
                outcome.event_id,
                outcome.status.value,
                outcome_key(record_key, outcome),
                headers(outcome, self.source, trace),
                outcome.to_json(),
            )
            for flow, outcome, record_key, trace in self.outcomes
        ]
        written = await connection.fetch(
            "insert into outcome (outcome_id, flow_id, topic, event_id, status, record_key, headers, body, lease_until)"
            " select *, clock_timestamp() + make_interval(secs => $9) from unnest($1::text[], $2::uuid[], $3::text[],"
            " $4::text[], $5::text[], $6::bytea[], $7::jsonb[], $8::bytea[]) on conflict (outcome_id) do nothing"
            " returning id, topic, status, record_key, headers, body",
            *(list(column) for column in zip(*rows, strict=True)),
            OUTCOME_LEASE,
        )
        return [OutcomeRow.leased(row, self.begun + OUTCOME_LEASE) for row in written]


def outcome_key(record_key: bytes | None, outcome: Outcome) -> bytes | None:
    """The outcome's Kafka key: the input record's, or the trader, or the user."""
    if record_key is not None:
        return record_key
    if outcome.trader_id is not None:
        return outcome.trader_id.encode()
    return str(outcome.user_id).encode() if outcome.user_id is not None else None


def headers(outcome: Outcome, source: str, trace: Mapping[str, str]) -> dict[str, str]:
    """CloudEvents headers in binary mode, and the input's trace context."""
    return {
        "ce_specversion": "1.0",
        "ce_id": outcome.outcome_id,
        "ce_type": f"{outcome.topic}.outcome",
        "ce_source": source,
        "ce_time": utc_text(outcome.occurred_at),
        "content-type": "application/json",
        **trace,
    }
