"""A batch that fails again and again is halved until the item that makes it fail is alone. Pure.

A call fails when nothing is known of any of its items, or when it was not executed and no item is known to be why. It
may be one item's fault, or the partner's. So a batch is split in two after its second failure. A half that fails is
split further at once only if the partner has answered a call of that operation since the whole failed, for example the
other half. Without such a sign a part must fail more often each time before it is split again; so must a whole batch,
if others fail beside it. While the partner is away for all, splitting would only multiply the calls.

What a step remembers of its failures is a `BatchFailures` in its memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from worker.engine.memory import BatchFailures, Memory
from worker.engine.rows import Claimed, Finish, Later, Move
from worker.engine.states import SharedBatch, StepState
from worker.results import NotExecuted


@dataclass(frozen=True, slots=True)
class Signs:
    """How calls of an operation have fared: the newest that the partner answered (0: none), and how many failed."""

    answered: int = 0
    failed: int = 0


NO_SIGNS = Signs()

AGAIN = 2
"""Failures of a whole batch, and of its halves, before they are split without a sign that the partner is well."""


CROWD = 3
"""Failed calls, a batch's own among them, that look like the partner's fault if none was answered meanwhile."""


FEW = 4
"""Steps of a part that is small: to split it costs one call more, and a good step must not wait a day because of a bad
one."""

FEW_FAILURES = 8
"""Failures of a small part before it is split without a sign: some ten minutes of back-off."""


def patience(depth: int, failed: int = 1, size: int = 100) -> int:
    """Failures before a part of that depth is split without a sign: 2, 2, 8, 32, ... If `CROWD` calls or more have
    failed: 8, 8, 32, 128, ... For a part of `FEW` steps or fewer: `FEW_FAILURES` at most.
    """
    steps = depth if failed < CROWD else max(depth + 1, 2)
    failures = AGAIN << 2 * max(0, steps - 1)
    return min(failures, FEW_FAILURES) if size <= FEW else failures


def noted(step: Claimed, call_id: int, size: int, parts: int) -> Memory:
    """The step's memory after the call that it was in has failed."""
    before = step.memory.failures
    return step.memory.with_failures(
        BatchFailures(
            call=call_id,
            count=1 if before is None else before.count + 1,
            depth=0 if before is None else before.depth,
            since=call_id if before is None else before.call,
            size=size,
            parts=parts,
            batch_id=step.batch_id,
            undecided=True,
        )
    )


def split_off(memory: Memory, call_id: int) -> Memory:
    """The memory of a step in a half of the batch of that call."""
    depth = 0 if memory.failures is None else memory.failures.depth
    return memory.with_failures(BatchFailures(call=call_id, depth=depth + 1))


def is_part(memory: Memory) -> bool:
    """Whether the step is in a part of a batch that was split."""
    return memory.failures is not None and memory.failures.depth > 0


def failed_before(steps: Sequence[Claimed]) -> int | None:
    """The call since which a sign counts, for steps that have failed; None when none has."""
    return min((step.memory.failures.before for step in steps if step.memory.failures is not None), default=None)


def assign_parts(pairs: Sequence[tuple[Claimed, Move]], signs: Signs) -> list[Move]:
    """The moves of a call or a look-up, those of failed steps that are sent again with the part that they belong to.

    `signs`: how other calls of the operation have fared since these failed before.
    """
    moves = [move for _, move in pairs]
    failed: dict[int, list[int]] = defaultdict(list)
    for place, move in enumerate(moves):
        if isinstance(move, Later) and move.state is StepState.DUE:
            failures = move.memory.failures
            if failures is not None and failures.undecided:
                failed[failures.call].append(place)
    for call_id, places in failed.items():
        suspects = [place for place in places if _suspect(_failures(moves[place]))]
        for place in places:
            moves[place] = _kept(moves[place])
        for place, move in _parts(call_id, {place: moves[place] for place in suspects}, signs).items():
            moves[place] = move
    return moves


def _failures(move: Move) -> BatchFailures:
    assert isinstance(move, Later)
    assert move.memory.failures is not None
    return move.memory.failures


def _suspect(failures: BatchFailures) -> bool:
    """Whether the step was in a call that failed before: one that shared it for the first time is not split."""
    return failures.depth > 0 or failures.count >= AGAIN


def _kept(move: Move) -> Later:
    """The move with what was decided: it stays in its part."""
    assert isinstance(move, Later)
    failures = _failures(move)
    batch_id = failures.batch_id if failures.depth > 0 else None
    memory = move.memory.with_failures(replace(failures, undecided=False))
    return replace(move, batch_id=batch_id, memory=memory)


def _parts(call_id: int, moves: Mapping[int, Move], signs: Signs) -> Mapping[int, Move]:
    if not moves:
        return {}
    failures = _failures(next(iter(moves.values())))
    signed = signs.answered > failures.before
    if len(moves) == 1:
        if failures.size == 1:
            return _divided(moves) if failures.parts > 1 else {}  # alone already
    elif not signed and failures.count < patience(failures.depth, signs.failed, len(moves)):
        return {}
    half = (len(moves) + 1) // 2
    parts: dict[int, Move] = {}
    for number, (place, move) in enumerate(moves.items()):
        assert isinstance(move, Later)
        parts[place] = replace(
            move,
            # The partner answers other calls, so there is nothing to wait for.
            wait=timedelta(0) if signed else move.wait,
            batch_id=(SharedBatch.FIRST_HALF if number < half else SharedBatch.SECOND_HALF).of(call_id),
            memory=split_off(move.memory, call_id),
        )
    return parts


def _divided(moves: Mapping[int, Move]) -> Mapping[int, Move]:
    """A step that fails by itself and asks for several things: its flow asks for them in parts."""
    text = "Tradovate gave no result, time and again, to several things that were asked for at once."
    return {place: Finish(NotExecuted(text, divide=True)) for place in moves}
