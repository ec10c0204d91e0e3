"""How long a step waits for company, so that the hour's budget lasts. Pure.

Calls are what is scarce: 5,000 an hour for the whole firm, up to 100 items each. While the budget is fresh a lone
step waits a few milliseconds. From there on the wait is what makes the calls that are left last for the hour:

    need   what the present streams cost an hour if every call went as full as the longest allowed wait can make it
    spare  what is left of the budget beyond that need
    fresh  the spare is at least three quarters of the budget: the shortest wait
    paced  the spare is at most half of it: the wait at which the lanes together make need + spare calls an hour
    dry    no spare: the longest wait; full batches go at once all the same

Between fresh and paced the wait grows smoothly. A steady stream that full batches can carry never runs the budget
dry: when the spare is gone, what is left is the need of one whole hour, and then the first calls are forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

HOUR = 3600.0
WINDOW = 600.0
"""Seconds over which streams are measured: long enough that a burst is not taken for one."""

FRESH, PACED = 0.75, 0.5

FULL = 100
"""Items of a full call."""

CALM = 5
"""Part-filled calls in one second of an operation that are not yet taken for a stream."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One operation's traffic in the window: items sent, and the part-filled calls in its busiest second."""

    items: int
    busiest: int

    @property
    def rate(self) -> float:
        """Items a second. Part-filled calls in one second are a lower bound that is known within that second, long
        before the window's mean: by then a fast stream would have burnt what it will need. A burst fills its calls.
        """
        return max(self.items / WINDOW, float(self.busiest - CALM), 0.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """`shortest` and `longest` wait in seconds; `budget` calls an hour that work which may wait can use."""

    shortest: float
    longest: float
    budget: int

    def wait(self, left: int, streams: Mapping[str, Stream], operation: str) -> float:
        """Seconds that a step of `operation` should wait for company when `left` calls are left in this hour."""
        rates = [stream.rate for stream in streams.values() if stream.rate > 0]
        need = sum(self._need(rate) for rate in rates)
        spare = left - need
        freshness = spare / self.budget if self.budget else 0.0
        if freshness >= FRESH:
            return self.shortest
        paced = self.longest
        if spare > 0:
            paced = min(max(len(rates), 1) * HOUR / (need + spare), self.longest)
        own = streams.get(operation)
        if own is not None and own.rate > 0:
            # Twice the time in which a stream of this rate fills a call: if it has not by then, it is no stream.
            paced = min(paced, 2 * FULL / own.rate)
        paced = max(paced, self.shortest)
        if freshness <= PACED or self.shortest <= 0:
            return paced
        return self.shortest * math.pow(paced / self.shortest, (FRESH - freshness) / (FRESH - PACED))

    def _need(self, rate: float) -> float:
        """Calls an hour of one lane at `rate` items a second, each as full as the longest wait can make it."""
        company = min(max(rate * self.longest, 1.0), float(FULL))
        return rate * HOUR / company
