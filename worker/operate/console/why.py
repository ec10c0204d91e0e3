"""Why a flow waits, in one sentence for the operator on call. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from worker.ledger import holds
from worker.ledger.holds import Hold
from worker.ledger.state_summary import Standing
from worker.operate.console.display import when
from worker.operate.wait_words import wait_keys
from worker.partner.operations import OPERATIONS


@dataclass(frozen=True, slots=True)
class Step:
    """The step that a flow is at, as far as it explains the wait."""

    operation: str
    state: str
    due: datetime
    waits_for: Sequence[str] = ()
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class CallConditions:
    """What keeps calls back just now. `windows`: operations that wait out the partner's maintenance, until when. What
    is left of the budget is left for operations that may not use the reserve.
    """

    now: datetime
    held: Sequence[Hold] = ()
    budget_left: int = 1
    minute_left: int = 1
    budget_free_at: datetime | None = None
    windows: Mapping[str, datetime] = field(default_factory=dict)


def world_of(stands: Standing, windows: Mapping[str, datetime]) -> CallConditions:
    """As the ledger stands."""
    budget = stands.budget
    return CallConditions(
        stands.now, stands.holds, budget.ordinary_left, budget.ordinary_minute_left, budget.free_again_at, windows
    )


def why(step: Step | None, world: CallConditions) -> str:
    """One sentence."""
    if step is None:
        return "It is between two steps, or was left by a replica that died; it goes on within a minute."
    match step.state:
        case "parked":
            return f"Nobody can look up whether {step.operation} took effect: an operator must look, and resolve it."
        case "in_flight":
            return f"Its call of {step.operation} is under way."
        case "waiting":
            return _waits(step, world.now)
        case _:
            pass
    return _later(step) if step.due > world.now else _ready(step, world)


def _ready(step: Step, world: CallConditions) -> str:
    if (hold := _hold(step, world.held)) is not None:
        ending = f"until {when(hold.until)}" if hold.until else "until an operator ends it"
        return f"{step.operation} is held back {ending}: {hold.why}."
    if step.operation in world.windows and step.state == "due":
        return f"{step.operation} waits out Tradovate's maintenance, until {when(world.windows[step.operation])}."
    reserve = step.operation in OPERATIONS and OPERATIONS[step.operation].limits.reserve
    if world.budget_left <= 0 and not reserve:
        free = f"; the next call is free at {when(world.budget_free_at)}" if world.budget_free_at else ""
        return f"{step.operation} waits for the hour's budget{free}."
    if world.minute_left <= 0 and not reserve:
        return f"{step.operation} waits for the minute's budget; calls are free again within a minute."
    look = "to be looked up" if step.state == "unknown" else "to be sent"
    waits = "it waits for its turn, for others to share its call, or for a call that names the same trader"
    return f"{step.operation} is ready {look}: {waits}."


def _waits(step: Step, now: datetime) -> str:
    ending = f", until {when(step.due)} at the latest" if step.due > now else ""
    if not step.waits_for:
        return f"It waits for its time{ending}."
    return f"It waits for {wait_keys(step.waits_for)}{ending}."


def _later(step: Step) -> str:
    at = when(step.due)
    if step.state == "unknown":
        return f"Whether {step.operation} took effect is not known; it is looked up at {at}."
    if step.attempts:
        return f"{step.operation} was tried {step.attempts} times and is tried again at {at}."
    return f"{step.operation} is due at {at}."


def _hold(step: Step, held: Sequence[Hold]) -> Hold | None:
    scopes = {
        holds.ALL,
        holds.PAUSE_ALL,
        holds.LOGIN,
        holds.pause_scope(step.operation),
        holds.endpoint_scope(step.operation),
    }
    return holds.longest([hold for hold in held if hold.scope in scopes])
