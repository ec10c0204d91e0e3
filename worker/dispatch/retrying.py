"""When a step goes again, and when it is given up. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from schemas.outcomes import ErrorCode
from worker.backoff import Schedule
from worker.dispatch import splitting
from worker.engine.flows.base import Failed
from worker.engine.rows import Claimed, Finish, Later, Move
from worker.engine.states import StepState
from worker.ledger.call_log import NO_SIGNS, Signs
from worker.partner.operation import Operation

NOTHING = timedelta(0)


@dataclass(frozen=True, slots=True)
class Trying:
    """The rules with their settings: `schedule` of tries, `settle` before a look-up.

    `draw` in [0, 1) is the jitter, one for all steps of a call: steps that failed together are tried again together,
    where a draw for each would turn one call of a hundred items into a hundred calls. `signs`: how other calls of the
    operation have fared, as far as it matters for steps that have failed.
    """

    schedule: Schedule
    settle: timedelta
    draw: float
    signs: Signs = NO_SIGNS

    def again(
        self, operation: Operation, step: Claimed, seconds: float, wait: timedelta | None, text: str | None = None
    ) -> Move:
        if wait is not None:
            return Later(StepState.DUE, wait, step.spent, step.context, step.batch_id)
        tries = step.context.get("tries", 0) + 1
        spent = step.spent + seconds
        delay = self.delay(operation, tries, spent)
        if delay is None:
            return Finish(Failed(ErrorCode.GAVE_UP, text or f"{operation.vendor} was tried for too long."))
        context = {**step.context, "tries": tries}
        # A part of a batch that was split stays together, and away from others.
        batch_id = step.batch_id if splitting.is_part(context) else None
        return Later(StepState.DUE, timedelta(seconds=delay), spent + delay, context, batch_id)

    def delay(self, operation: Operation, tries: int, spent: float) -> float | None:
        """Seconds before the next try, the last of which is at the end of the step's time; None when that is over."""
        total = self.schedule.total if operation.retry_for is None else min(self.schedule.total, operation.retry_for)
        if spent >= total:
            return None
        delay = max(self.schedule.delay(tries, lambda: self.draw), operation.retry_from * (1 + self.draw))
        return min(delay, total - spent)


def with_context(step: Claimed, context: Mapping[str, Any]) -> Claimed:
    """The step with another context."""
    return replace(step, context=dict(context))
