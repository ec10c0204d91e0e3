"""From what the partner said to what the ledger writes: one move a step. Pure.

Done       the step is done
Refused    it will not be - unless the refusal may be about something that we made before: then it is looked up
NotHandled it goes again by the schedule, or when what holds it back is over
Unknown    it is looked up after the settle time; what cannot be looked up is parked for an operator
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, assert_never

from schemas.outcomes import ErrorCode
from schemas.privacy import mask
from worker.dispatch import splitting
from worker.dispatch.found import NEEDED
from worker.dispatch.retrying import NOTHING, Trying, with_context
from worker.engine.flows.base import Failed, Succeeded
from worker.engine.rows import Claimed, Finish, Later, Move
from worker.engine.states import SharedBatch, StepState
from worker.partner.operation import Item, Operation, Resend
from worker.partner.permission_classes import access_of
from worker.replies import (
    Answer,
    Done,
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

AT_ONCE = timedelta(milliseconds=200)
"""Before a step goes again whose token was not accepted: nothing beside a call, and enough not to spin."""

_EMPTY = "empty"
"""In a step's context: how often its call was answered with an empty 404 or 405."""


class Settler(Trying):
    """What a call comes to."""

    __slots__ = ()

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
        moves = self._moves(operation, reply, batch, seconds, call_id, denied=denied)
        return splitting.spread(list(zip((step for step, _ in batch), moves, strict=True)), self.signs)

    def _moves(
        self,
        operation: Operation,
        reply: Reply,
        batch: Sequence[tuple[Claimed, Item]],
        seconds: float,
        call_id: int,
        *,
        denied: bool,
    ) -> Sequence[Move]:
        steps = [step for step, _ in batch]
        match reply:
            case Answer(body=body):
                results = operation.read(body, [item for _, item in batch])
            case Unclear(why=why):
                results, steps = [Unknown(why)] * len(batch), _failed(operation, batch, call_id)
            case Refusal() as refusal:
                return self._refused_whole(operation, refusal, batch, seconds, call_id)
            case Unauthorized(text=text, said=True) if denied:
                return self._refused_whole(operation, Refusal(text, 401), batch, seconds, call_id)
            case Unauthorized(text=text):
                return self._unauthorized(operation, text, batch, seconds, call_id, denied=denied)
            case NotExecuted() as not_executed:
                return self._not_executed(operation, not_executed, batch, seconds, call_id)
            case NotSent(why=why):
                results = [NotHandled(why)] * len(batch)
            case Silence(status=status):
                results = [NotHandled(f"HTTP {status}", NOTHING)] * len(batch)
            case Ticket(wait=wait, captcha=captcha):
                batch_id = None if captcha else SharedBatch.TICKET.of(call_id)
                return [
                    # The place in the body is kept: results are told apart by nothing else.
                    Later(
                        StepState.DUE,
                        NOTHING if captcha else wait,
                        step.spent,
                        {**step.context, "place": place},
                        batch_id,
                    )
                    for place, step in enumerate(steps)
                ]
            case _:
                assert_never(reply)
        return [self._result(operation, result, step, seconds) for step, result in zip(steps, results, strict=True)]

    def _result(self, operation: Operation, result: Result, step: Claimed, seconds: float) -> Move:
        match result:
            case Done(value=value):
                return Finish(Succeeded(_masked(value, step)))
            case Refused() as refused:
                return self._refused(operation, refused, step, seconds)
            case NotHandled(wait=wait):
                return self.again(operation, step, seconds, wait)
            case Unknown(why=why, wait=wait):
                return self.unknown(operation, step, seconds, self.settle if wait is None else wait, why)
            case _:
                assert_never(result)

    def _refused(self, operation: Operation, refused: Refused, step: Claimed, seconds: float) -> Move:
        already = operation.already(refused.text)
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
        """A batch that is refused as a whole is halved until the item that is refused is alone.

        Nobody says that a refused batch left nothing behind. So the first refusal is followed by one look in bulk at
        what was there before; once a look has found nothing, the batch is known to be all or nothing, and its halves
        go without one.
        """
        if len(batch) == 1 or operation.joined:
            return [self._refused(operation, Refused(refusal.text), step, seconds) for step, _ in batch]
        moves: list[Move] = []
        half = (len(batch) + 1) // 2
        for index, (step, _) in enumerate(batch):
            batch_id = (SharedBatch.FIRST_HALF if index < half else SharedBatch.SECOND_HALF).of(call_id)
            context = splitting.split_off(step.context, call_id)
            atomic = operation.resend is Resend.ALWAYS or step.context.get("atomic", False)
            if atomic or operation.look_up is None:
                moves.append(Later(StepState.DUE, NOTHING, step.spent, context, batch_id))
            else:
                context = {**context, "split": batch_id}
                moves.append(Later(StepState.UNKNOWN, NOTHING, step.spent, context, SharedBatch.LOOKED_UP.of(call_id)))
        return moves

    def _unauthorized(
        self,
        operation: Operation,
        text: str,
        batch: Sequence[tuple[Claimed, Item]],
        seconds: float,
        call_id: int,
        *,
        denied: bool,
    ) -> Sequence[Move]:
        """A token that is not accepted is replaced, and the steps go again. If another token would not help, the key
        lacks a permission, or one item is another firm's: no event is at fault, and an operator may set it right.
        """
        if not denied:
            return [Later(StepState.DUE, AT_ONCE, step.spent, step.context, step.batch_id) for step, _ in batch]
        why = not_permitted(operation, text)
        return [self.again(operation, step, seconds, None, why) for step in _failed(operation, batch, call_id)]

    def _not_executed(
        self,
        operation: Operation,
        reply: NotExecuted,
        batch: Sequence[tuple[Claimed, Item]],
        seconds: float,
        call_id: int,
    ) -> Sequence[Move]:
        """Goes again. An empty 404 or 405 may come of a wrong host, or of an item that needs what is not there.

        Which, is asked after the second such response, and then ever less often; the first is followed by a renewal,
        which brings the right host.
        """
        why = f"{operation.vendor}: {reply.why}"
        if reply.status not in (404, 405):
            return [self.again(operation, step, seconds, None, why) for step, _ in batch]
        moves: list[Move] = []
        failed = _failed(operation, batch, call_id)
        for step, (_, item) in zip(failed, batch, strict=True):
            times = step.context.get(_EMPTY, 0) + 1
            context = {**step.context, _EMPTY: times}
            if times >= 2 and times & (times - 1) == 0 and operation.needs(item):
                moves.append(Later(StepState.UNKNOWN, NOTHING, step.spent + seconds, {**context, NEEDED: True}))
            else:
                moves.append(self.again(operation, with_context(step, context), seconds, None, why))
        return moves

    def unknown(self, operation: Operation, step: Claimed, seconds: float, wait: timedelta, why: str) -> Move:
        """The step may or may not have taken effect."""
        if operation.look_up is None:
            if operation.resend is Resend.ALWAYS:
                return self.again(operation, step, seconds, None, f"{operation.vendor}: {why}")
            text = f"{operation.vendor} may or may not have taken effect ({why}); an operator must look."
            return Finish(Failed(ErrorCode.IN_DOUBT, text), parked=True)
        return Later(StepState.UNKNOWN, wait, step.spent + seconds, step.context)


def judged(operation: Operation, reply: Reply, items: Sequence[Item]) -> Reply:
    """The reply, with an answer that proves nothing of any item as what it is: unclear.

    One that was carried out and has only to be verified (its items are unknown, and may be looked up at once) stands.
    """
    if not isinstance(reply, Answer):
        return reply
    results = operation.read(reply.body, items)
    unknown = [result for result in results if isinstance(result, Unknown) and result.wait is None]
    return reply if len(unknown) < len(results) else Unclear(unknown[0].why, 200)


def not_permitted(operation: Operation, text: str) -> str:
    """What is told of a call that is answered 401 although the token is good."""
    said = f": {text}" if text else ""
    return (
        f"Tradovate does not permit {operation.vendor} to this API key (401 with a good token{said}). The key needs "
        f"{access_of(operation.path)}; a new device must be approved by e-mail."
    )


def _failed(operation: Operation, batch: Sequence[tuple[Claimed, Item]], call_id: int) -> list[Claimed]:
    if operation.most == 1:
        return [step for step, _ in batch]  # one request, whatever the number of its steps
    return [
        with_context(step, splitting.noted(step, call_id, len(batch), operation.parts(item))) for step, item in batch
    ]


def _masked(value: Mapping[str, Any], step: Claimed) -> Mapping[str, Any]:
    """What a step tells, with the partner's own words (`message`) masked: they are kept and published."""
    if "message" not in value:
        return value
    return {**value, "message": mask(value["message"], step.flow.event.personal_values())}
