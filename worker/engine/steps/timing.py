"""When a step is sent or looked up again, and when it is given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from worker.backoff import Schedule
from worker.engine.rows import Claimed, Finish, Later, Move
from worker.engine.states import StepState
from worker.engine.steps.splitting import NO_SIGNS, Signs, is_part
from worker.results import NotExecuted

NOTHING = timedelta(0)


@dataclass(frozen=True, slots=True)
class StepRules:
    """What an operation declares about how its steps recover, as far as it decides what comes next."""

    operation: str  # the vendor's name: texts give it
    looks_up: bool  # a look-up finds out whether an item took effect
    repeatable: bool  # an item may be sent again although its result is unknown
    batches: bool  # a call may have several items
    retry_for: float | None = None  # seconds, if shorter than RETRY_FOR_SECONDS
    retry_from: float = 0.0  # seconds at least between two attempts


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of a call or look-up: `schedule` of attempts, `settle` before a look-up.

    `draw` in [0, 1) is the jitter, one for all steps of a call. So steps that failed together are retried together;
    jitter for each would turn one call of a hundred items into a hundred calls. `signs`: how other calls of the
    operation have fared, as far as it matters for steps that have failed.
    """

    schedule: Schedule
    settle: timedelta
    draw: float
    signs: Signs = NO_SIGNS

    def again(self, rules: StepRules, step: Claimed, seconds: float, result: NotExecuted) -> Move:
        """The step is sent again, after the result's `wait` or the back-off; or its time has passed."""
        if result.wait is not None:
            return Later(StepState.DUE, result.wait, step.spent, step.memory, step.batch_id)
        sends = step.memory.retrying.sends + 1
        spent = step.spent + seconds
        delay = self.delay(rules, sends, spent)
        if delay is None:
            return Finish(NotExecuted(result.text or f"{rules.operation} was tried for too long."))
        memory = replace(step.memory, retrying=replace(step.memory.retrying, sends=sends))
        # A part of a batch that was split stays together, and away from others.
        batch_id = step.batch_id if is_part(memory) else None
        return Later(StepState.DUE, timedelta(seconds=delay), spent + delay, memory, batch_id)

    def delay(self, rules: StepRules, tries: int, spent: float) -> float | None:
        """Seconds before the next try, the last of which is at the end of the step's time; None after that."""
        total = self.schedule.total if rules.retry_for is None else min(self.schedule.total, rules.retry_for)
        if spent >= total:
            return None
        delay = max(self.schedule.delay(tries, lambda: self.draw), rules.retry_from * (1 + self.draw))
        return min(delay, total - spent)
