"""How many steps are looked up together.

A look-up with bulk reads costs a call or two, however many steps it is for. Where Tradovate has none, it costs a call
or more a step. All that it has read is lost if it cannot go on, because the minute's budget is used up, or if its
replica is killed. What was read is not kept for the next one: each answer is true only of the steps that were unknown
when it came, and of that token's host. So a replica looks up few steps at a time until it has seen that bulk reads
serve; what a kill costs is the reads of those few.

A look-up that could not go on is begun again with half of its steps. With its full size it would use up every minute,
and never come to an end (`tests/unit/test_look_up_sizes.py`).

A batch that Tradovate rejected as a whole is looked up as a whole: only that shows whether it left anything behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FULL = 100
"""Steps of a look-up: what a bulk read takes."""

FEW = 20
"""Steps of a look-up while no bulk read is known to serve its operation."""

FEW_READS = 4
"""A look-up that has made no more reads has lost little: it may be repeated at its size."""


@dataclass(slots=True)
class LookUpSizes:
    """Sizes by operation, in steps. After a look-up that could not be ended half of its size, and a quarter more after
    each one that was.
    """

    _most: dict[str, int] = field(default_factory=dict)
    _bulk: set[str] = field(default_factory=set)  # operations whose last look-up of many steps took few reads

    def of(self, operation: str, *, rejected_batch: bool = False) -> int:
        """Steps to look up together. `rejected_batch`: they are a batch that was rejected as a whole."""
        most = self._most.get(operation, FULL)
        return most if rejected_batch or operation in self._bulk else min(most, FEW)

    def ended(self, operation: str, steps: int, reads: int) -> None:
        """A look-up of so many steps has found out what it was for, with so many reads."""
        if 2 * reads <= steps:
            self._bulk.add(operation)
        elif steps >= FEW:
            self._bulk.discard(operation)
        size = self._most.get(operation, FULL)
        self._most[operation] = min(FULL, size + max(1, size // 4))

    def not_ended(self, operation: str, steps: int, reads: int) -> None:
        """A look-up of so many steps could not go on after so many reads."""
        if reads > FEW_READS:
            self._most[operation] = max(1, min(self._most.get(operation, FULL), steps // 2))
