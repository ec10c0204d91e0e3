"""A batch of records into the ledger: good events accepted, bad ones put on the dead-letter topic, none skipped."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import structlog
from aiokafka.errors import KafkaError

from schemas.events import Account
from schemas.outcomes import ErrorCode, Outcome, Status, outcome_id
from worker.backoff import Schedule
from worker.intake.dead_letters import dead_letter_headers
from worker.intake.parse import Parsed, RawRecord, Rejected, parse
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import TopicNames, dead_letter_topic
from worker.ledger.database import DatabaseUnavailable
from worker.ledger.errors import reason_of
from worker.ledger.ledger import Ledger, Refusal
from worker.ledger.rows import Accepted, OutcomeRow

log = structlog.get_logger()

TraceHeaders = Mapping[str, str]

T = TypeVar("T")


@dataclass(slots=True)
class Taker:
    """Takes batches. `counted` is told topic, result (accepted, known, invalid) and how many."""

    ledger: Ledger
    producer: RecordProducer
    names: TopicNames
    products: Mapping[str, Account]
    hand: Callable[[Sequence[OutcomeRow]], None]
    counted: Callable[[str, str, int], None] = lambda *_: None
    rejected: Callable[[str, str], None] = lambda *_: None
    trace: Callable[[str, int, int, TraceHeaders | None], TraceHeaders | None] = lambda *given: given[-1]
    crash: Callable[[str], None] = lambda _point: None
    failing: str | None = None  # what keeps intake waiting just now

    async def take(self, records: Sequence[RawRecord], stopping: asyncio.Event) -> bool:
        """Returns true when all records are in the ledger or dead letters; false when stopped before that.

        Waits with back-off while Kafka or PostgreSQL is away. A batch that the ledger cannot take for another reason
        is taken record by record, and the culprit becomes a dead letter: nothing behind it waits.
        """
        try:
            await self._take(records, stopping)
        except _Stopped:
            return False
        return True

    async def _take(self, records: Sequence[RawRecord], stopping: asyncio.Event) -> None:
        events: list[Accepted] = []
        bad: list[tuple[RawRecord, Rejected]] = []
        for record in records:
            match parse(record, self.products):
                case Rejected() as rejected:
                    bad.append((record, rejected))
                case Parsed() as parsed:
                    events.append(
                        Accepted(
                            parsed.topic,
                            parsed.event_id,
                            parsed.event,
                            record.key,
                            record.partition,
                            record.offset,
                            self.trace(parsed.topic, record.partition, record.offset, _trace(parsed)),
                        )
                    )
        for record, rejected in bad:
            await self._bury(record, rejected, stopping)
        refusals = [refusal for record, each in bad if (refusal := self._refusal(record, each)) is not None]
        if not events and not refusals:
            return
        try:
            taken = await self._until(lambda: self.ledger.accept(events, refusals), stopping)
        except _Stopped:
            raise
        except Exception as error:
            log.exception("intake.batch_failed", records=len(records))
            await self._one_by_one(records, bad, refusals, type(error).__name__, stopping)
            return
        self.crash("after_intake_commit")
        for result, counts in (("accepted", taken.accepted), ("known", taken.known)):
            for topic, count in counts.items():
                self.counted(topic, result, count)
        self.hand(taken.outcomes)

    async def _one_by_one(
        self,
        records: Sequence[RawRecord],
        bad: Sequence[tuple[RawRecord, Rejected]],
        refusals: Sequence[Refusal],
        error: str,
        stopping: asyncio.Event,
    ) -> None:
        """The ledger could not take a batch, by a fault of ours: the culprit is buried, the rest goes in.

        The dead letters of the batch are on their topic already; what is left of them are the outcomes that say so.
        """
        buried = {(record.partition, record.offset, record.topic) for record, _ in bad}
        good = [each for each in records if (each.partition, each.offset, each.topic) not in buried]
        if good and refusals:
            self.hand((await self._until(lambda: self.ledger.accept((), refusals), stopping)).outcomes)
        if len(good) == 1:
            fault = Rejected("unreadable", f"The worker could not take it, by a fault of its own: {error}.")
            await self._bury(good[0], fault, stopping)
            return
        for record in good:
            await self._take([record], stopping)

    async def _until(self, work: Callable[[], Awaitable[T]], stopping: asyncio.Event) -> T:
        pause = Schedule(base=0.2, cap=5.0)
        attempt = 0
        while True:
            try:
                result = await work()
            except (OSError, KafkaError, DatabaseUnavailable) as error:
                attempt += 1
                self.failing = reason_of(error)
                seconds = pause.delay(attempt, random.random) + 0.1
                log.warning("intake.waits", error=self.failing, retry_in_seconds=round(seconds, 2))
                try:
                    async with asyncio.timeout(seconds):
                        await stopping.wait()
                    raise _Stopped
                except TimeoutError:
                    continue
            self.failing = None
            return result

    async def _bury(self, record: RawRecord, rejected: Rejected, stopping: asyncio.Event) -> None:
        headers = dead_letter_headers(record.headers, rejected, record, datetime.now(UTC))
        await self._until(
            lambda: self.producer.send(
                self.names.on_broker(dead_letter_topic(record.topic)),
                value=record.value,
                key=record.key,
                headers=headers,
            ),
            stopping,
        )
        log.warning(
            "intake.dead_letter",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=rejected.code,
            error=rejected.sentence,
        )
        self.counted(record.topic, "invalid", 1)
        self.rejected(record.topic, rejected.code)

    def _refusal(self, record: RawRecord, rejected: Rejected) -> Refusal | None:
        if rejected.event_id is None:
            return None
        ids = rejected.ids
        outcome = Outcome(
            outcome_id=outcome_id(record.topic, rejected.event_id, Status.FAILED, ErrorCode.INVALID, None, 0),
            event_id=rejected.event_id,
            topic=record.topic,
            status=Status.FAILED,
            order_id=ids.order_id,
            trader_id=ids.trader_id,
            user_id=ids.user_id,
            account_id=ids.account_id,
            error_code=ErrorCode.INVALID,
            error_text=rejected.sentence,
            occurred_at=datetime.now(UTC),
        )
        return Refusal(outcome, record.key, _trace(rejected) or {})


def _trace(read: Parsed | Rejected) -> dict[str, str] | None:
    """The record's trace context, as headers."""
    found = (("traceparent", read.traceparent), ("tracestate", read.tracestate))
    return {name: text for name, text in found if text is not None} or None


class _Stopped(Exception):  # noqa: N818 - the worker's state
    """The worker stops while it waits for Kafka or PostgreSQL."""
