"""What goes wrong in a run, and when: two scripts that follow from a seed.

One has the blows, kills and freezes of members. They come in storms, with lulls between: after a replica was killed
the consumer group reads nothing for its session time-out (three seconds here), so that without lulls there would be no
work to be hit. In a lull bridges are killed all the same, and replicas are frozen for a moment.

The other one has everything else. Every kind has a weight. Kinds that cost a renewal of the session are limited:
Tradovate allows fifteen an hour.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.torture.moments import Moment

KINDS: Mapping[str, int] = {
    "stop": 5,
    "wrong clock": 3,
    "broker restart": 2,
    "broker killed": 2,
    "database crash": 3,
    "database disk full": 2,
    "broker disk full": 2,
    "link cut": 8,
    "link slow": 5,
    "link reset": 5,
    "partner status": 8,
    "partner cut": 6,
    "partner late": 5,
    "partner garbled": 4,
    "partner slow": 4,
    "partner refuses a batch": 3,
    "ticket": 4,
    "sockets dropped": 4,
    "session lost": 3,
    "lock-out": 1,
    "moved": 2,
}

RENEWING = frozenset({"session lost", "lock-out", "moved"})
MOST_RENEWALS = 7
"""In one run: each may take a renewal by each of two kinds of process, of twelve an hour."""

MOST_LOCK_OUTS = 3
"""In one run: nothing is called for ten seconds each time, so that little can go wrong."""

CLOCKS = (-86_400.0, -3_600.0, -40.0, 40.0, 3_600.0, 86_400.0)
"""Seconds by which a clock is wrong."""

REPLICA_MOMENTS: Mapping[Moment, int] = {
    Moment.ANY: 15,
    Moment.CALL_SENT: 20,
    Moment.ANSWERED: 15,
    Moment.LOOK_UP: 10,
    Moment.TRANSACTION: 10,
    Moment.COMMIT: 15,
    Moment.PUBLISHING: 15,
    Moment.OFFSETS: 8,
    Moment.JOINING: 5,
}
BRIDGE_MOMENTS: Mapping[Moment, int] = {
    Moment.ANY: 15,
    Moment.SIGNAL: 20,
    Moment.ASKED: 10,
    Moment.TRANSACTION: 10,
    Moment.COMMIT: 15,
    Moment.PUBLISHING: 20,
}

STORM, LULL = (2.0, 7.0), (4.0, 8.0)
"""Seconds, at least and at most. A lull has room for a rebalance."""

IN_A_LULL = 0.5
"""Blows in a lull, beside a storm's."""

LONG_FREEZE, SHORT_FREEZE = (7.5, 14.0), (0.3, 2.5)
"""Seconds. A lease lasts about seven; a short freeze costs the replica no partition."""


@dataclass(frozen=True)
class Misfortune:
    """`at`: seconds after the start. `dice`: decides what remains open, the same in each run of a seed."""

    at: float
    kind: str
    dice: int


@dataclass(frozen=True)
class Blow:
    """A kill or, if `freeze` is not 0, a freeze for so many seconds. It waits for its `moment`, and falls `after` so
    many seconds; None: before the bytes that show the moment have passed. `down`: seconds until it is started again.
    """

    at: float
    kind: str  # of member
    moment: Moment
    after: float | None
    freeze: float = 0.0
    down: float = 0.0
    wrong_clock: bool = False


def script(seed: int, seconds: float, every: float, weights: Mapping[str, int] = KINDS) -> list[Misfortune]:
    """The misfortunes of a run but for the blows; one about each `every` seconds."""
    dice = random.Random(seed)
    found: list[Misfortune] = []
    at, had = 1.0, Counter[str]()
    while at < seconds:
        kind = dice.choices(list(weights), list(weights.values()))[0]
        had[kind] += 1
        renewals = sum(had[each] for each in RENEWING)
        if kind not in RENEWING or (renewals <= MOST_RENEWALS and had["lock-out"] <= MOST_LOCK_OUTS):
            found.append(Misfortune(at, kind, dice.getrandbits(32)))
        at += dice.uniform(0.2, 1.8) * every
    return found


def blows(seed: int, seconds: float, rate: float, weights: Mapping[Moment, int] | None = None) -> list[Blow]:
    """The kills and freezes of a run, `rate` a second on the average. `weights`: of moments."""
    dice = random.Random(seed + 2_000_000)
    times = _times(dice, seconds, rate) if rate > 0 else ()
    return [_blow(dice, at, weights or {}, storm=storm) for at, storm in times]


def _times(dice: random.Random, seconds: float, rate: float) -> Iterator[tuple[float, bool]]:
    storm_share = sum(STORM) / (sum(STORM) + sum(LULL))
    in_storm = rate / (storm_share + (1 - storm_share) * IN_A_LULL)
    at, storm = 1.0, False
    until = at + dice.uniform(*LULL) / 2
    while at < seconds:
        yield at, storm
        at += dice.expovariate(in_storm if storm else in_storm * IN_A_LULL)
        if at >= until:
            storm = not storm
            until = at + dice.uniform(*(STORM if storm else LULL))


def _blow(dice: random.Random, at: float, weights: Mapping[Moment, int], *, storm: bool) -> Blow:
    freezes = dice.random() < (0.2 if storm else 0.35)
    kind = "bridge" if dice.random() < (0.35 if storm or freezes else 1.0) else "run"
    moments = dict(REPLICA_MOMENTS if kind == "run" else BRIDGE_MOMENTS)
    moments |= {moment: weight for moment, weight in weights.items() if moment in moments}
    moment = dice.choices(list(moments), list(moments.values()))[0]
    after = dice.choice([None, 0.0, 0.001, 0.005, 0.02, 0.1])
    if freezes:
        long = dice.random() < (0.6 if storm or kind == "bridge" else 0.0)
        return Blow(at, kind, moment, after, freeze=dice.uniform(*(LONG_FREEZE if long else SHORT_FREEZE)))
    down = dice.choice([0.0, 0.0, 0.0, dice.uniform(0.0, 4.0)])
    return Blow(at, kind, moment, after, down=down, wrong_clock=dice.random() < 0.1)
