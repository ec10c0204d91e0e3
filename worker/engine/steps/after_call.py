"""From the results of a call to what comes next for each of its steps. Pure.

Succeeded    the step has ended
Rejected     the step has ended; or it is looked up first, if the rejection may be about what an earlier call made
NotExecuted  it is sent again after the back-off, or when what holds it back has ended
Unknown      it is looked up after the settle time; where there is no look-up, an operator must find out
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, assert_never

from worker.engine.memory import CheckingNeeds, Splitting, TicketPlace, Verifying
from worker.engine.rows import Claimed, Finish, Later, Move
from worker.engine.states import SharedBatch, StepState
from worker.engine.steps import splitting
from worker.engine.steps.timing import NOTHING, StepRules, Timing
from worker.results import CallEnd, CallResult, NotExecuted, Rejected, Result, Succeeded, Unknown


class Sent(NamedTuple):
    """A step that was in a call. `parts`: how many things it asks for; `has_needs`: it needs what can be read."""

    step: Claimed
    parts: int = 1
    has_needs: bool = False


def after_call(
    timing: Timing, rules: StepRules, call: CallResult, batch: Sequence[Sent], *, seconds: float, call_id: int
) -> Sequence[Move]:
    """What comes next for the steps of a call that took `seconds`."""
    moves = _moves(timing, rules, call, batch, seconds, call_id)
    return splitting.assign_parts(list(zip((sent.step for sent in batch), moves, strict=True)), timing.signs)


def _moves(
    timing: Timing, rules: StepRules, call: CallResult, batch: Sequence[Sent], seconds: float, call_id: int
) -> Sequence[Move]:
    match call.end:
        case CallEnd.REJECTED:
            return _rejected_whole(rules, [sent.step for sent in batch], call_id)
        case CallEnd.TICKET:
            return _with_ticket(call.results, [sent.step for sent in batch], call_id)
        case CallEnd.CAPTCHA:
            return [Later(StepState.DUE, NOTHING, sent.step.spent, sent.step.memory) for sent in batch]
        case CallEnd.EMPTY:
            failed = _failed(rules, batch, call_id)
            return [
                _empty(timing, rules, result, sent._replace(step=step), seconds)
                for sent, step, result in zip(batch, failed, call.results, strict=True)
            ]
        case CallEnd.FAILED:
            steps = _failed(rules, batch, call_id)
        case CallEnd.ANSWERED:
            steps = [sent.step for sent in batch]
        case _:
            assert_never(call.end)
    return [_move(timing, rules, result, step, seconds) for step, result in zip(steps, call.results, strict=True)]


def _move(timing: Timing, rules: StepRules, result: Result, step: Claimed, seconds: float) -> Move:
    match result:
        case Rejected(text=text, verify=True) if rules.looks_up:
            memory = replace(step.memory, why=Verifying(text))
            return Later(StepState.UNKNOWN, NOTHING, step.spent + seconds, memory)
        case Succeeded() | Rejected():
            return Finish(result)
        case NotExecuted():
            return timing.again(rules, step, seconds, result)
        case Unknown():
            return after_unknown(timing, rules, step, seconds, result)
        case _:
            assert_never(result)


def _rejected_whole(rules: StepRules, steps: Sequence[Claimed], call_id: int) -> Sequence[Move]:
    """A batch that is rejected as a whole is halved until the item that is rejected is alone.

    The vendor does not say that a rejected batch left nothing behind. So the first rejection is followed by one look-up
    in bulk. Once a look-up has found nothing, the batch is known to be all or nothing, and its halves are sent without
    another look-up.
    """
    moves: list[Move] = []
    half = (len(steps) + 1) // 2
    for index, step in enumerate(steps):
        batch_id = (SharedBatch.FIRST_HALF if index < half else SharedBatch.SECOND_HALF).of(call_id)
        memory = splitting.split_off(step.memory, call_id)
        if rules.repeatable or memory.all_or_nothing or not rules.looks_up:
            moves.append(Later(StepState.DUE, NOTHING, step.spent, memory, batch_id))
        else:
            memory = replace(memory, why=Splitting(batch_id, len(steps)))
            moves.append(Later(StepState.UNKNOWN, NOTHING, step.spent, memory, SharedBatch.LOOKED_UP.of(call_id)))
    return moves


def _with_ticket(results: Sequence[Result], steps: Sequence[Claimed], call_id: int) -> Sequence[Move]:
    """The same body is sent again with the ticket, so each step keeps its place in it."""
    moves: list[Move] = []
    for place, (step, result) in enumerate(zip(steps, results, strict=True)):
        assert isinstance(result, NotExecuted)
        memory = replace(step.memory, ticket=TicketPlace(place))
        batch_id = SharedBatch.TICKET.of(call_id)
        moves.append(Later(StepState.DUE, result.wait or NOTHING, step.spent, memory, batch_id))
    return moves


def _empty(timing: Timing, rules: StepRules, result: Result, sent: Sent, seconds: float) -> Move:
    """Sent again. An empty 404 or 405 may come of a wrong host, or of an item that needs what is not there.

    Which, is asked after the second such response, and then less and less often; the first is followed by a renewal,
    which brings the right host.
    """
    step, empty = sent.step, sent.step.memory.retrying.empty + 1
    memory = replace(step.memory, retrying=replace(step.memory.retrying, empty=empty))
    if empty >= 2 and empty & (empty - 1) == 0 and sent.has_needs:
        memory = replace(memory, why=CheckingNeeds())
        return Later(StepState.UNKNOWN, NOTHING, step.spent + seconds, memory)
    return _move(timing, rules, result, replace(step, memory=memory), seconds)


def after_unknown(timing: Timing, rules: StepRules, step: Claimed, seconds: float, result: Unknown) -> Move:
    """The step may or may not have taken effect."""
    if rules.looks_up:
        wait = timing.settle if result.wait is None else result.wait
        return Later(StepState.UNKNOWN, wait, step.spent + seconds, step.memory)
    if rules.repeatable:
        return timing.again(rules, step, seconds, NotExecuted(f"{rules.operation}: {result.text}"))
    text = f"{rules.operation} may or may not have taken effect ({result.text}); an operator must look."
    return Finish(Unknown(text))


def _failed(rules: StepRules, batch: Sequence[Sent], call_id: int) -> list[Claimed]:
    if not rules.batches:
        return [sent.step for sent in batch]  # one request, whatever the number of its steps
    return [replace(sent.step, memory=splitting.noted(sent.step, call_id, len(batch), sent.parts)) for sent in batch]
