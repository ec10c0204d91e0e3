"""Kills and freezes: each waits for its moment, and hits a member that is there."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from tests.support.waiting import eventually
from tests.support.wrong_clocks import WrongClock
from tests.torture.aims import Aims
from tests.torture.member import Member
from tests.torture.moments import Moment
from tests.torture.script import CLOCKS, LONG_FREEZE, Blow
from tests.torture.system import System

WITHIN = 2.0
"""Seconds that a blow waits for its moment; then it falls at any time."""

MOST_FROZEN = 2
"""Members at once: some have to work."""


@dataclass
class Blows:
    """`clocks`: wrong clocks of the members, where libfaketime is installed."""

    system: System
    clocks: Mapping[int, WrongClock]
    careful: bool = False
    """Nobody is hit now: a lock-out is being received."""
    kills: Counter[Moment] = field(default_factory=Counter)
    freezes: Counter[Moment] = field(default_factory=Counter)
    long_freezes: int = 0
    """Freezes for longer than a lease."""
    missed: int = 0
    """Blows for which nobody was there."""
    _aims: Aims = field(init=False)

    def __post_init__(self) -> None:
        self._aims = Aims(self.system)

    async def strike(self, blow: Blow, calm: asyncio.Event) -> str:
        """Lets it happen, and returns what happened; nothing if there was nobody. `calm`: a freeze ends then."""
        hit: list[Member] = []

        def fits(member: Member) -> bool:
            return (
                not self.careful and member.able and member.kind == blow.kind and not (blow.freeze and self._too_cold)
            )

        def do(member: Member) -> None:
            if fits(member):
                hit.append(member)
                self._hit(member, blow)

        moment = blow.moment
        if moment is Moment.ANY or not await self._aims.strike(moment, fits, blow.after, WITHIN, do):
            moment = Moment.ANY
            with suppress(AssertionError):
                able = await eventually(lambda: [member for member in self.system.members if fits(member)], WITHIN)
                if not calm.is_set():
                    do(random.Random(blow.at).choice(able))
        if not hit:
            self.missed += 1
            return ""
        member = hit[0]
        if blow.freeze:
            self.freezes[moment] += 1
            self.long_freezes += blow.freeze >= LONG_FREEZE[0]
            await self._thaw_later(member, blow.freeze, calm)
            return f"freeze for {blow.freeze:.1f} s: {member.name}, {moment.value}"
        self.kills[moment] += 1
        return f"kill: {member.name}, {moment.value}"

    @property
    def _too_cold(self) -> bool:
        return sum(member.frozen for member in self.system.members) >= MOST_FROZEN

    def _hit(self, member: Member, blow: Blow) -> None:
        assert member.process is not None
        self.system.trouble[member.kind].append(time.time())
        if blow.freeze:
            member.process.freeze()
            member.frozen = True
            return
        member.process.signal(signal.SIGKILL)  # not waited for: `revive` finds that it has ended
        member.killed = True
        member.down_until = time.monotonic() + blow.down
        if blow.wrong_clock and member.number in self.clocks:
            member.clock = self.clocks[member.number]
            member.clock.set(random.Random(blow.at).choice(CLOCKS))

    async def _thaw_later(self, member: Member, seconds: float, calm: asyncio.Event) -> None:
        process = member.process
        with suppress(TimeoutError):
            await asyncio.wait_for(calm.wait(), seconds)
        if process is not None and member.process is process:
            process.thaw()
            member.frozen = False
