"""How long a step lingers, so that the rate budget lasts. Pure.

Calls are scarce: 5,000 an hour for the whole firm, up to 100 items each. A call that is not full is quicker, and wastes
some of the budget. How much waste the hour can bear is computed:

    need    calls an hour for the present streams, if each were as full as the longest linger can make it
    spare   what is left of the budget beyond the need
    wasted  what part-filled calls have cost in the last ten minutes: one item alone wastes 0.99 of a call

    fresh   wasted is at most a tenth of the spare: the shortest linger, a few milliseconds
    paced   wasted is a fifth of it or more: the linger at which all lanes together make as many calls as are left

Between fresh and paced the linger grows smoothly.

A steady stream that full batches can carry never uses up the budget. In an hour, paced lanes spend at most what is
left. As that shrinks they spend less, until their lingers are long enough for full calls (or the longest there is).
From then on they spend what they need. What is left then is at least the need of one whole hour. After that hour the
first calls no longer count, and are forgotten as fast as new ones are made.

A fast stream must be known for one before it has spent its need in calls of one item each. So the pace of its first few
calls is measured (`Stream.quickest`), and not only its last ten minutes.

The budget of the minute bounds bursts. It is back a minute later, so it may be spent. While at most half of it went
into part-filled calls, nothing lingers for its sake: a burst of single events is not slowed. From there the linger
grows steeply, until all lanes together make as many calls a minute as are left. So a stream settles where a bit more
than half is used. A smaller budget means fuller calls, and no standstill for the rest of each minute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

HOUR = 3600.0
MINUTE = 60.0
WINDOW = 600.0
"""Seconds over which streams are measured: long enough that a burst is not taken for one."""

FRESH, PACED = 0.1, 0.2
"""Wasted, as a part of the spare. On a fresh budget of 4,500 some 200 purchases in a row go at once, one by one; and
steady streams settle where about half of the budget is left for a burst: 100,000 purchases."""

MINUTE_FRESH, MINUTE_PACED = 0.5, 0.6
"""Part-filled calls of a minute, as a part of its budget: of 540 calls, 270 and 324. The rest is for what does not
linger. With a flat growth a stream would spend all of it at once, stand still for a minute, and so on."""

TINY = 0.001
"""Seconds from which the linger grows when the shortest is none at all."""

FULL = 100
"""Items of a full call."""

SAMPLE = 12
"""Part-filled calls in a row whose pace is a stream's. Fewer would take a handful of events for a stream. More would
cost too much: at 60 purchases a second, full calls need 4,320 of 4,380. What is spent before that is known, two calls a
purchase, must fit into the other 60."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One operation's traffic in the window.

    `items`: all that were sent. `quickest`: the most items a second that `SAMPLE` part-filled calls in a row have
    carried; a burst fills its calls, so it does not count as a fast stream. `wasted`: calls, in the window.
    `part_filled`: calls of the last minute.
    """

    items: int
    quickest: float = 0.0
    wasted: float = 0.0
    part_filled: int = 0

    @property
    def rate(self) -> float:
        """Items a second: the window's mean, or what was measured long before the window was full."""
        return max(self.items / WINDOW, self.quickest)


@dataclass(frozen=True, slots=True)
class BudgetLeft:
    """Calls that ordinary work may still make in this rolling hour and minute; negative when sessions and revocations
    have taken more than what is kept for them.
    """

    hour: int
    minute: int


@dataclass(frozen=True, slots=True)
class Pace:
    """`shortest` and `longest` linger in seconds; `minute`: calls a minute that ordinary work can use."""

    shortest: float
    longest: float
    minute: int

    def linger(self, left: BudgetLeft, streams: Mapping[str, Stream], operation: str) -> float:
        """Seconds that a step of `operation` should linger when so many calls are left."""
        lanes = len({name for name, stream in streams.items() if stream.items} | {operation})
        return max(
            self._grown(self._hour_part(left, streams), lanes * HOUR / max(left.hour, 1)),
            self._grown(self._minute_part(streams), lanes * MINUTE / max(left.minute, 1)),
        )

    def _hour_part(self, left: BudgetLeft, streams: Mapping[str, Stream]) -> float:
        """How far from fresh (0) to paced (1)."""
        spare = left.hour - sum(self._need(stream.rate) for stream in streams.values())
        wasted = sum(stream.wasted for stream in streams.values())
        return (wasted / spare - FRESH) / (PACED - FRESH) if spare > 0 else math.inf

    def _minute_part(self, streams: Mapping[str, Stream]) -> float:
        """The same for the minute. Only what lingers counts: longer lingers spare no calls of other operations."""
        part_filled = sum(stream.part_filled for stream in streams.values())
        return (part_filled / max(self.minute, 1) - MINUTE_FRESH) / (MINUTE_PACED - MINUTE_FRESH)

    def _grown(self, part: float, paced: float) -> float:
        """The linger at `part` of the way to `paced` seconds."""
        if part <= 0:
            return self.shortest
        shortest = max(self.shortest, TINY)
        paced = max(min(paced, self.longest), shortest)
        return paced if part >= 1 else shortest * math.pow(paced / shortest, part)

    def _need(self, rate: float) -> float:
        """Calls an hour of one lane at `rate` items a second, each as full as the longest linger can make it."""
        shared = min(max(rate * self.longest, 1.0), float(FULL))
        return rate * HOUR / shared
