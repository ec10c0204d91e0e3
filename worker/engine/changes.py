"""What a transaction changes, as a value: the planner makes it, the ledger writes it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from schemas.outcomes import Outcome
from worker.engine.rows import DepartureRow, FlowRow, LivePermissionRow, OrderRow, TraderRow, TurnRow
from worker.engine.states import StepState


class NewStep(NamedTuple):
    """The next step of a flow; `replaces`: the waiting step that turns into it."""

    flow_id: uuid.UUID
    operation: str
    state: StepState
    trader_key: str
    due: datetime
    waits_for: Sequence[str] | None = None
    alike: str | None = None
    weight: int = 1
    replaces: int | None = None


class MovedStep(NamedTuple):
    """A step under the caller's lease, as it is after its call or look-up."""

    id: int
    state: StepState
    attempts: int
    due: datetime
    spent: float
    memory: Mapping[str, Any]
    batch_id: int | None
    result: Mapping[str, Any] | None
    trader_key: str | None  # None: it keeps the one that it has
    ended_at: datetime | None
    history: Mapping[str, Any] | None  # an entry of what the step has gone through


class ClosedStep(NamedTuple):
    """A step that an operator's action ends."""

    id: int
    state: StepState


class NewOutcome(NamedTuple):
    """An outcome to be published. `flow_id` is None for a record that became no flow."""

    outcome: Outcome
    flow_id: uuid.UUID | None
    record_key: bytes | None
    trace: Mapping[str, str]
    accepted_at: datetime | None = None  # when its event was accepted; None: it never was


@dataclass(frozen=True, slots=True)
class Changes:
    """All that one transaction writes. An end and its outcome are in the same value by construction."""

    now: datetime
    new_flows: Sequence[FlowRow] = ()
    flows: Sequence[FlowRow] = ()
    traders: Sequence[TraderRow] = ()
    orders: Sequence[OrderRow] = ()
    departures: Sequence[DepartureRow] = ()
    withdrawn: Sequence[uuid.UUID] = ()  # flows whose departures are deleted
    turns: Sequence[TurnRow] = ()
    ousted: Sequence[uuid.UUID] = ()  # flows whose step ends, if no call of it can take effect any more
    live_permissions: Sequence[LivePermissionRow] = ()
    moved: Sequence[MovedStep] = ()
    new_steps: Sequence[NewStep] = ()
    closed: Sequence[ClosedStep] = ()
    outcomes: Sequence[NewOutcome] = ()
    wakes: Sequence[str] = ()  # steps of other flows that wait for one of these keys are due now
    new_trader_keys: Mapping[str, str] = field(default_factory=dict)  # of steps: the present key, and the new one
