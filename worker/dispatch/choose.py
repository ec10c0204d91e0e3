"""What to begin next, of all that could go now. Pure.

The most urgent goes first, and nothing less urgent is begun while it waits for a call to be free. A step that is
held (maintenance, a penalty, a pause) or that waits for company cannot go, and so holds nobody up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from worker.ledger.rows import Lane, StepState
from worker.tradovate.operation import Operation

PERHAPS_MOST = 0.1
"""Seconds. While more is perhaps coming the shortest wait is begun anew with each newcomer, until then."""

SURELY_MOST = 0.5
"""Seconds. While more is surely coming a step waits until then: even on a busy machine intake takes a full call's
records in it.
"""


class Coming(Enum):
    """What is known of further steps on their way."""

    NOTHING = "nothing"
    PERHAPS = "perhaps"  # something has just come, or the results of calls in flight will bring steps
    SURELY = "surely"  # a batch of records is being taken, or records wait to be


@dataclass(frozen=True, slots=True)
class Situation:
    """What the choice depends on beside the lanes."""

    now: datetime
    free: int  # calls that may be begun besides those in flight
    held: Callable[[Operation, StepState], datetime | None]  # until when the operation may not be called
    wait: Callable[[str], float]  # seconds for company, by operation
    shortest: float  # seconds
    coming: Coming


@dataclass(frozen=True, slots=True)
class Start:
    """Begin calls of this lane, up to `calls`, with up to `items` items altogether; or one look-up of so many."""

    lane: Lane
    items: int
    calls: int = 1


def choose(
    lanes: Sequence[Lane], operations: Mapping[str, Operation], situation: Situation
) -> tuple[Sequence[Start], datetime | None]:
    """What to begin now, most urgent first, and when to look again at the latest."""
    starts: list[Start] = []
    again: list[datetime] = []
    free = situation.free
    for lane in sorted(lanes, key=lambda each: (operations[each.operation].rank, each.oldest)):
        operation = operations[lane.operation]
        held_until = situation.held(operation, lane.state)
        if held_until is not None:
            again.append(held_until)
            continue
        items, at = _ready(lane, operation, situation)
        if at is not None:
            again.append(at)
        if not items:
            continue
        if free <= 0:
            break  # the most urgent waits for a free call, and nobody overtakes it
        if lane.state is StepState.UNKNOWN:
            looks = min(-(-items // operation.look_most), free)
            starts += [Start(lane, operation.look_most)] * looks
            free -= looks
            continue
        allowed = min(-(-items // operation.most), free)
        # Steps that cannot share a call take more of them than their number tells; what is free bounds them too.
        starts.append(Start(lane, min(items, allowed * operation.most), free))
        free -= allowed
    return starts, min(again, default=None)


def _ready(lane: Lane, operation: Operation, situation: Situation) -> tuple[int, datetime | None]:
    """How many items may go now, and when the rest may."""
    rest = lane.ready % operation.most
    if not rest or not operation.lingers or lane.company is not None or lane.state is StepState.UNKNOWN:
        return lane.ready, None
    wait = situation.wait(lane.operation)
    if wait > situation.shortest:
        at = lane.oldest + timedelta(seconds=wait)
    elif situation.coming is Coming.NOTHING:
        at = situation.now
    elif situation.coming is Coming.PERHAPS:
        at = min(lane.newest + timedelta(seconds=wait), lane.oldest + timedelta(seconds=max(wait, PERHAPS_MOST)))
    else:
        at = min(situation.now + timedelta(seconds=wait), lane.oldest + timedelta(seconds=max(wait, SURELY_MOST)))
    if at <= situation.now:
        return lane.ready, None
    return lane.ready - rest, at
