"""What goes wrong, but for kills and freezes: each misfortune of the script happens beside those that are under way."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.waiting import let_time_pass
from tests.torture.blows import Blows
from tests.torture.links import Way
from tests.torture.script import CLOCKS, Blow, Misfortune
from tests.torture.system import LOCKED, LOCKOUT, System

WRITES = (
    "/user/createEvaluationUsers",
    "/user/createEvaluationAccounts",
    "/user/createTradingPermission",
    "/user/revokeTradingPermissions",
    "/user/cancelEverything",
    "/userPlugin/addEntitlementSubscription",
    "/contactInfo/updateContactInfo",
    "/customerApplication/createPartnerSubaccountRequest",
    "*",
)
"""Operations that a fault of the partner may concern; `*` is every call."""

NOT_IN_A_LOCK_OUT = frozenset({"stop", "database crash", "database disk full", "link cut", "lock-out"})
"""Misfortunes that may keep a lock-out from being written down."""

LIKE_NOTHING = ("empty", "null", "array", "object")
"""Forms of garbage that may be what Tradovate answers to a read where there is nothing."""


@dataclass
class Fate:
    """Lets misfortunes happen."""

    system: System
    blows: Blows
    happened: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """What happened, by kind, but for kills and freezes."""
    calm: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once nothing may go wrong any more: what lasts ends at once."""
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self, what: Misfortune) -> None:
        """Lets it happen, beside the others that are under way."""
        dice = random.Random(what.dice)
        ways: Mapping[str, Callable[[random.Random], Awaitable[str]]] = {
            "stop": self._stop,
            "wrong clock": self._wrong_clock,
            "broker restart": self._broker_restart,
            "broker killed": self._broker_killed,
            "database crash": self._database_crash,
            "database disk full": self._database_disk,
            "broker disk full": self._broker_disk,
            "link cut": self._link_cut,
            "link slow": self._link_slow,
            "link reset": self._link_reset,
            "partner status": self._partner_status,
            "partner cut": self._partner_cut,
            "partner late": self._partner_late,
            "partner garbled": self._partner_garbled,
            "partner slow": self._partner_slow,
            "partner refuses a batch": self._partner_refuses,
            "ticket": self._ticket,
            "sockets dropped": self._sockets,
            "session lost": self._session,
            "lock-out": self._lockout,
            "moved": self._moved,
        }

        async def happen() -> None:
            if self.blows.careful and what.kind in NOT_IN_A_LOCK_OUT:
                return
            self.counts[what.kind] += 1
            what_happened = await ways[what.kind](dice)
            self.happened.append(f"{what.at:6.1f} s  {what.kind}: {what_happened}")

        self._begin(happen())

    def strike(self, blow: Blow) -> None:
        """Lets a member be hit, as soon as the moment comes."""

        async def happen() -> None:
            what_happened = await self.blows.strike(blow, self.calm)
            if what_happened:
                self.happened.append(f"{blow.at:6.1f} s  {what_happened}")

        self._begin(happen())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    async def end(self) -> None:
        """All that lasts ends now."""
        self.calm.set()
        await asyncio.gather(*self._under_way)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.happened.append(f"a misfortune failed: {error!r}")

    async def _lasts(self, seconds: float) -> None:
        """The time that a misfortune lasts, or until all is to be calm."""
        try:
            await asyncio.wait_for(self.calm.wait(), seconds)
        except TimeoutError:
            return

    async def _stop(self, dice: random.Random) -> str:
        able = [each for each in self.system.members if each.able]
        if not able:
            return "nobody was there"
        member = dice.choice(able)
        assert member.process is not None
        member.stopping = True
        member.process.signal(signal.SIGTERM)
        return member.name

    async def _wrong_clock(self, dice: random.Random) -> str:
        wrong = [member for member in self.system.members if member.clock is not None]
        if not wrong:
            return "no clock can be set"
        member, seconds = dice.choice(wrong), dice.choice(CLOCKS)
        assert member.clock is not None
        member.clock.set(seconds)
        return f"{member.name} by {seconds:+.0f} s"

    async def _broker_restart(self, dice: random.Random) -> str:
        return await self._broker(dice, orderly=True)

    async def _broker_killed(self, dice: random.Random) -> str:
        return await self._broker(dice, orderly=False)

    async def _broker(self, dice: random.Random, *, orderly: bool) -> str:
        if not self.system.broker_up:
            return "it was away"
        seconds = dice.uniform(0.0, 5.0)
        await self.system.stop_broker(orderly=orderly)
        await self._lasts(seconds)
        await self.system.start_broker()
        return f"for {seconds:.1f} s"

    async def _database_crash(self, dice: random.Random) -> str:
        if not self.system.database_up:
            return "it was away"
        seconds = dice.uniform(0.0, 6.0)
        await self.system.crash_database()
        await self._lasts(seconds)
        await self.system.start_database()
        return f"for {seconds:.1f} s, with a read-only standby"

    async def _database_disk(self, dice: random.Random) -> str:
        if not self.system.disks:
            return "no disk can be filled here"
        if not self.system.database_up:
            return "it was away"
        seconds = dice.uniform(1.0, 6.0)
        await self.system.fill_database_disk()
        await self._lasts(seconds)
        await self.system.free_database_disk()
        return f"for {seconds:.1f} s"

    async def _broker_disk(self, dice: random.Random) -> str:
        if not self.system.disks:
            return "no disk can be filled here"
        if not self.system.broker_up:
            return "it was away"
        seconds = dice.uniform(1.0, 6.0)
        await self.system.fill_broker_disk()
        await self._lasts(seconds)
        ended = self.system.broker.ended
        await self.system.free_broker_disk()
        return f"for {seconds:.1f} s; the broker {'gave up' if ended else 'went on'}"

    async def _link_cut(self, dice: random.Random) -> str:
        name, link = self._link(dice)
        ways = dice.choice([(Way.THERE,), (Way.BACK,), tuple(Way)])
        seconds = dice.uniform(0.5, 12.0)
        link.cut(*ways)
        await self._lasts(seconds)
        link.restore()
        return f"{name}, {' and '.join(way.value for way in ways)}, for {seconds:.1f} s"

    async def _link_slow(self, dice: random.Random) -> str:
        name, link = self._link(dice)
        seconds, delay = dice.uniform(1.0, 10.0), dice.uniform(0.05, 0.8)
        link.slow(delay, *dice.choice([(Way.THERE,), (Way.BACK,), tuple(Way)]))
        await self._lasts(seconds)
        link.restore()
        return f"{name} by {delay:.2f} s, for {seconds:.1f} s"

    async def _link_reset(self, dice: random.Random) -> str:
        name, link = self._link(dice)
        await link.reset()
        return name

    def _link(self, dice: random.Random) -> tuple[str, Any]:
        name, link = dice.choice(list(self.system.links().items()))
        if name.startswith("bridge"):
            self.system.trouble["bridge"].append(time.time())
        return name, link

    async def _fault(self, dice: random.Random, lasts: float, among: Sequence[str] | None = None, **rule: Any) -> str:
        faults = self.system.partner.sandbox.core.faults
        operation = dice.choice(among or WRITES)
        name = f"torture {dice.getrandbits(32)}"
        faults.add({"id": name, "operation": operation, "seed": dice.getrandbits(16), **rule})
        await self._lasts(lasts)
        faults.clear(name)
        return f"{operation} {rule} for {lasts:.1f} s"

    async def _partner_status(self, dice: random.Random) -> str:
        action = dice.choice(["status_before", "status_after"])
        status = dice.choice([500, 502, 503, 504])
        chance = dice.choice([0.3, 1.0])
        return await self._fault(dice, dice.uniform(1.0, 8.0), action=action, status=status, probability=chance)

    async def _partner_cut(self, dice: random.Random) -> str:
        action = dice.choice(["cut_before", "cut_after"])
        return await self._fault(dice, dice.uniform(1.0, 8.0), action=action, probability=dice.choice([0.3, 1.0]))

    async def _partner_late(self, dice: random.Random) -> str:
        # Later than the client waits. A look-up comes after the settle time: an effect that is later than that, and
        # that nothing shows before, no program can know.
        answer = dice.choice(["cut", "500", "504"])
        lasts = dice.uniform(1.0, 6.0)
        return await self._fault(dice, lasts, action="late", seconds=0.2, answer=answer, probability=0.5)

    async def _partner_garbled(self, dice: random.Random) -> str:
        form = dice.choice(["not_json", "wrong_types", "empty", "truncated", "html", "null", "array", "object"])
        # What Tradovate may answer where there is nothing: no program can tell a read that is garbled so from that.
        among = [each for each in WRITES if each != "*"] if form in LIKE_NOTHING else None
        return await self._fault(dice, dice.uniform(1.0, 6.0), among, action="garbage", form=form, probability=0.5)

    async def _partner_slow(self, dice: random.Random) -> str:
        when = dice.choice(["before", "after"])
        delay = dice.choice([0.3, 1.0, 2.5])
        if when == "before" and delay > 1.0:
            when = "after"  # see `_partner_late`
        return await self._fault(dice, dice.uniform(1.0, 8.0), action="delay", seconds=delay, when=when)

    async def _partner_refuses(self, dice: random.Random) -> str:
        form = dice.choice(["item", "error_text", "violations", "http_400"])
        return await self._fault(
            dice,
            dice.uniform(1.0, 6.0),
            action="poison",
            contains=str(dice.randrange(10)),
            form=form,
            atomic=dice.random() < 0.5,
            body="Refused by the torture",
            probability=0.3,
        )

    async def _ticket(self, dice: random.Random) -> str:
        return await self._fault(dice, dice.uniform(0.5, 2.0), action="ticket", seconds=1, times=1)

    async def _sockets(self, dice: random.Random) -> str:
        domain = dice.choice(["live", "demo", None])
        self.system.partner.sandbox.core.hub.drop(domain)
        return domain or "both"

    async def _session(self, dice: random.Random) -> str:
        control = self.system.control
        if dice.random() < 0.5:
            control.expire_tokens()
            return "tokens expired"
        control.close_sessions()
        return "sessions closed from outside"

    async def _lockout(self, _dice: random.Random) -> str:
        # The process that receives it must live to write it down: `worker/README.md` says what happens otherwise.
        if await self.system.locked_out():
            return "it was one already"
        self.blows.careful = True
        self.system.control.lockout(LOCKED)
        began = time.monotonic()
        while time.monotonic() - began < LOCKOUT + 2 and not self.calm.is_set() and not await self.system.locked_out():
            await let_time_pass(0.05)
        self.blows.careful = False
        return f"{LOCKED:.1f} s, known after {time.monotonic() - began:.1f} s"

    async def _moved(self, dice: random.Random) -> str:
        domain = dice.choice(["live", "demo"])
        self.system.control.switch({"wrong_host": dice.choice(["redirect", "404", "421"])})
        await self.system.move(domain)
        return domain
