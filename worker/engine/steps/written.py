"""Steps as a transaction writes them: one that is planned, and one that moves after its call or look-up. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, assert_never

from worker.engine.changes import MovedStep, NewStep
from worker.engine.rows import Claimed, Finish, FlowRow, Later, Move
from worker.engine.states import StepState, check_move
from worker.results import Succeeded


class PlannedStep(NamedTuple):
    """A step as it was planned. Its key, and whether it is woken, follow from all that the transaction changes."""

    flow: FlowRow
    operation: str
    state: StepState
    due: datetime
    waits_for: Sequence[str] | None = None
    alike: str | None = None
    weight: int = 1
    replaces: int | None = None

    def written(self, now: datetime, wakes: Collection[str], new_key: str | None) -> NewStep:
        """The step to be written. `new_key`: the trader's key if it has just become another one."""
        woken = self.waits_for is not None and any(key in wakes for key in self.waits_for)
        return NewStep(
            self.flow.id,
            self.operation,
            self.state,
            new_key or self.flow.trader_key,
            min(self.due, now) if woken else self.due,
            self.waits_for,
            self.alike,
            self.weight,
            self.replaces,
        )


def moved_step(step: Claimed, move: Move, now: datetime, new_key: str | None) -> MovedStep:
    """The step after its move. Raises `ValueError` for a move that is not allowed.

    The partner's texts may hold personal values: they are kept masked, in the flow's outcome, and not here.
    """
    match move:
        case Finish(result=Succeeded(value=value)):
            moved = MovedStep(
                step.id,
                StepState.DONE,
                step.attempts,
                now,
                step.spent,
                {},
                step.batch_id,
                dict(value),
                new_key,
                now,
                _history(move, now),
            )
        case Finish():
            state = StepState.PARKED if move.parked else StepState.REFUSED
            ended_at = None if move.parked else now
            history = _history(move, now)
            moved = MovedStep(
                step.id, state, step.attempts, now, step.spent, {}, None, None, new_key, ended_at, history
            )
        case Later():
            moved = MovedStep(
                step.id,
                move.state,
                step.attempts,
                now + move.wait,
                move.spent,
                move.memory.to_json(),
                move.batch_id,
                None,
                new_key,
                None,
                _history(move, now),
            )
        case _:
            assert_never(move)
    check_move(step.state, moved.state)
    return moved


def _history(move: Move, now: datetime) -> Mapping[str, Any] | None:
    """The entry of the step's history: what a look-up found, and when the step is due again."""
    if isinstance(move, Finish) and move.found is None:
        return None
    entry: dict[str, Any] = {"at": now.isoformat()}
    if move.found is not None:
        entry["found"] = move.found.value
    if isinstance(move, Later):
        return entry | {"state": move.state.value, "due": (now + move.wait).isoformat()}
    return entry
