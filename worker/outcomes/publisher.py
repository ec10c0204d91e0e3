"""Publishes outcomes from the ledger, and notes that they are published.

A replica publishes what it wrote itself at once; what a dead replica left behind is taken over when its lease runs
out. A replica that dies between publishing and noting so makes a second record with the same `outcomeId`; one that
lives does not, however long Kafka or the database is away: it keeps its lease up while it tries, sends nothing that
it may no longer have the lease of, and notes what it has published before another may take it for unpublished.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import structlog
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.backoff import Schedule
from worker.kafka.producer import MAX_BATCH_BYTES, PlainRecord, RecordProducer
from worker.kafka.topics import TopicNames, outcome_topic
from worker.ledger.database import DatabaseError
from worker.ledger.errors import reason_of
from worker.ledger.outbox import Outbox
from worker.ledger.rows import NOT_OURS, OutcomeRow

log = structlog.get_logger()

SWEEP_EVERY = 2.0
"""Seconds between looks for outcomes that nobody has published in time."""

KEEP_EVERY = 3.0
"""Seconds between extensions of the lease while Kafka keeps a send waiting: three tries within one lease."""

_PAUSE = 2.0
"""Seconds at most between two tries while Kafka or the database is away."""

_QUIET = 5.0
"""Seconds without a sweep after the database was away: more than twice `_PAUSE`, in which whoever has published
what it could not note does so. Leases run out during the outage, and a sweep would find all of it unpublished."""

Rows = list[tuple[OutcomeRow, PlainRecord]]

AT_ONCE = 500
"""Outcomes in one round: bounds memory, and what is published twice when this replica dies before noting it."""


@dataclass(slots=True)
class Publisher:
    """The way of outcomes to Kafka. `hand` takes what has just been written; `run` publishes."""

    outbox: Outbox
    producer: RecordProducer
    names: TopicNames
    published: Callable[[OutcomeRow], None] = lambda _row: None
    crash: Callable[[str], None] = lambda _point: None
    _handed: dict[int, OutcomeRow] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _unnoted: list[int] = field(default_factory=list)
    _sweep_at: float = 0.0
    _finishing: bool = False
    trouble: str | None = None  # why nothing is published or noted now
    progress: float = field(default_factory=time.monotonic)

    def hand(self, outcomes: Sequence[OutcomeRow]) -> None:
        """Takes outcomes that this replica has the lease of. One that is not ours yet is looked for at once: most often
        what it waits for has been published by this replica a moment ago.
        """
        ours = {row.id: row for row in outcomes if row.until != NOT_OURS}
        if len(ours) < len(outcomes) and self.trouble is None:
            self._sweep_at = 0.0
        if outcomes:
            self._handed.update(ours)
            self._wake.set()

    def finish(self) -> None:
        """Nothing more will be handed over: publish what is in hand, and end."""
        self._finishing = True
        self._wake.set()

    async def run(self) -> None:
        """Publishes until told to finish and nothing is in hand."""
        pause = Schedule(base=0.2, cap=_PAUSE)
        failures = 0
        while not (self._finishing and not self._handed and not self._unnoted):
            self._wake.clear()
            try:
                await self.run_once()
                failures = 0
                self.trouble = None
            except (OSError, KafkaError, DatabaseError) as error:
                failures += 1
                self.trouble = reason_of(error)
                self._sweep_at = time.monotonic() + _QUIET
                log.warning("outcomes.waits", error=self.trouble, in_hand=len(self._handed))
                await asyncio.sleep(pause.delay(failures, random.random) + 0.1)
            self.progress = time.monotonic()
            if not self._handed and not self._finishing:
                try:
                    async with asyncio.timeout(SWEEP_EVERY):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def run_once(self) -> None:
        """Publishes what is in hand and what others left; raises when Kafka or the database is away."""
        if self._unnoted:
            await self._note()
        if time.monotonic() >= self._sweep_at and not self._finishing:
            found = await self.outbox.unpublished(AT_ONCE)
            # Of each flow one was found: the next one can be claimed when that is published.
            self._sweep_at = 0.0 if found else time.monotonic() + SWEEP_EVERY
            self.hand(found)
        while self._handed:
            self.crash("before_publish")
            await self._send(self._still_ours())
            self.crash("after_publish")
            await self._note()

    def _still_ours(self) -> Sequence[OutcomeRow]:
        """The next rows to send. The race: whoever was frozen, or waited for Kafka, over the end of a lease finds the
        row published by another; what may have been taken over is let go, and the sweep finds it if it was not.
        """
        now = time.monotonic()
        for lost in [row.id for row in self._handed.values() if row.until <= now]:
            del self._handed[lost]
        rows: list[OutcomeRow] = []
        flows: set[uuid.UUID] = set()
        for row in islice(self._handed.values(), AT_ONCE):
            # Two of one flow may go to two partitions, where nothing keeps their order: one after the other.
            if row.flow_id is None or row.flow_id not in flows:
                rows.append(row)
            if row.flow_id is not None:
                flows.add(row.flow_id)
        return rows

    async def _send(self, rows: Sequence[OutcomeRow]) -> None:
        """Sends; what has arrived is out of our hands even when the rest fails."""
        sending = asyncio.create_task(self._send_all(rows))
        try:
            while not (await asyncio.wait({sending}, timeout=KEEP_EVERY))[0]:
                await self._keep()
        finally:
            sending.cancel()
        sending.result()

    async def _send_all(self, rows: Sequence[OutcomeRow]) -> None:
        sends = [self._send_in_order(*place, batches) for place, batches in (await self._batches(rows)).items()]
        for end in await asyncio.gather(*sends, return_exceptions=True):
            if isinstance(end, BaseException):
                raise end

    async def _batches(self, rows: Sequence[OutcomeRow]) -> dict[tuple[str, int], deque[Rows]]:
        """The rows by topic and partition, in their order, as many together as fit into a batch."""
        batches: dict[tuple[str, int], deque[Rows]] = {}
        filled: dict[tuple[str, int], int] = {}
        for row in rows:
            topic = self.names.on_broker(outcome_topic(row.topic))
            headers = [(name, text.encode()) for name, text in row.headers.items()]
            record = PlainRecord(row.record_key, row.body, headers)
            place = topic, await self.producer.partition(topic, row.record_key)
            if filled.get(place, MAX_BATCH_BYTES) + record.size > MAX_BATCH_BYTES:
                batches.setdefault(place, deque()).append([])
                filled[place] = 0
            batches[place][-1].append((row, record))
            filled[place] += record.size
        return batches

    async def _send_in_order(self, topic: str, partition: int, batches: deque[Rows]) -> None:
        """One after the other, up to the first that fails: `pending` does not come after what was final. Only a record
        that is too large by itself holds up no other.
        """
        too_large: MessageSizeTooLargeError | None = None
        while batches:
            batch = batches.popleft()
            try:
                await self.producer.send_together(topic, partition, [record for _, record in batch])
            except MessageSizeTooLargeError as error:  # the topic may take less than a batch of ours
                if len(batch) == 1:
                    too_large = error
                else:
                    middle = len(batch) // 2
                    batches.extendleft((batch[middle:], batch[:middle]))
                continue
            for row, _ in batch:
                self._handed.pop(row.id, None)
                self._unnoted.append(row.id)
                self.published(row)
        if too_large is not None:
            raise too_large

    async def _keep(self) -> None:
        """Keeps up the lease of what is in hand, as far as it is surely still ours."""
        now = time.monotonic()
        ours = [row.id for row in self._handed.values() if row.until > now]
        try:
            until = await self.outbox.keep(ours)
        except DatabaseError as error:
            log.info("outcomes.lease_not_kept", error=reason_of(error))
            return
        for row_id in ours:
            if row_id in self._handed:
                self._handed[row_id] = replace(self._handed[row_id], until=until)

    async def _note(self) -> None:
        """Kept for the next round when the database is away: published is published."""
        noted = list(self._unnoted)
        await self.outbox.published(noted)
        del self._unnoted[: len(noted)]
