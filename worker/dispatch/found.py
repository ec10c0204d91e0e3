"""From what a look-up found to what the ledger writes: one move a step. Pure.

Done       the step took effect
Refused    it is somebody else's, or what it needs is not there
Absent     it did not take effect: it goes again by the schedule, or is refused if that is what was looked into
Unknown    the look-up itself was unclear: it is looked up again by the schedule, until an operator must look
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from schemas.outcomes import ErrorCode
from worker.dispatch import splitting
from worker.dispatch.retrying import NOTHING, Trying, with_context
from worker.engine.flows.base import Failed, Succeeded
from worker.engine.rows import Claimed, Finish, Found, Later, Move
from worker.engine.states import StepState
from worker.partner.operation import Item, Operation
from worker.replies import Absent, Done, Finding, Refused, Unknown

NEEDED = "needed"
"""In the context of a step that is looked up because its call was answered with an empty 404: it is asked whether what
the step needs is there."""

_FREE, _OTHERS = "free", "others"
"""In the context of a step that was looked up before it was sent: it was not there; ids of what was there instead."""


def as_looked_for(step: Claimed, item: Item) -> Item:
    """The item with what is known of its step: what was there before it was sent is not its effect.

    A call that was refused has no effect, so what is there was created by an earlier one, or by others.
    """
    sent = step.attempts > ("refused" in step.context)
    return {**item, "_sent": sent, "_free": sent and _FREE in step.context, "_others": step.context.get(_OTHERS, ())}


def looked_up(
    trying: Trying, operation: Operation, found: Sequence[tuple[Claimed, Finding]], seconds: float
) -> Sequence[Move]:
    """The moves of steps that were looked up together in `seconds`."""
    nothing = all(isinstance(finding, Absent) for _, finding in found)
    moves = [
        replace(
            _found(trying, operation, finding, step, seconds, nothing_found=nothing),
            found=_word(finding, needed=NEEDED in step.context),
        )
        for step, finding in found
    ]
    return splitting.spread(list(zip((step for step, _ in found), moves, strict=True)), trying.signs)


def _word(finding: Finding, *, needed: bool) -> Found:
    """What was found, as the step's history keeps it."""
    match finding:
        case Done():
            return Found.THERE
        case Absent():
            return Found.NEEDED_THERE if needed else Found.NOTHING
        case Refused():
            return Found.NEEDED_MISSING if needed else Found.OTHERS
        case Unknown():
            return Found.UNCLEAR
        case _:
            assert_never(finding)


def _found(
    trying: Trying, operation: Operation, finding: Finding, step: Claimed, seconds: float, *, nothing_found: bool
) -> Move:
    """The move of a step that was looked up; `nothing_found`: neither it nor any that was looked up with it."""
    if NEEDED in step.context:
        return _found_needed(trying, operation, finding, step, seconds)
    refused = step.context.get("refused")
    match finding:
        case Done(value=value):
            return Finish(Succeeded(value))
        case Refused(text=text, code=code):
            return Finish(Failed(ErrorCode(code), text))
        case Absent() if refused is not None:
            return Finish(Failed(ErrorCode.REJECTED, refused))
        case Absent() if "split" in step.context:
            context = {key: value for key, value in step.context.items() if key != "split"}
            context["atomic"] = nothing_found
            return Later(StepState.DUE, NOTHING, step.spent, context, step.context["split"])
        case Absent(others=others) if not step.attempts:
            context = {**step.context, _FREE: True, **({_OTHERS: list(others)} if others else {})}
            return Later(StepState.DUE, NOTHING, step.spent, context)
        case Absent():
            return trying.again(operation, step, seconds, None)
        case Unknown(why=why):
            return _not_found_out(trying, operation, step, seconds, why)
        case _:
            assert_never(finding)


def _found_needed(trying: Trying, operation: Operation, finding: Finding, step: Claimed, seconds: float) -> Move:
    """The step was not executed. What it needs is not there, or is, or nobody knows: then it goes again."""
    step = with_context(step, {key: value for key, value in step.context.items() if key != NEEDED})
    if isinstance(finding, Refused):
        return Finish(Failed(ErrorCode(finding.code), finding.text))
    return trying.again(operation, step, seconds, None, f"{operation.vendor} is answered with an empty 404.")


def _not_found_out(trying: Trying, operation: Operation, step: Claimed, seconds: float, why: str) -> Move:
    """The look-up itself was unclear: again by the schedule, until an operator must look."""
    looks = step.context.get("looks", 0) + 1
    spent = step.spent + seconds
    delay = trying.delay(operation, looks, spent)
    if delay is None:
        text = f"{operation.vendor} may or may not have taken effect, and the look-up has no answer ({why})."
        if "refused" in step.context:
            # this call made nothing; what a former one may have made is found by its name
            return Finish(Failed(ErrorCode.REJECTED, step.context["refused"]))
        if not step.attempts:
            text = f"What {operation.vendor} asks for could not be looked up ({why})."
        if operation.retry_for is not None or not step.attempts:
            return Finish(Failed(ErrorCode.GAVE_UP, text))
        return Finish(Failed(ErrorCode.IN_DOUBT, text), parked=True)
    context = {**step.context, "looks": looks}
    return Later(StepState.UNKNOWN, timedelta(seconds=delay), spent + delay, context, step.batch_id)
