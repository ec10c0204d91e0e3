"""From what the partner said to what the ledger writes: one move a step. Pure.

Done       the step is done
Refused    it will not be - unless the refusal may be about something that we made before: then it is looked up
NotHandled it goes again by the schedule, or when what holds it back is over
Unknown    it is looked up after the settle time; what cannot be looked up is parked for a person
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_never

from schemas.outcomes import ErrorCode
from schemas.privacy import mask
from worker.backoff import Schedule
from worker.flows.base import Failed, Succeeded
from worker.ledger.rows import Claimed, Company, Finish, Later, Move, StepState
from worker.replies import (
    Absent,
    Answer,
    Done,
    Finding,
    NotExecuted,
    NotHandled,
    NotSent,
    Refusal,
    Refused,
    Reply,
    Result,
    Silence,
    Ticket,
    Unauthorized,
    Unclear,
    Unknown,
)
from worker.tradovate.operation import Item, Operation, Resend

NOTHING = timedelta(0)

AT_ONCE = timedelta(milliseconds=200)
"""Before a step goes again whose token was not accepted: nothing beside a call, and enough not to spin."""


@dataclass(frozen=True, slots=True)
class Settler:
    """The rules with their settings: `schedule` of tries, `settle` before a look-up.

    `draw` in [0, 1) is the jitter, one for all steps of a call: steps that failed together are tried again together,
    where a draw for each would turn one call of a hundred items into a hundred calls.
    """

    schedule: Schedule
    settle: timedelta
    draw: float

    def call(
        self,
        operation: Operation,
        reply: Reply,
        batch: Sequence[tuple[Claimed, Item]],
        *,
        seconds: float,
        call_id: int,
        denied: bool = False,
    ) -> Sequence[Move]:
        """The moves of a batch after its call took `seconds`. `denied`: a 401 that another token would not cure."""
        items = [item for _, item in batch]
        match reply:
            case Answer(body=body):
                results = operation.results(body, items)
            case Refusal() as refusal:
                return self._refused_whole(operation, refusal, batch, seconds, call_id)
            case Unclear(why=why):
                results = [Unknown(why)] * len(batch)
            case NotSent(why=why) | NotExecuted(why=why):
                results = [NotHandled(why)] * len(batch)
            case Silence(status=status):
                results = [NotHandled(f"HTTP {status}", NOTHING)] * len(batch)
            case Ticket(wait=wait, captcha=captcha):
                company = None if captcha else Company.TICKET.of(call_id)
                return [
                    # The place in the body is kept: results are told apart by nothing else.
                    Later(
                        StepState.DUE,
                        NOTHING if captcha else wait,
                        step.spent,
                        {**step.context, "place": place},
                        company,
                    )
                    for place, (step, _) in enumerate(batch)
                ]
            case Unauthorized(text=text):
                return [self._unauthorized(step, text, denied) for step, _ in batch]
            case _:
                assert_never(reply)
        return [
            self._result(operation, result, step, seconds) for (step, _), result in zip(batch, results, strict=True)
        ]

    def _result(self, operation: Operation, result: Result, step: Claimed, seconds: float) -> Move:
        match result:
            case Done(value=value):
                return Finish(Succeeded(_masked(value, step)))
            case Refused() as refused:
                return self._refused(operation, refused, step, seconds)
            case NotHandled(wait=wait):
                return self._again(operation, step, seconds, wait)
            case Unknown(why=why, wait=wait):
                return self.unknown(operation, step, seconds, self.settle if wait is None else wait, why)
            case _:
                assert_never(result)

    def _refused(
        self, operation: Operation, refused: Refused, step: Claimed, seconds: float, said: str | None = None
    ) -> Move:
        """`said`: the partner's errorCode."""
        already = operation.already(refused.text, said)
        if already is not None:
            return Finish(Succeeded(already.value))
        if operation.refusal_is_doubt:
            return Finish(Failed(ErrorCode.IN_DOUBT, refused.text), parked=True)
        if operation.doubt_refusals and operation.look_up is not None and not operation.certain(refused.text):
            # Kept while it is looked up, so it is masked here: contexts are not encrypted.
            context = {**step.context, "refused": mask(refused.text, step.flow.event.personal_values())}
            return Later(StepState.UNKNOWN, NOTHING, step.spent + seconds, context)
        return Finish(Failed(ErrorCode(refused.code), refused.text))

    def _refused_whole(
        self,
        operation: Operation,
        refusal: Refusal,
        batch: Sequence[tuple[Claimed, Item]],
        seconds: float,
        call_id: int,
    ) -> Sequence[Move]:
        """A batch that is refused as a whole is halved until the culprit is alone.

        Nobody says that a refused batch left nothing behind. So the first refusal is followed by one look in bulk at
        what was there before; once a look has found nothing, the batch is known to be all or nothing, and its halves
        go without one.
        """
        if len(batch) == 1 or operation.joined:
            return [self._refused(operation, Refused(refusal.text), step, seconds, refusal.code) for step, _ in batch]
        moves: list[Move] = []
        half = (len(batch) + 1) // 2
        for index, (step, _) in enumerate(batch):
            company = (Company.FIRST_HALF if index < half else Company.SECOND_HALF).of(call_id)
            atomic = operation.resend is Resend.ALWAYS or step.context.get("atomic", False)
            if atomic or operation.look_up is None:
                moves.append(Later(StepState.DUE, NOTHING, step.spent, step.context, company))
            else:
                context = {**step.context, "split": company}
                moves.append(Later(StepState.UNKNOWN, NOTHING, step.spent, context, Company.LOOKED_UP.of(call_id)))
        return moves

    def _unauthorized(self, step: Claimed, text: str, denied: bool) -> Move:
        """A token that is not accepted is replaced and the step goes again; a missing permission is a refusal."""
        if denied:
            return Finish(Failed(ErrorCode.REJECTED, text or "Access is denied"))
        return Later(StepState.DUE, AT_ONCE, step.spent, step.context, step.company)

    def _again(
        self, operation: Operation, step: Claimed, seconds: float, wait: timedelta | None, text: str | None = None
    ) -> Move:
        if wait is not None:
            return Later(StepState.DUE, wait, step.spent, step.context, step.company)
        tries = step.context.get("tries", 0) + 1
        spent = step.spent + seconds
        delay = self._delay(operation, tries, spent)
        if delay is None:
            return Finish(Failed(ErrorCode.GAVE_UP, text or f"{operation.vendor} was tried for too long."))
        return Later(StepState.DUE, timedelta(seconds=delay), spent + delay, {**step.context, "tries": tries})

    def _delay(self, operation: Operation, tries: int, spent: float) -> float | None:
        """Seconds before the next try, the last of which is at the end of the step's time; None when that is over."""
        total = self.schedule.total if operation.retry_for is None else min(self.schedule.total, operation.retry_for)
        if spent >= total:
            return None
        delay = max(self.schedule.delay(tries, lambda: self.draw), operation.retry_from * (1 + self.draw))
        return min(delay, total - spent)

    def unknown(self, operation: Operation, step: Claimed, seconds: float, wait: timedelta, why: str) -> Move:
        """The step may or may not have taken effect."""
        if operation.look_up is None:
            if operation.resend is Resend.ALWAYS:
                return self._again(operation, step, seconds, None, why)
            text = f"{operation.vendor} may or may not have taken effect ({why}); a person must look."
            return Finish(Failed(ErrorCode.IN_DOUBT, text), parked=True)
        return Later(StepState.UNKNOWN, wait, step.spent + seconds, step.context)

    def found(
        self, operation: Operation, finding: Finding, step: Claimed, seconds: float, *, nothing_found: bool
    ) -> Move:
        """The move of a step that was looked up; `nothing_found`: neither it nor any that was looked up with it."""
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
            case Absent() if not step.attempts:
                return Later(StepState.DUE, NOTHING, step.spent, step.context)
            case Absent():
                return self._again(operation, step, seconds, None)
            case Unknown(why=why):
                return self.not_found_out(operation, step, seconds, why)
            case _:
                assert_never(finding)

    def not_found_out(self, operation: Operation, step: Claimed, seconds: float, why: str) -> Move:
        """The look-up itself was unclear: again by the schedule, until a person must look."""
        looks = step.context.get("looks", 0) + 1
        spent = step.spent + seconds
        delay = self._delay(operation, looks, spent)
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
        return Later(StepState.UNKNOWN, timedelta(seconds=delay), spent + delay, context, step.company)


def _masked(value: Mapping[str, Any], step: Claimed) -> Mapping[str, Any]:
    """What a step tells, with the partner's own words (`message`) masked: they are kept and published."""
    if "message" not in value:
        return value
    return {**value, "message": mask(value["message"], step.flow.event.personal_values())}
