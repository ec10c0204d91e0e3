"""What this replica has found to be held back, so that it need not ask the ledger about it all the time.

A hold is asked about again after a second at the latest: an operator may lift it at any time, and a `resume` must show
within two. What has been found is forgotten by then, so a mistake here lasts no longer. Seconds are monotonic.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from worker.backoff import Schedule
from worker.engine.states import StepState
from worker.ledger import holds
from worker.ledger.budget import BUDGET, MINUTE_BUDGET, Closed
from worker.ledger.rows import Lane
from worker.partner.operation import Operation

log = structlog.get_logger()

ASK_AGAIN = 1.0
"""Seconds; one short query then."""

CALM = 30.0
"""Seconds without a hold after which the log says that it has ended: where a budget is used up, each call that leaves
it lets another one begin."""

_BLOCKED = Schedule(base=0.002, cap=0.256, jitter=0.0)
"""How long a lane is not looked at whose steps all wait for a call in flight that names their trader. The end of any
call of this replica ends the wait too."""

_EVERYTHING, _ORDINARY = "everything", "ordinary"

Kind = tuple[str, StepState]
_LaneKey = tuple[str, StepState, int | None]


@dataclass(slots=True)
class HeldLanes:
    """Which lanes cannot go for now. Every method gets the monotonic time."""

    _until: dict[str | Kind, float] = field(default_factory=dict)
    _blocked: dict[_LaneKey, tuple[Lane, int, float]] = field(default_factory=dict)
    _said: dict[str, tuple[str, float]] = field(default_factory=dict)  # by operation: why, and when last

    def closed(self, operation: Operation, state: StepState, closed: Closed, now: float) -> None:
        """The ledger allows no call of this kind now: nor of the others that the same thing holds back."""
        seconds = ASK_AGAIN if closed.until is None else (closed.until - closed.now).total_seconds()
        what = _held_by(operation, state, closed.scope)
        self._until[what] = now + min(max(seconds, 0.0), ASK_AGAIN)
        name = _name(what)
        if self._said.get(name, ("", 0.0))[0] != closed.why:
            log.info("dispatch.held", operation=name, why=closed.why)
        self._said[name] = closed.why, now

    def begun(self, operation: Operation, state: StepState, now: float) -> None:
        """A call of this kind has begun: what held it back has ended."""
        for what in _kinds(operation, state):
            self._until.pop(what, None)
            name = _name(what)
            if name in self._said and now - self._said[name][1] > CALM:
                del self._said[name]
                log.info("dispatch.held_no_more", operation=name)

    def blocked(self, lane: Lane, now: float) -> None:
        """Nothing of the lane could be begun: each of its steps waits for a call in flight that names its trader."""
        key = (lane.operation, lane.state, lane.batch_id)
        seen, times, _ = self._blocked.get(key, (lane, 0, 0.0))
        times = times + 1 if seen == lane else 1
        self._blocked[key] = lane, times, now + _BLOCKED.delay(times)

    def unblocked(self) -> None:
        """A call has ended, and the traders that it named are free."""
        self._blocked.clear()

    def until(self, operation: Operation, lane: Lane, now: float) -> float | None:
        """Until when the lane is held back; None when nothing is known to do so."""
        untils = [self._until.get(what, 0.0) for what in _kinds(operation, lane.state)]
        found = self._blocked.get((lane.operation, lane.state, lane.batch_id))
        if found is not None and found[0] == lane:  # more steps have come otherwise, or others
            untils.append(found[2])
        latest = max(untils)
        return latest if latest > now else None


def _held_by(operation: Operation, state: StepState, scope: str) -> str | Kind:
    """What a scope of `Closed` holds back: everything, all that may not use the reserve, or this kind alone.

    A budget that is used up holds back all alike, so that the most urgent of them gets the next call.
    """
    if scope in (holds.ALL, holds.PAUSE_ALL) or (scope in (BUDGET, MINUTE_BUDGET) and operation.limits.reserve):
        return _EVERYTHING
    return _ORDINARY if scope in (BUDGET, MINUTE_BUDGET) else (operation.name, state)


def _name(what: str | Kind) -> str:
    """Of an operation, or `everything`, or `ordinary`: how the log has it."""
    return what if isinstance(what, str) else what[0]


def _kinds(operation: Operation, state: StepState) -> list[str | Kind]:
    """All that may hold back calls of an operation."""
    kinds: list[str | Kind] = [_EVERYTHING, (operation.name, state)]
    return kinds if operation.limits.reserve else [*kinds, _ORDINARY]
