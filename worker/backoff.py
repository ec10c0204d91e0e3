"""Back-off: how long to wait before a retry. No other module computes one (`tests/unit/test_backoff.py`).

    Schedule   doubles with each failure: for what fails without a known reason
    Delays     a written list of delays: where the vendor's limits say how often one may retry
    spread     the jitter of a schedule, also for polls

A caller whose delay must be the same again passes its own draw, for example `draw_of` an id; by default it is random.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Delays", "Schedule", "at_random", "draw_of", "spread"]

at_random: Callable[[], float] = random.random

_MOST_DOUBLINGS = 62
"""So that no attempt overflows; the cap is reached long before."""


def spread(longest: float, share: float, draw: float) -> float:
    """A delay between `longest` less its `share` (1 all of it, 0 nothing) and `longest`; `draw` in [0, 1) says where.

    It keeps those who failed together from retrying together.
    """
    return longest * (1 - share + share * draw)


def draw_of(key: bytes, number: int) -> float:
    """A number in [0, 1) that follows from `key` and `number`: for pure code, which draws nothing at random."""
    digest = hashlib.sha256(key + number.to_bytes(8)).digest()
    return int.from_bytes(digest[:6]) / 2**48


@dataclass(frozen=True, slots=True)
class Schedule:
    """Exponential back-off, in seconds: the first delay at most, the longest one, and how much counted time a step gets
    altogether.

    Counted is what the step itself costs (delays of this schedule, time of its calls), not what delays all calls:
    lock-outs, maintenance, penalties, pauses, an empty budget (README, RETRY_FOR_SECONDS). `jitter`: the share of
    each delay that is drawn, 1 by default ("full jitter"). `least` is added to each delay.
    """

    base: float = 1.0
    cap: float = 300.0
    total: float = 86400.0
    jitter: float = 1.0
    least: float = 0.0

    def delay(self, attempt: int, draw: Callable[[], float] = at_random) -> float:
        """Seconds before try number `attempt` + 1 (attempt 1 is the first)."""
        longest = min(self.cap, self.base * 2.0 ** min(max(attempt, 1) - 1, _MOST_DOUBLINGS))
        return self.least + spread(longest, self.jitter, draw())


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds after the first, second, ... failure in a row; the last one from then on."""

    seconds: tuple[float, ...]

    def delay(self, attempt: int) -> float:
        """Seconds before try number `attempt` + 1 (attempt 1 is the first)."""
        return self.seconds[min(max(attempt, 1), len(self.seconds)) - 1]
