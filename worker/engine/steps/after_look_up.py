"""Decides what comes next for each step of a look-up, from what was found. Pure.

Succeeded    the step took effect
Rejected     it belongs to another, or what it needs is not there
NotExecuted  it did not take effect: it is sent after the back-off, or ends with the rejection that was verified
Unknown      the look-up itself was unclear: it is repeated after a back-off, until an operator must find out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, assert_never

from worker.engine.memory import CheckingNeeds, FoundBefore, Splitting, Verifying
from worker.engine.rows import Claimed, Finish, Found, Later, Move
from worker.engine.states import StepState
from worker.engine.steps import splitting
from worker.engine.steps.timing import NOTHING, StepRules, Timing
from worker.results import NotExecuted, Rejected, Result, Succeeded, Unknown


def as_looked_for(step: Claimed, item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The item with what is known of its step: what was there before it was sent is not its effect."""
    before = step.memory.before
    # A call that was rejected has no effect; what is there was made by an earlier one, or by others.
    sent = step.attempts > isinstance(step.memory.why, Verifying)
    return {
        **item,
        "_sent": sent,
        "_free": sent and before is not None,
        "_others": before.others if before is not None else (),
    }


def sent_if_absent(step: Claimed) -> bool:
    """Whether the step has been sent, and is sent again if the look-up does not find it."""
    return bool(step.attempts) and not isinstance(step.memory.why, Verifying)


def checks_needs(step: Claimed) -> bool:
    """Whether the look-up is about what the step needs, and not about the step."""
    return isinstance(step.memory.why, CheckingNeeds)


def after_look_up(
    timing: Timing, rules: StepRules, found: Sequence[tuple[Claimed, Result]], seconds: float
) -> Sequence[Move]:
    """What comes next for steps that were looked up together in `seconds`."""
    nothing = all(isinstance(result, NotExecuted) for _, result in found)
    moves = [
        replace(
            _move(timing, rules, result, step, seconds, nothing_of=len(found) if nothing else 0),
            found=_found(result, needed=checks_needs(step)),
        )
        for step, result in found
    ]
    return splitting.assign_parts(list(zip((step for step, _ in found), moves, strict=True)), timing.signs)


def _found(result: Result, *, needed: bool) -> Found:
    """What was found, as the step's history keeps it."""
    match result:
        case Succeeded():
            return Found.THERE
        case NotExecuted():
            return Found.NEEDED_THERE if needed else Found.NOTHING
        case Rejected():
            return Found.NEEDED_MISSING if needed else Found.OTHERS
        case Unknown():
            return Found.UNCLEAR
        case _:
            assert_never(result)


def _move(timing: Timing, rules: StepRules, result: Result, step: Claimed, seconds: float, *, nothing_of: int) -> Move:
    """`nothing_of`: of so many steps, looked up together, none was found; 0 if one was."""
    match step.memory.why, result:
        case CheckingNeeds(), _:
            return _needs_checked(timing, rules, result, step, seconds)
        case _, Succeeded() | Rejected():
            return Finish(result)
        case _, Unknown(text=text):
            return _not_found_out(timing, rules, step, seconds, text)
        case Verifying(rejection=rejection), NotExecuted():
            return Finish(Rejected(rejection))
        case Splitting(batch_id=batch_id, size=size), NotExecuted():
            # A part of the batch proves nothing of the whole.
            memory = replace(step.memory, why=None, all_or_nothing=nothing_of == size)
            return Later(StepState.DUE, NOTHING, step.spent, memory, batch_id)
        case None, NotExecuted(others=others) if not step.attempts:
            before = step.memory.before
            known = others or (before.others if before is not None else ())
            return Later(StepState.DUE, NOTHING, step.spent, replace(step.memory, before=FoundBefore(known)))
        case None, NotExecuted():
            return timing.again(rules, step, seconds, NotExecuted())
        case _:
            raise AssertionError(result)


def _needs_checked(timing: Timing, rules: StepRules, result: Result, step: Claimed, seconds: float) -> Move:
    """The step was not executed. If what it needs is there, or that could not be found out, it is sent again."""
    if isinstance(result, Rejected):
        return Finish(result)
    step = replace(step, memory=replace(step.memory, why=None))
    return timing.again(rules, step, seconds, NotExecuted(f"{rules.operation} is answered with an empty 404."))


def _not_found_out(timing: Timing, rules: StepRules, step: Claimed, seconds: float, why: str) -> Move:
    """The look-up itself was unclear: repeated after a back-off, until an operator must find out."""
    look_ups = step.memory.retrying.look_ups + 1
    spent = step.spent + seconds
    delay = timing.delay(rules, look_ups, spent)
    if delay is None:
        if isinstance(step.memory.why, Verifying):
            # this call made nothing; what an earlier one may have made is found by its name
            return Finish(Rejected(step.memory.why.rejection))
        if not step.attempts:
            return Finish(NotExecuted(f"What {rules.operation} asks for could not be looked up ({why})."))
        text = f"{rules.operation} may or may not have taken effect, and the look-up has no answer ({why})."
        return Finish(Unknown(text, given_up=rules.retry_for is not None))
    memory = replace(step.memory, retrying=replace(step.memory.retrying, look_ups=look_ups))
    return Later(StepState.UNKNOWN, timedelta(seconds=delay), spent + delay, memory, step.batch_id)
