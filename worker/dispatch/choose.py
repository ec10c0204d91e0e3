"""What to begin next, of all that could go now. Pure.

The most urgent goes first, and nothing less urgent is begun while it waits for a free slot. A step that cannot go
(maintenance, a penalty, a pause, an empty budget, a trader whose call is in flight) or that lingers blocks no other
step.

Some slots are kept free for what may use the reserve of the budget, whatever waits: a revocation never waits for a
slow call of another kind to end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.engine.states import StepState
from worker.ledger.rows import Lane
from worker.partner.operation import Operation

IN_FLIGHT = 16
"""Calls that one replica has in flight: at 50 ms a call some 300 calls a second, far beyond any budget; what it bounds
is memory, and how much is unknown when a replica dies."""

URGENT_ONLY = 4
"""Of these slots, kept free for operations that may use the reserve of the budget."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the choice depends on beside the lanes. Times are the database's."""

    now: datetime
    free: int  # slots that are free, those that are kept for urgent calls among them
    held: Callable[[Lane], datetime | None]  # until when nothing of the lane can go
    linger: Callable[[str], float]  # seconds, by operation
    shortest: float  # seconds of the linger while little of the budget is used
    coming: Callable[[str], bool]  # whether further steps of an operation are seen to be coming


@dataclass(frozen=True, slots=True)
class Start:
    """Begin calls of this lane, `calls` at most, with up to `items` items altogether; or one look-up of so many."""

    lane: Lane
    items: int
    calls: int = 1


def slots(free: int, operation: Operation) -> int:
    """Of the free slots, those that calls of this operation may take."""
    return max(0, free if operation.limits.reserve else free - URGENT_ONLY)


def choose(
    lanes: Sequence[Lane], operations: Mapping[str, Operation], situation: Situation
) -> tuple[Sequence[Start], datetime | None]:
    """What to begin now, most urgent first, and when to look again at the latest.

    Look-ups have the rank of their step, and its right to the slots that are kept for urgent calls.
    """
    starts: list[Start] = []
    again: list[datetime] = []
    free = situation.free
    for lane in sorted(lanes, key=lambda each: (operations[each.operation].limits.rank, each.oldest)):
        operation = operations[lane.operation]
        held_until = situation.held(lane)
        if held_until is not None:
            again.append(held_until)
            continue
        items, at = _ready(lane, operation, situation)
        if at is not None:
            again.append(at)
        if not items:
            continue
        room = slots(free, operation)
        if not room:
            break  # the most urgent waits for a free slot, and nothing less urgent is begun
        if lane.state is StepState.UNKNOWN:
            look_ups = min(-(-items // operation.batching.look_up_most), room)
            starts += [Start(lane, operation.batching.look_up_most)] * look_ups
            free -= look_ups
            continue
        allowed = min(-(-items // operation.batching.most), room)
        # Steps that cannot share a call need more calls than their number says; the free slots bound them too.
        starts.append(Start(lane, min(items, allowed * operation.batching.most), room))
        free -= allowed
    return starts, min(again, default=None)


def _ready(lane: Lane, operation: Operation, situation: Situation) -> tuple[int, datetime | None]:
    """How many items may go now, and when the rest may."""
    rest = lane.ready % operation.batching.most
    look_ups = lane.state is StepState.UNKNOWN and not operation.only_looks  # what became of a call is not put off
    if not rest or not operation.batching.lingers or lane.batch_id is not None or look_ups:
        return lane.ready, None
    linger = situation.linger(lane.operation)
    if linger <= situation.shortest and not situation.coming(lane.operation):
        return lane.ready, None  # a lone step does not linger
    at = lane.oldest + timedelta(seconds=linger)
    if at <= situation.now:
        return lane.ready, None
    return lane.ready - rest, at
