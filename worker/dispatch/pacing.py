"""How long a step waits for company, so that the hour's budget lasts. Pure.

Calls are what is scarce: 5,000 an hour for the whole firm, up to 100 items each. Speed is bought with calls that are
not full. How much of that the hour can bear is known:

    need    what the present streams cost an hour if every call went as full as the longest allowed wait can make it
    spare   what is left of the budget beyond that need
    wasted  what calls that were not full have cost in the last ten minutes: one item alone wastes 0.99 of a call

    fresh   wasted is at most a tenth of the spare: the shortest wait, a few milliseconds
    paced   wasted is a fifth of it or more: the wait at which all lanes together make as many calls an hour as are left

Between fresh and paced the wait grows smoothly. Why a steady stream that full batches can carry never runs the budget
dry: paced lanes spend in an hour at most what is left, less and less of it as it shrinks, until their waits are long
enough for full calls (or the longest there is). From there on they spend what they need, and what is left then is
at least the need of one whole hour, after which the first calls are forgotten as fast as new ones are made.

What remains is to know a fast stream for one before it has burnt, in calls of one item, what it will need: that is
why its first few calls are measured (`Stream.quickest`), and not only its last ten minutes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

HOUR = 3600.0
WINDOW = 600.0
"""Seconds over which streams are measured: long enough that a burst is not taken for one."""

FRESH, PACED = 0.1, 0.2
"""Wasted, as a part of the spare. On a fresh budget of 4,500 some 200 purchases in a row go at once, one by one; and
steady streams settle where about half of the budget is left for a burst: 100,000 purchases."""

TINY = 0.001
"""Seconds from which the wait grows when the shortest is none at all."""

FULL = 100
"""Items of a full call."""

SAMPLE = 12
"""Part-filled calls in a row whose pace is a stream's. Fewer would take a handful of events for a stream; more would
cost too much: at 60 purchases a second full calls need 4,320 of 4,380, and what is spent before that is known, two
calls each, must fit into the other 60."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One operation's traffic in the window: all items sent; the most items a second that `SAMPLE` part-filled calls
    in a row have carried (a burst fills its calls, and so does not count as a fast stream); what was `wasted`.
    """

    items: int
    quickest: float = 0.0
    wasted: float = 0.0

    @property
    def rate(self) -> float:
        """Items a second: the window's mean, or what was measured long before the window was full."""
        return max(self.items / WINDOW, self.quickest)


@dataclass(frozen=True, slots=True)
class Pace:
    """`shortest` and `longest` wait in seconds; `budget` calls an hour that work which may wait can use."""

    shortest: float
    longest: float
    budget: int

    def wait(self, left: int, streams: Mapping[str, Stream], operation: str) -> float:
        """Seconds that a step of `operation` should wait for company when `left` calls are left in this hour."""
        spare = left - sum(self._need(stream.rate) for stream in streams.values())
        wasted = sum(stream.wasted for stream in streams.values())
        part = wasted / spare if spare > 0 else math.inf
        if part <= FRESH:
            return self.shortest
        lanes = len({name for name, stream in streams.items() if stream.items} | {operation})
        shortest = max(self.shortest, TINY)
        paced = max(min(lanes * HOUR / max(left, 1), self.longest), shortest)
        if part >= PACED:
            return paced
        return shortest * math.pow(paced / shortest, (part - FRESH) / (PACED - FRESH))

    def _need(self, rate: float) -> float:
        """Calls an hour of one lane at `rate` items a second, each as full as the longest wait can make it."""
        company = min(max(rate * self.longest, 1.0), float(FULL))
        return rate * HOUR / company
