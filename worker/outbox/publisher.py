"""Publishes outcomes from the ledger, and notes that they are published.

A replica publishes what it wrote itself at once; what a dead replica left behind is taken over when its lease runs out.
A replica that dies between publishing and noting so makes a second record with the same `outcomeId`. One that lives
does not, however long Kafka or the database is away: it renews its leases while it tries, sends nothing whose lease may
have run out, and notes what it has published before the lease runs out.

Each topic has rounds of its own: one that accepts nothing (it was deleted, the worker may not write to it) holds up no
other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from aiokafka.errors import KafkaError

from worker.backoff import Schedule
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import TopicNames, outcome_topic
from worker.ledger.database import DatabaseError
from worker.ledger.errors import reason_of
from worker.ledger.outbox import OUTCOME_LEASE, Outbox
from worker.ledger.rows import NOT_OURS, OutcomeRow
from worker.outbox.record_batches import send_in_order
from worker.outbox.topic_outbox import AT_ONCE, TopicOutbox

log = structlog.get_logger()

SWEEP_EVERY = 2.0
"""Seconds between looks for outcomes that nobody has published in time."""

KEEP_EVERY = 3.0
"""Seconds between extensions of the lease while Kafka keeps a send waiting: three tries within one lease."""

_PAUSE = 2.0
"""Seconds at most between two tries while a topic or the database is away."""

_QUIET = 5.0
"""Seconds without a sweep after the database was away: more than twice `_PAUSE`, in which each replica that has
published what it could not note does so. Leases run out during the outage, and a sweep would find all of it
unpublished."""


@dataclass(slots=True)
class Publisher:
    """The way of outcomes to Kafka. `hand` takes what has just been written; `run` publishes."""

    outbox: Outbox
    producer: RecordProducer
    names: TopicNames
    published: Callable[[OutcomeRow, int, float], None] = lambda *_: None  # a row, its partition, the seconds it took
    crash: Callable[[str], None] = lambda _point: None
    pause: Schedule = field(default_factory=lambda: Schedule(base=0.2, cap=_PAUSE, least=0.1))
    _topics: dict[str, TopicOutbox] = field(default_factory=dict)  # by input topic
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _unnoted: list[int] = field(default_factory=list)
    _ledger_away: str | None = None
    _sweep_at: float = 0.0
    _kept_at: float = 0.0
    _finishing: bool = False
    progress: float = field(default_factory=time.monotonic)

    @property
    def trouble(self) -> str | None:
        """Why outcomes are not published or noted now."""
        now = time.monotonic()
        refusals = (topic.trouble(now) for _, topic in sorted(self._topics.items()))
        return self._ledger_away or "; ".join(why for why in refusals if why is not None) or None

    def hand(self, outcomes: Sequence[OutcomeRow]) -> None:
        """Takes outcomes that this replica has the lease of. One that is not ours yet is looked for at once: most often
        what it waits for has been published by this replica a moment ago.
        """
        for row in outcomes:
            if row.until != NOT_OURS:
                topic = self._topics.get(row.topic)
                if topic is None:
                    topic = self._topics[row.topic] = TopicOutbox(row.topic)
                topic.hold(row)
            elif self._ledger_away is None:
                self._sweep_at = 0.0
        if outcomes:
            self._wake.set()

    def finish(self) -> None:
        """Nothing more will be handed over: publish what is in hand, and end."""
        self._finishing = True
        self._wake.set()

    async def run(self) -> None:
        """Publishes until asked to finish and nothing is in hand."""
        failures = 0
        try:
            while not (self._finishing and not self._in_hand() and not self._unnoted):
                try:
                    await self.run_once()
                    failures = 0
                    await self._idle()
                except DatabaseError as error:
                    failures += 1
                    self._sweep_at = time.monotonic() + _QUIET
                    if error.reason != self._ledger_away:
                        log.warning("outcomes.waits", error=error.reason, in_hand=self._in_hand())
                    self._ledger_away = error.reason
                    await asyncio.sleep(self.pause.delay(failures))
                self.progress = time.monotonic()
        finally:
            rounds = list(self._rounds())
            for each in rounds:
                each.cancel()
            await asyncio.gather(*rounds, return_exceptions=True)

    async def run_once(self) -> None:
        """Publishes what is in hand and what others left, except on topics that accept nothing now. Raises
        `DatabaseError`; rounds that are on their way then go on.
        """
        while True:
            self._wake.clear()
            await self._note()
            await self._sweep()
            self._start()
            if not list(self._rounds()):
                return
            await self._wait()

    async def _note(self) -> None:
        """What cannot be noted is noted in the next round: it is published."""
        if not self._unnoted:
            return
        noted = list(self._unnoted)
        await self.outbox.published(noted)
        self._ledger_away = None
        del self._unnoted[: len(noted)]

    async def _sweep(self) -> None:
        if self._finishing or time.monotonic() < self._sweep_at:
            return
        enough = [topic.topic for topic in self._topics.values() if topic.has_enough]
        found = await self.outbox.unpublished(AT_ONCE, without=enough)
        self._ledger_away = None
        # Of each flow one was found: the next one can be claimed when that is published.
        self._sweep_at = 0.0 if found else time.monotonic() + SWEEP_EVERY
        self.hand(found)

    def _start(self) -> None:
        """Begins a round for each topic that may have one."""
        now = time.monotonic()
        for topic in self._topics.values():
            if rows := topic.next_rows(now):
                self.crash("before_publish")
                topic.sending, topic.sending_since = asyncio.create_task(self._send(topic, rows)), now

    async def _send(self, topic: TopicOutbox, rows: Sequence[OutcomeRow]) -> None:
        """One round; what has arrived is out of our hands even when the rest fails."""

        def sent(row: OutcomeRow, partition: int, seconds: float) -> None:
            topic.in_hand.pop(row.id, None)
            self._unnoted.append(row.id)
            self.published(row, partition, seconds)

        def ours(row: OutcomeRow) -> bool:
            return topic.has_lease(row, time.monotonic())

        await send_in_order(self.producer, self.names.on_broker(outcome_topic(topic.topic)), rows, ours, sent)

    async def _wait(self) -> None:
        """Until a round has ended or something new is handed over. Leases are kept up meanwhile."""
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({*self._rounds(), woken}, timeout=KEEP_EVERY, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        self.progress = time.monotonic()
        for topic in self._topics.values():
            if topic.sending is not None and topic.sending.done():
                over, topic.sending = topic.sending, None
                self._ended(topic, over)
        await self._keep()

    def _ended(self, topic: TopicOutbox, over: asyncio.Task[None]) -> None:
        try:
            over.result()
        # Cancelled: not this task, but a send of a producer that was closed after another's failure.
        except (OSError, KafkaError, asyncio.CancelledError) as error:
            reason = type(error).__name__
            topic.failures += 1
            topic.retry_at = time.monotonic() + self.pause.delay(topic.failures)
            if reason != topic.refused:
                log.warning("outcomes.waits", topic=topic.topic, error=reason, in_hand=len(topic.in_hand))
            topic.refused = reason
        else:
            if topic.refused is not None:
                log.info("outcomes.continues", topic=topic.topic)
            topic.reset_refusal()
            self.crash("after_publish")

    async def _idle(self) -> None:
        """Until there may be something to do."""
        now = time.monotonic()
        waits = [topic.retry_at - now for topic in self._topics.values() if topic.in_hand]
        if not self._finishing:
            waits.append(SWEEP_EVERY)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(waits, default=0.0))):
                await self._wake.wait()
        await self._keep()

    async def _keep(self) -> None:
        """Keeps up the lease of what is in hand, as far as it is surely still ours."""
        now = time.monotonic()
        if now < self._kept_at + KEEP_EVERY:
            return
        self._kept_at = now
        soon = now + OUTCOME_LEASE - KEEP_EVERY
        ours = [row.id for topic in self._topics.values() for row in topic.in_hand.values() if now < row.until < soon]
        if not ours:
            return
        try:
            until = await self.outbox.keep(ours)
        except DatabaseError as error:
            log.info("outcomes.lease_not_kept", error=reason_of(error))
            return
        for topic in self._topics.values():
            topic.extend(ours, until)

    def _rounds(self) -> Iterable[asyncio.Task[None]]:
        return (topic.sending for topic in self._topics.values() if topic.sending is not None)

    def _in_hand(self) -> int:
        return sum(len(topic.in_hand) for topic in self._topics.values())
