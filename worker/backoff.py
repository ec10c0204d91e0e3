"""When a step is tried again: exponential back-off with full jitter, and when to stop trying. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds: the first delay, the longest one, and how much counted time a step gets altogether.

    Counted is what the step itself costs (delays of this schedule, time of its calls), not what keeps everybody
    waiting: lock-outs, maintenance, penalties, pauses, an empty budget (contract, RETRY_FOR_SECONDS).
    """

    base: float = 1.0
    cap: float = 300.0
    total: float = 86400.0

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds before try number `attempt` + 1 (attempt 1 is the first): anything from 0 to the doubled base.

        Full jitter spreads steps that failed together; the exponent is bounded, so that no attempt overflows.
        """
        return random() * min(self.cap, self.base * 2.0 ** min(max(attempt, 1) - 1, 62))
