"""Fetches what was raised while nobody listened: after a socket has begun to listen, never on a schedule.

The socket listens first and the fetch comes second, so that there is no moment between the two in which a signal is
raised and told to nobody. Signals that come both ways meet in the inbox, which takes each once.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from worker.backoff import Schedule
from worker.bridge.calls import SIGNALS, CountedCalls
from worker.bridge.inbox import Offer
from worker.bridge.signals import id_of
from worker.bridge.taker import SignalTaker
from worker.ledger import signals
from worker.ledger.database import Database, DatabaseError
from worker.replies import Answer, Domain, NotExecuted, Refusal, Reply, Unauthorized
from worker.tradovate.socket import HeldBack

log = structlog.get_logger()

COMPANY = 2.0
"""Seconds that a socket's catch-up waits for the other socket when that is about to listen too, to share the fetch:
the partner drops both at once. Signals that are raised meanwhile come over the socket."""

TRIES = 3
"""Fetches from a domain that fails while the other one tells some."""

CHUNK = 2_000
"""Keys looked up in one statement."""


class Listens(Protocol):
    """A line, as far as it matters here."""

    domain: Domain
    epoch: int
    on_its_way: bool
    is_listening: bool
    caught_up: bool


def holder_of(live: AbstractSet[int], demo: AbstractSet[int]) -> Domain | None:
    """The domain that alone need be asked, by what both have just told: the one that knew all that the other knew.

    The vendor does not say which domain holds the signals. None: neither knew any (nobody has signed this week), or
    each knew some.
    """
    if live and live >= demo:
        return Domain.LIVE
    return Domain.DEMO if demo > live else None


@dataclass(slots=True)
class _Heard:
    """What has been fetched for the lines that have begun to listen: `fresh`, their epochs."""

    fresh: Mapping[Domain, int]
    told: dict[Domain, set[int]] = field(default_factory=dict)
    closed: set[Domain] = field(default_factory=set)  # it does not serve signals
    failures: Counter[Domain] = field(default_factory=Counter)

    def not_told(self, domain: Domain, reply: Reply) -> None:
        """A 401 may be about the token, which is renewed: only the second one is about the domain."""
        self.failures[domain] += 1
        if isinstance(reply, Refusal) or (isinstance(reply, Unauthorized) and self.failures[domain] > 1):
            self.closed.add(domain)

    def enough(self, domains: Sequence[Domain]) -> bool:
        """Whether nothing more is to be had. The vendor does not say which domain holds the signals: one that knows
        some will do when the other one fails time and again.
        """
        left = [domain for domain in domains if domain not in self.told and domain not in self.closed]
        if not self.told and not left:
            self.closed.clear()
            return False
        return not left or (any(self.told.values()) and all(self.failures[domain] >= TRIES for domain in left))


@dataclass(slots=True)
class CatchUp:
    """One for both lines. `counted` gets `done` or the name of what went wrong, for each fetch."""

    lines: Sequence[Listens]
    calls: CountedCalls
    taker: SignalTaker
    database: Database
    counted: Callable[[str], None] = lambda _result: None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _holder: Domain | None = None

    def changed(self) -> None:
        """A line has begun or ceased to listen."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._fresh():
                await self._company()
                await self.run_once()

    async def run_once(self) -> None:
        """Fetches for the lines that have begun to listen since, until that is done or none of them listens."""
        pause, failures = Schedule(base=1.0, cap=60.0), 0
        heard = _Heard({})
        while fresh := self._fresh():
            if heard.fresh != fresh:
                heard = _Heard(fresh)
            # One fetch a connection: both domains for two new sockets, the one that holds the signals for one alone.
            # As long as that is not known, one domain and, if it knows none, the other.
            alone = len(fresh) == 1
            known = (self._holder,) if alone and self._holder is not None else (Domain.LIVE, Domain.DEMO)
            wait = await self._fetch_all(heard, known, alone=alone)
            if wait is None:
                for line in self.lines:
                    if fresh.get(line.domain) == line.epoch and line.is_listening:
                        line.caught_up = True
                        log.info("bridge.caught_up", domain=line.domain)
                continue
            failures += 1
            await asyncio.sleep(wait or pause.delay(failures, lambda: 1.0 - random.random() / 2))

    def _fresh(self) -> dict[Domain, int]:
        return {line.domain: line.epoch for line in self.lines if line.is_listening and not line.caught_up}

    async def _company(self) -> None:
        try:
            async with asyncio.timeout(COMPANY):
                while any(line.on_its_way for line in self.lines):
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            pass

    async def _fetch_all(self, heard: _Heard, domains: Sequence[Domain], *, alone: bool) -> float | None:
        """None when all is fetched; else the seconds to wait before it is tried again, 0 for the usual pause."""
        for domain in domains:
            if domain in heard.told or domain in heard.closed:
                continue
            try:
                reply = await self.calls.get(domain, SIGNALS, masterid=self.taker.mda_alert_id)
                found = found_in(reply)
                if found is None:
                    name = type(reply).__name__.lower()
                    self.counted(name)
                    log.warning("bridge.catch_up_failed", domain=domain, reply=name)
                    heard.not_told(domain, reply)
                    continue  # the signals may be on the other domain, which is asked too
                self.counted("done")
                heard.told[domain] = await self._take(found)
                if alone and heard.told[domain]:
                    return None  # this is the domain that holds them
            except HeldBack as held:
                return held.wait
            except DatabaseError as error:
                log.warning("bridge.catch_up_failed", domain=domain, error=error.reason)
                return 0.0
        if len(heard.told) > 1:
            self._holder = holder_of(heard.told[Domain.LIVE], heard.told[Domain.DEMO])
        return None if heard.enough(domains) else 0.0

    async def _take(self, found: Iterable[Mapping[str, Any]]) -> set[int]:
        """Puts what is not on Kafka yet into the inbox, the oldest first; the ids of all."""
        by_id = {each: signal for signal in found if (each := id_of(signal)) is not None}
        ids = sorted(by_id)
        for at in range(0, len(ids), CHUNK):
            chunk = ids[at : at + CHUNK]
            async with self.database.connection() as connection:
                known = await signals.known(connection, chunk)
            for signal_id in chunk:
                while signal_id not in known and self.taker.take(by_id[signal_id]) is Offer.FULL:
                    await self.taker.inbox.wait_for_room()
        return set(ids)


def found_in(reply: Reply) -> list[Mapping[str, Any]] | None:
    """The signals of an answer, none when the partner knows none (404 is how it says so), None when it failed."""
    match reply:
        case NotExecuted(status=404):
            return []
        case Answer(body) if not body:
            return []
        case Answer(list(rows)):
            return [row for row in rows if isinstance(row, dict)]
        case _:
            return None
