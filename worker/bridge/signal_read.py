"""One read of the signals that a domain knows, out of its response into the inboxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog

from worker.bridge.signal_intake import SignalIntake
from worker.bridge.signal_record import Outgoing
from worker.bridge.signal_requests import SIGNALS, CountedCalls
from worker.bridge.topic_inbox import Offer
from worker.ledger import signals
from worker.ledger.call_log import result_name
from worker.ledger.database import Database
from worker.partner.alerts import signals_in
from worker.replies import Answer, Domain, Misdirected, Reply
from worker.telemetry.log_on_change import LastReported

__all__ = ["Fetch", "Fetched", "found_in"]

log = structlog.get_logger()

CHUNK = 2_000
"""Keys looked up in one statement."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a read has brought. `ids`: of all signals that it held, None when it failed. `silent`: the domain says
    nothing, neither of signals nor of the alert: it may not know alerts at all, or be a wrong host.
    """

    reply: Reply
    ids: frozenset[int] | None
    silent: bool = False


@dataclass(slots=True)
class Fetch:
    """`counted` gets `done` or the name of what went wrong, for each read. `listens`: whether a socket of the domain
    does, which shows that its host is the right one.
    """

    calls: CountedCalls
    intake: SignalIntake
    database: Database
    listens: Callable[[Domain], bool]
    counted: Callable[[str], None] = lambda _result: None
    trouble: str | None = None
    """Why the last read has brought nothing, or None."""
    _no_signals: dict[Domain, bool] = field(default_factory=dict)
    """Of a domain that says nothing of signals: whether that means none, since it knows the alert."""
    _said: LastReported = field(default_factory=LastReported)

    async def read(self, domain: Domain, operation: str = SIGNALS) -> Fetched:
        """Asks this domain once. Raises `HeldBack`, or `DatabaseError`."""
        reply, found = await self._signals(domain, operation)
        if found is None and says_nothing(reply):
            if operation == SIGNALS:
                reply, found = await self._asked_again(domain, reply)
            if found is None and self._no_signals.get(domain):
                found = []
        silent = found is None and says_nothing(reply) and domain in self._no_signals
        name = "done" if found is not None else result_name(reply)
        self.counted(name)
        if found is None:
            self.failed(domain, name)
            return Fetched(reply, None, silent)
        self.trouble = None
        self._said.ended(domain)
        return Fetched(reply, frozenset(await self._take(found)))

    async def _signals(self, domain: Domain, operation: str) -> tuple[Reply, list[Any] | None]:
        """If the domain has never answered with signals, first asks whether it knows the alert: the vendor asks not to
        poll signals.
        """
        if operation == SIGNALS and self._no_signals.get(domain) is False:
            alert = await self.calls.find_alert(domain, finds_out=not self.listens(domain))
            if says_nothing(alert):
                return alert, None
            del self._no_signals[domain]
        reply = await self.calls.get(domain, operation, {"masterid": self.intake.mda_alert_id})
        return reply, found_in(reply)

    async def _asked_again(self, domain: Domain, reply: Reply) -> tuple[Reply, list[Any] | None]:
        """A wrong host, or one that is being started, says nothing too. It is no signals if this host knows the alert
        and says nothing of its signals again.
        """
        if self._no_signals.get(domain) is False:
            return reply, None
        alert = await self.calls.find_alert(domain, finds_out=not self.listens(domain))
        if says_nothing(alert):
            self._no_signals[domain] = False
            return alert, None
        self._no_signals.pop(domain, None)
        if not (isinstance(alert, Answer) and isinstance(alert.body, dict) and "id" in alert.body):
            return alert, None
        reply, found = await self._signals(domain, SIGNALS)
        if found is None and says_nothing(reply):
            self._no_signals[domain] = True
        return reply, found

    def failed(self, domain: Domain | None, why: str) -> None:
        """Says why nothing could be fetched, once."""
        self.trouble = why if domain is None else f"{domain}: {why}"
        if self._said.changed(domain, why):
            log.warning("bridge.catch_up_failed", domain=domain, why=why)

    async def _take(self, found: Iterable[Any]) -> set[int]:
        """Puts what is not on Kafka yet into the inboxes, the oldest first; the ids of all."""
        records = (record for row in found if (record := self.intake.fetched(row)) is not None)
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
                    while signal_id not in known and self.intake.offer(by_id[signal_id]) is Offer.FULL:
                        await self.intake.signed.wait_for_room()
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
        case Misdirected(status=404) | Answer(None):
            return True
        case Answer(body):
            return isinstance(body, dict) and not body
        case _:
            return False
