"""One read of the signals that a domain knows, out of its response into the inboxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog

from worker.bridge.calls import SIGNALS, CountedCalls
from worker.bridge.inbox import Offer
from worker.bridge.signals import Outgoing
from worker.bridge.taker import SignalTaker
from worker.ledger import signals
from worker.ledger.calls import result_name
from worker.ledger.database import Database
from worker.ops.changes import Changes
from worker.replies import Answer, Domain, NotExecuted, Reply
from worker.tradovate.alerts import signals_in

__all__ = ["Fetch", "Fetched", "found_in"]

log = structlog.get_logger()

CHUNK = 2_000
"""Keys looked up in one statement."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a read has brought. `ids`: of all signals that it held, None when it failed."""

    reply: Reply
    ids: frozenset[int] | None


@dataclass(slots=True)
class Fetch:
    """`counted` gets `done` or the name of what went wrong, for each read."""

    calls: CountedCalls
    taker: SignalTaker
    database: Database
    counted: Callable[[str], None] = lambda _result: None
    trouble: str | None = None
    """Why the last read has brought nothing, or None."""
    _says_nothing: set[Domain] = field(default_factory=set)
    _said: Changes = field(default_factory=Changes)

    async def read(self, domain: Domain, operation: str = SIGNALS) -> Fetched:
        """Asks this domain once. Raises `HeldBack`, or `DatabaseError`."""
        reply = await self.calls.get(domain, operation, {"masterid": self.taker.mda_alert_id})
        found = found_in(reply)
        if found is None and says_nothing(reply):
            if operation == SIGNALS:
                reply = await self._asked_again(domain, reply)
            found = [] if domain in self._says_nothing else found_in(reply)
        name = "done" if found is not None else result_name(reply)
        self.counted(name)
        if found is None:
            self.failed(domain, name)
            return Fetched(reply, None)
        self.trouble = None
        self._said.over(domain)
        return Fetched(reply, frozenset(await self._take(found)))

    async def _asked_again(self, domain: Domain, reply: Reply) -> Reply:
        """A wrong host, or one that is being started, says nothing too. It is no signals if this host knows the alert
        and says nothing of its signals again.
        """
        alert = await self.calls.find_alert(domain)
        self._says_nothing.discard(domain)
        if isinstance(alert, Answer) and isinstance(alert.body, dict) and "id" in alert.body:
            reply = await self.calls.get(domain, SIGNALS, {"masterid": self.taker.mda_alert_id})
            if says_nothing(reply):
                self._says_nothing.add(domain)
        return reply

    def failed(self, domain: Domain | None, why: str) -> None:
        """Says why nothing could be fetched, once."""
        self.trouble = why if domain is None else f"{domain}: {why}"
        if self._said.changed(domain, why):
            log.warning("bridge.catch_up_failed", domain=domain, why=why)

    async def _take(self, found: Iterable[Any]) -> set[int]:
        """Puts what is not on Kafka yet into the inboxes, the oldest first; the ids of all."""
        records = (record for row in found if (record := self.taker.fetched(row)) is not None)
        by_topic: dict[str, dict[int, Outgoing]] = {}
        for record in records:
            by_topic.setdefault(record.topic, {})[record.signal_id] = record
        for topic, by_id in by_topic.items():
            ids = sorted(by_id)
            for at in range(0, len(ids), CHUNK):
                chunk = ids[at : at + CHUNK]
                async with self.database.connection() as connection:
                    known = await signals.known(connection, topic, chunk)
                for signal_id in chunk:
                    while signal_id not in known and self.taker.offer(by_id[signal_id]) is Offer.FULL:
                        await self.taker.signed.wait_for_room()
        return {signal_id for by_id in by_topic.values() for signal_id in by_id}


def found_in(reply: Reply) -> list[Any] | None:
    """The signals of a response; None when it does not prove what the partner knows."""
    match reply:
        case Answer(list(rows)):
            return list(signals_in(rows))
        case Answer(dict(row)) if "id" in row or "adminAlertSignal" in row:
            return list(signals_in(row))
        case _:
            return None


def says_nothing(reply: Reply) -> bool:
    """Whether this may be how a domain says that it knows no signals: the vendor shows no example."""
    match reply:
        case NotExecuted(status=404) | Answer(None):
            return True
        case Answer(body):
            return isinstance(body, dict) and not body
        case _:
            return False
