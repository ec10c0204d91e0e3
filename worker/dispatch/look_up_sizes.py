"""How many steps are looked up together.

A look-up with bulk reads costs a call or two, however many steps it is for. Where Tradovate has none, it costs a call
or more a step; and if it cannot go on, because the minute's budget is used up, all that it has read was for nothing.
Were it begun again at its full size, it would use up every minute and never come to an end. With half the steps each
time, a replica that stays up reads at most as much in vain as is needed (`tests/unit/test_look_up_sizes.py`).

What was read is not kept for the next one: each answer is true only of the steps that were unknown when it came, of
that token's host, and of this replica. Nor are the sizes: a replica that is started again begins with the full one. So
where replicas are killed every few seconds and there is no bulk read, look-ups use up the budget of the hour (seen in
the torture), and what is unknown waits for the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FULL = 100
"""Steps of a look-up: what a bulk read takes."""

FEW_READS = 4
"""A look-up that has made no more reads has lost little: it may be repeated at its size."""


@dataclass(slots=True)
class LookUpSizes:
    """The size by operation: half of the one that could not be ended, and a quarter more after each that was."""

    _sizes: dict[str, int] = field(default_factory=dict)

    def of(self, operation: str) -> int:
        """Steps to look up together."""
        return self._sizes.get(operation, FULL)

    def ended(self, operation: str) -> None:
        """A look-up has found out what it was for."""
        size = self.of(operation)
        if size < FULL:
            self._sizes[operation] = min(FULL, size + max(1, size // 4))

    def not_ended(self, operation: str, steps: int, reads: int) -> None:
        """A look-up of so many steps could not go on after so many reads."""
        if reads > FEW_READS:
            self._sizes[operation] = max(1, min(self.of(operation), steps // 2))
