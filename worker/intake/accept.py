"""A batch of records into the ledger: good events accepted, bad ones put on the dead-letter topic, none skipped.

A record becomes a dead letter only if its own fault is proven, in one of three ways:

- it cannot be read as an event (`parse`, pure);
- no flow can be made of the event (`Ledger.drafted`, pure);
- the database refuses a value of this event alone, while it accepts an example of the same topic.

Whatever else goes wrong is waited for, with the reason in health and log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import structlog
from aiokafka.errors import KafkaError

from schemas.events import EVENTS, Account
from schemas.outcomes import ErrorCode, Outcome, Status, outcome_id
from worker.backoff import Schedule
from worker.engine.rows import IncomingEvent
from worker.errors import Interruption
from worker.intake.dead_letter_headers import dead_letter_headers
from worker.intake.dead_letter_writer import DeadLetterWriter
from worker.intake.parse import BadRecord, Parsed, RawRecord, parse
from worker.ledger.errors import DatabaseError, DataRefused, reason_of
from worker.ledger.ledger import Ledger, RefusedRecord
from worker.ledger.next_call import NextCall
from worker.ledger.rows import OutcomeRow

log = structlog.get_logger()

TraceHeaders = Mapping[str, str]

Trace = Callable[..., TraceHeaders | None]
"""Of topic, partition, offset, an event's trace context, and why the record is a dead letter: the context to keep."""

T = TypeVar("T")

READ_AT_ONCE = 25
"""Records that are read before other tasks of the process get a turn: to read five hundred takes as long as a call, and
calls that could begin, or whose response has come, would wait for the last of them."""

_REUSED = "Its id belongs to an event with other content that was accepted before."

Good = tuple[RawRecord, IncomingEvent]
Bad = tuple[RawRecord, BadRecord]


class Begins(Protocol):
    """What begins the first calls of events in the transaction that accepts them."""

    @property
    def next_call(self) -> NextCall:
        """To be given to the ledger."""
        ...


class FirstCalls(Protocol):
    """The first calls of events that come alone; what begins them is dispatch's own (`dispatch/lone_calls.py`)."""

    def of_events(self, events: int) -> Begins | None:
        """What begins them; None: dispatch finds their steps when it looks next."""
        ...

    def send(self, begins: Any) -> None:
        """Sends what the transaction has begun."""
        ...


@dataclass(slots=True)
class EventIntake:
    """Takes batches. `counted` gets topic, result (accepted, known, invalid) and how many."""

    ledger: Ledger
    letters: DeadLetterWriter
    products: Mapping[str, Account]
    hand: Callable[[Sequence[OutcomeRow]], None]
    counted: Callable[[str, str, int], None] = lambda *_: None
    traces: Callable[[], AbstractContextManager[Trace]] = lambda: nullcontext(lambda *given: given[3])
    crash: Callable[[str], None] = lambda _point: None
    first_calls: FirstCalls | None = None
    failing: str | None = field(default=None, init=False)  # what keeps intake waiting now

    async def accept_records(self, records: Sequence[RawRecord], stopping: asyncio.Event) -> bool:
        """Returns true when all records are in the ledger or dead letters; false when stopped before that.

        Waits with back-off while anything but a record is at fault.
        """
        try:
            with self.traces() as trace:
                await self._take(records, trace, stopping)
        except _Stopped:
            return False
        return True

    async def _take(self, records: Sequence[RawRecord], trace: Trace, stopping: asyncio.Event) -> None:
        good: list[Good] = []
        bad: list[Bad] = []
        for number, record in enumerate(records, 1):
            read = self._read(record, trace)
            if number % READ_AT_ONCE == 0:
                await asyncio.sleep(0)
            if isinstance(read, BadRecord):
                bad.append((record, read))
            else:
                good.append((record, read))
        refusals = [refusal for each in bad if (refusal := await self._set_aside(*each, stopping)) is not None]
        if not good and not refusals:
            return
        try:
            await self._accept(good, refusals, stopping)
        except DataRefused as error:
            log.warning("intake.batch_refused", error=error.reason, records=len(good))
            await self._one_by_one(good, refusals, stopping)

    def _read(self, record: RawRecord, trace: Trace) -> IncomingEvent | BadRecord:
        parsed = parse(record, self.products)
        if isinstance(parsed, BadRecord):
            if parsed.fault is not None:
                log.error("intake.record_not_read", topic=record.topic, offset=record.offset, exc_info=parsed.fault)
            trace(record.topic, record.partition, record.offset, _trace(parsed), parsed.code)
            return parsed
        accepted = IncomingEvent(
            parsed.topic,
            parsed.event_id,
            parsed.event,
            record.key,
            record.partition,
            record.offset,
            trace(parsed.topic, record.partition, record.offset, _trace(parsed)),
            _published(record),
        )
        try:
            return self.ledger.drafted(accepted)
        except Exception as error:
            log.exception("intake.event_not_understood", topic=record.topic, offset=record.offset)
            return _rejected(accepted, f"The worker cannot use it, by a fault of its own ({type(error).__name__}).")

    async def _accept(self, good: Sequence[Good], refusals: Sequence[RefusedRecord], stopping: asyncio.Event) -> None:
        """Writes them. Raises `DataRefused` when the database refuses a value of theirs."""
        events = [accepted for _, accepted in good]
        begins = self.first_calls.of_events(len(events)) if self.first_calls is not None else None
        next_call = begins.next_call if begins is not None else None
        taken = await self._until(lambda: self.ledger.accept(events, refusals, next_call), stopping)
        self.crash("after_intake_commit")
        if self.first_calls is not None and begins is not None:
            self.first_calls.send(begins)
        for result, counts in (("accepted", taken.accepted), ("known", taken.known)):
            for topic, count in counts.items():
                self.counted(topic, result, count)
        self.hand(taken.outcomes)
        await self._set_reused_aside(good, taken.reused, stopping)

    async def _set_reused_aside(
        self, good: Sequence[Good], reused: Sequence[IncomingEvent], stopping: asyncio.Event
    ) -> None:
        """The id belongs to an event that is accepted, so no outcome says `failed` of it."""
        records = {(each.topic, each.partition, each.offset): record for record, each in good} if reused else {}
        for each in reused:
            rejected = BadRecord("id_reused", _REUSED, each.event_id, each.event.ids)
            await self._set_aside(records[each.topic, each.partition, each.offset], rejected, stopping)

    async def _one_by_one(
        self, good: Sequence[Good], refusals: Sequence[RefusedRecord], stopping: asyncio.Event
    ) -> None:
        """The database refuses a value of a batch, whose good records must not wait for the one that is at fault."""
        refused = list(refusals)
        for record, accepted in good:
            error = await self._at_fault([(record, accepted)], (), record.topic, stopping)
            if error is not None:
                rejected = _rejected(accepted, f"The ledger can store no such value ({error.code}).")
                refusal = await self._set_aside(record, rejected, stopping)
                refused += [refusal] if refusal is not None else []
        for refusal in refused:
            error = await self._at_fault((), [refusal], refusal.outcome.topic, stopping)
            if error is not None:
                log.error("intake.outcome_refused", topic=refusal.outcome.topic, error=error.reason)

    async def _at_fault(
        self, good: Sequence[Good], refusals: Sequence[RefusedRecord], topic: str, stopping: asyncio.Event
    ) -> DataRefused | None:
        """Writes one record alone. Returns the refusal if the record is proven to be its cause: it is refused after an
        example of the same topic was accepted. While that is refused too, the fault is the database's.
        """
        try:
            await self._accept(good, refusals, stopping)
        except DataRefused:
            await self._until(lambda: self._accepts_an_example(topic), stopping)
            try:
                await self._accept(good, refusals, stopping)
            except DataRefused as error:
                return error
        return None

    async def _accepts_an_example(self, topic: str) -> None:
        try:
            await self.ledger.try_out(EVENTS[topic].model_validate(dict(EVENTS[topic].examples[0])))
        except DataRefused as error:
            raise _RefusesAll(error.reason) from None

    async def _until(self, work: Callable[[], Awaitable[T]], stopping: asyncio.Event) -> T:
        """The result of `work`, which is tried for as long as something is unavailable. Raises `DataRefused`."""
        pause = Schedule(base=0.2, cap=5.0, least=0.1)
        attempt = 0
        while True:
            try:
                result = await work()
            except DataRefused:
                raise
            except Exception as error:  # noqa: BLE001 - what is not proven to be a record's fault is waited for
                attempt += 1
                self._waits(error)
                try:
                    async with asyncio.timeout(pause.delay(attempt)):
                        await stopping.wait()
                    raise _Stopped from None
                except TimeoutError:
                    continue
            if self.failing is not None:
                self.failing = None
                log.info("intake.goes_on")
            return result

    def _waits(self, error: Exception) -> None:
        """Notes what is waited for; the log has a line for each new reason."""
        known = isinstance(error, (KafkaError, OSError, DatabaseError, _RefusesAll))
        reason = str(error) if isinstance(error, _RefusesAll) else reason_of(error)
        reason = reason if known else f"an internal error ({reason})"
        if reason != self.failing:
            self.failing = reason
            log.warning("intake.waits", error=reason, exc_info=None if known else error)

    async def _set_aside(self, record: RawRecord, rejected: BadRecord, stopping: asyncio.Event) -> RefusedRecord | None:
        """Writes the dead letter; the outcome that says the same, if the event's id is known."""
        now = await self._until(self.ledger.now, stopping)
        headers = dead_letter_headers(record.headers, rejected, record, now)
        await self._until(lambda: self.letters.write(record, rejected, headers), stopping)
        self.counted(record.topic, "invalid", 1)
        return _refusal(record, rejected, now)


def _rejected(event: IncomingEvent, sentence: str) -> BadRecord:
    trace = event.trace or {}
    return BadRecord(
        "unreadable", sentence, event.event_id, event.event.ids, trace.get("traceparent"), trace.get("tracestate")
    )


def _refusal(record: RawRecord, rejected: BadRecord, now: datetime) -> RefusedRecord | None:
    """The outcome that says that a record is bad, if its event's id is known."""
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
        occurred_at=now,
    )
    return RefusedRecord(outcome, record.key, _trace(rejected) or {})


def _published(record: RawRecord) -> datetime | None:
    """When the record was published; None if its timestamp is none or no time at all."""
    try:
        return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC) if record.timestamp_ms > 0 else None
    except (OverflowError, ValueError, OSError):
        return None


def _trace(read: Parsed | BadRecord) -> dict[str, str] | None:
    """The record's trace context, as headers."""
    found = (("traceparent", read.traceparent), ("tracestate", read.tracestate))
    return {name: text for name, text in found if text is not None} or None


class _Stopped(Interruption):
    """The worker stops while it waits for Kafka or PostgreSQL."""


class _RefusesAll(Interruption):
    """The database refuses values of any event: a sentence."""
