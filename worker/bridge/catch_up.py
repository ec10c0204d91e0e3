"""Fetches what was raised while nobody listened, and what came and could not be read; never on a schedule.

The socket listens first and the fetch comes second, so that there is no moment between the two in which a signal is
raised and sent to nobody. Signals that come both ways meet in the inbox, which takes each once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import structlog

from worker.backoff import Schedule
from worker.bridge.signal_read import Fetch, Fetched
from worker.bridge.signal_requests import SIGNALS
from worker.bridge.unread_alerts import Missed
from worker.ledger import signals
from worker.ledger.database import DatabaseError
from worker.partner.socket_calls import HeldBack
from worker.replies import Domain, Misdirected, NotSent, Refusal, Unauthorized

log = structlog.get_logger()

BOTH_WITHIN = 2.0
"""Seconds that a socket's catch-up waits for the other socket when that is about to listen too, to share the fetch:
the partner drops both at once. Signals that are raised meanwhile come over the socket."""

EXTRA = f"{SIGNALS}@unreadable"
"""The fetch for alerts that could not be read, as the call log names it."""

EXTRA_EVERY = timedelta(minutes=5)
"""At most one of them in that time, of all bridges together (README, "What happens when"): the vendor asks not to poll
this."""

SETTLED = 1.0
"""Seconds from an alert that cannot be read to the fetch. Others that come with it share the fetch; and the partner's
reads may show an alert later than its socket."""

SOON = 2.0
"""Seconds until the next look when the database is away."""

UNREACHABLE = 15.0
"""Seconds until the next try when the partner could not be reached."""

TRIES = 3
"""Fetches from a domain that fails while the other one knows some, or says nothing while the other one knows none."""


class Listens(Protocol):
    """A line, as far as it matters here."""

    domain: Domain
    epoch: int
    on_its_way: bool
    is_listening: bool
    caught_up: bool


def holder_of(live: AbstractSet[int], demo: AbstractSet[int]) -> Domain | None:
    """The domain that alone need be asked, by what both have just answered: the one that knew all that the other knew.

    The vendor does not say which domain holds the signals. None: neither knew any (nobody has signed this week), or
    each knew some.
    """
    if live and live >= demo:
        return Domain.LIVE
    return Domain.DEMO if demo > live else None


@dataclass(slots=True)
class _Fetches:
    """What has been fetched for the lines that have begun to listen: `fresh`, their epochs."""

    fresh: Mapping[Domain, int]
    known_silent: AbstractSet[Domain] = frozenset()
    answered: dict[Domain, AbstractSet[int]] = field(default_factory=dict)
    closed: set[Domain] = field(default_factory=set)  # it does not serve signals
    silent: set[Domain] = field(default_factory=set)  # it says nothing at all
    failures: Counter[Domain] = field(default_factory=Counter)

    def not_answered(self, domain: Domain, fetched: Fetched) -> None:
        """A 401 may be about the token, which is renewed: only the second one is about the domain. A text of the
        domain's own may say that this call belongs to the other one.
        """
        self.failures[domain] += 1
        if fetched.silent and (self.failures[domain] >= TRIES or domain in self.known_silent):
            self.silent.add(domain)
        match fetched.reply:
            case Refusal() | Misdirected(status=200):
                self.closed.add(domain)
            case Unauthorized() if self.failures[domain] > 1:
                self.closed.add(domain)
            case _:
                pass

    @property
    def shows_holder(self) -> bool:
        """Whether each domain has said what it knows, if only by serving no signals."""
        return len(self.answered.keys() | self.closed | self.silent) == len(Domain)

    def enough(self, domains: Sequence[Domain]) -> bool:
        """Whether nothing more is to be had. The vendor does not say which domain holds the signals: one that knows
        some will do when the other one fails time and again.
        """
        left = [domain for domain in domains if domain not in self.answered.keys() | self.closed | self.silent]
        if not self.answered and not left:
            self.closed.clear()
            self.silent.clear()
            return False
        return not left or (any(self.answered.values()) and all(self.failures[domain] >= TRIES for domain in left))


@dataclass(slots=True)
class CatchUp:
    """One for both lines. `clock` is monotonic seconds."""

    lines: Sequence[Listens]
    fetch: Fetch
    clock: Callable[[], float] = time.monotonic
    missed: Missed = field(default_factory=Missed)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _holder: Domain | None = None
    _each_holds: bool = False  # each domain knew signals that the other one did not
    _looked_again: set[Domain] = field(default_factory=set)
    _extra_at: float = 0.0  # when the next fetch for missed alerts is looked at
    _allowed_at: float = 0.0  # not before, as far as is known

    def changed(self) -> None:
        """A line has begun or ceased to listen."""
        self._changed.set()

    def unreadable(self) -> None:
        """Something came over a socket that may be a signal and cannot be read."""
        soon = max(self._allowed_at, self.clock() + SETTLED)
        self._extra_at = min(self._extra_at, soon) if self.missed.waiting else soon
        self.missed.came()
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wait()
            if self._fresh():
                await self._both()
                await self.run_once()
            elif self.missed.waiting and self.clock() >= self._extra_at:
                self._extra_at = self._allowed_at = self.clock() + await self._extra()

    async def _wait(self) -> None:
        """Until a line changes, or until it is time for the fetch that alerts wait for."""
        wait = max(0.0, self._extra_at - self.clock()) if self.missed.waiting else None
        try:
            async with asyncio.timeout(wait):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def run_once(self) -> None:
        """Fetches for the lines that have begun to listen since, until that is done or none of them listens."""
        pause, failures, begun = Schedule(base=1.0, cap=60.0, jitter=0.5), 0, self.missed.seen
        fetches = _Fetches({})
        while fresh := self._fresh():
            if fetches.fresh != fresh:
                fetches, begun = _Fetches(fresh, self._looked_again), self.missed.seen
            # One fetch a connection: both domains for two new sockets, the one that holds the signals for one alone.
            # As long as that is not known, both: what one of them knows says nothing of what the other knows.
            known = (self._holder,) if len(fresh) == 1 and self._holder is not None else (Domain.LIVE, Domain.DEMO)
            wait = await self._fetch_all(fetches, known)
            if wait is None:
                self.missed.covered(begun)
                for line in self.lines:
                    if fresh.get(line.domain) == line.epoch and line.is_listening:
                        line.caught_up = True
                        log.info("bridge.caught_up", domain=line.domain)
                continue
            failures += 1
            await asyncio.sleep(wait or pause.delay(failures))

    def _fresh(self) -> dict[Domain, int]:
        return {line.domain: line.epoch for line in self.lines if line.is_listening and not line.caught_up}

    async def _both(self) -> None:
        try:
            async with asyncio.timeout(BOTH_WITHIN):
                while any(line.on_its_way for line in self.lines):
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            pass

    async def _fetch_all(self, fetches: _Fetches, domains: Sequence[Domain]) -> float | None:
        """None when all is fetched; else the seconds to wait before it is tried again, 0 for the usual pause."""
        for domain in domains:
            if domain in fetches.answered.keys() | fetches.closed | fetches.silent:
                continue
            try:
                fetched = await self.fetch.read(domain)
            except HeldBack as held:
                return held.wait
            except DatabaseError as error:
                self.fetch.failed(domain, error.reason)
                return 0.0
            if fetched.ids is None:
                fetches.not_answered(domain, fetched)  # the signals may be on the other domain, which is asked too
                continue
            fetches.answered[domain] = fetched.ids
        if not fetches.enough(domains):
            return 0.0
        if fetches.shows_holder:
            live, demo = (fetches.answered.get(domain, frozenset()) for domain in (Domain.LIVE, Domain.DEMO))
            self._holder = holder_of(live, demo)
            self._each_holds = self._holder is None and bool(live)
        for domain in fetches.silent:
            self._look_again(domain, fetches)
        return None

    def _look_again(self, domain: Domain, fetches: _Fetches) -> None:
        """A domain that says nothing most likely does not know alerts. But it may just be starting, and hold signals
        that the other one, which knows none, does not: so it is asked once more, five minutes later.
        """
        if domain in self._looked_again or any(fetches.answered.values()):
            return
        self._looked_again.add(domain)
        self.missed.came()
        for other in fetches.answered:
            self.missed.answered(other, self.missed.seen)
        self._extra_at = self.clock() + EXTRA_EVERY.total_seconds()

    async def _extra(self) -> float:
        """One fetch for alerts that could not be read, if it is allowed now; seconds until the next one may be."""
        database = self.fetch.database
        try:
            async with database.connection() as connection:
                wait = await signals.fetch_allowed_in(connection, EXTRA, EXTRA_EVERY)
            if wait:
                return wait
            domain, begun = self.missed.begin(self._holder)
            fetched = await self.fetch.read(domain, EXTRA)
        except HeldBack as held:
            return held.wait
        except DatabaseError as error:
            self.fetch.failed(None, error.reason)
            return SOON
        if fetched.ids is None and not fetched.silent:
            self.missed.failed(domain)
        elif domain is self._holder or (fetched.ids and not self._each_holds):
            self.missed.covered(begun)
        else:
            self.missed.answered(domain, begun)
        log.info("bridge.fetched_again", domain=domain, found=len(fetched.ids or ()), waiting=self.missed.waiting)
        return UNREACHABLE if isinstance(fetched.reply, NotSent) else 0.0
