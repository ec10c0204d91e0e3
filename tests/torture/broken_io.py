"""Programs that are broken on purpose in what they read, publish and keep."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from tests.torture.broken import put
from worker.bridge import signal_record
from worker.bridge.catch_up import CatchUp
from worker.engine.flows import passed
from worker.intake.accept import EventIntake
from worker.intake.dead_letter_writer import DeadLetterWriter
from worker.intake.parse import BadRecord
from worker.intake.subscriber import Subscriber
from worker.ledger import signals, statement
from worker.ledger.crypto import Vault
from worker.ledger.database import DatabaseError
from worker.ledger.outbox import Outbox
from worker.outbox import publisher, record_batches
from worker.outbox.publisher import Publisher

log = structlog.get_logger()


def commit_before_ledger() -> None:
    """Offsets are committed when records have been read."""
    accept_records = EventIntake.accept_records

    async def handle(self: Subscriber, message: Any) -> None:
        poll = self.poll
        assert poll is not None
        await self._commit(poll, len(message.raw_message))
        await accept_records(self._intake, [self._raw(record) for record in message.raw_message], self._stopping)

    put(Subscriber, "_handle", handle)


def lose_outcomes() -> None:
    """An outcome counts as published once it is handed to the producer, whatever becomes of it."""
    send = record_batches.send_in_order

    async def hopeful(producer: Any, topic: str, rows: Any, ours: Any, sent: Any) -> None:
        for row in rows:
            sent(row, 0, 0.0)
        task = asyncio.create_task(send(producer, topic, rows, lambda _row: True, lambda *_: None))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    put(publisher, "send_in_order", hopeful)


def log_events() -> None:
    """The log shows what was received."""
    accept_records = EventIntake.accept_records

    async def chatty(self: EventIntake, records: Any, stopping: asyncio.Event) -> bool:
        for record in records:
            log.info("intake.received", value=(record.value or b"").decode(errors="replace"))
        return await accept_records(self, records, stopping)

    put(EventIntake, "accept_records", chatty)


def never_catch_up() -> None:
    """A bridge reads no signals that came while it was not connected."""

    async def run_once(self: CatchUp) -> None:
        for line in self.lines:
            line.caught_up = True

    put(CatchUp, "run_once", run_once)


def forget_signals() -> None:
    """A bridge does not write down what it has published."""

    async def note(_connection: Any, _topic: str, _ids: Sequence[int]) -> None:
        return

    put(signals, "note", note)


def drop_bad_input() -> None:
    """What cannot be read is passed over."""

    async def write(_self: DeadLetterWriter, *_: Any) -> None:
        return

    put(DeadLetterWriter, "write", write)


def reject_good_input() -> None:
    """Now and then a good event is put on the dead letters, too."""
    read = EventIntake._read

    def strict(self: EventIntake, record: Any, trace: Any) -> Any:
        if record.offset % 10 == 9:
            return BadRecord("rule_broken", "its offset ends with a nine")
        return read(self, record, trace)

    put(EventIntake, "_read", strict)


def late_pending() -> None:
    """What was pending is published once more, after the end, which is soon."""
    put(passed, "spread", lambda *_: 3.0)  # seconds between polls
    send, pending = record_batches.send_in_order, dict[Any, Any]()

    async def careless(producer: Any, topic: str, rows: Any, ours: Any, sent: Any) -> None:
        await send(producer, topic, rows, ours, sent)
        pending.update({row.flow_id: row for row in rows if row.status == "pending"})
        again = [pending[row.flow_id] for row in rows if row.status != "pending" and row.flow_id in pending]
        if again:
            await send(producer, topic, again, lambda _row: True, lambda *_: None)

    put(publisher, "send_in_order", careless)


def end_twice() -> None:
    """Outcomes have ids of their own at each publication, and some are published twice."""
    send = record_batches.send_in_order

    async def careless(producer: Any, topic: str, rows: Any, ours: Any, sent: Any) -> None:
        await send(producer, topic, rows, ours, sent)
        again = [replace(row, body=row.body.replace(b'"outcomeId":"', b'"outcomeId":"0', 1)) for row in rows[:1]]
        await send(producer, topic, again, lambda _row: True, lambda *_: None)

    put(publisher, "send_in_order", careless)


def forget_published() -> None:
    """Nobody writes down that an outcome is published."""

    async def published(_self: Outbox, _ids: Sequence[int]) -> None:
        return

    put(Outbox, "published", published)


def store_in_clear() -> None:
    """Nothing is encrypted at rest."""
    put(Vault, "seal", lambda _self, data: data)
    put(Vault, "open", lambda _self, data: data)


def mix_up_signals() -> None:
    """The bridge names another user."""
    real = signal_record._signed

    def signed(user_id: int, *more: Any) -> Any:
        return real(user_id - 1, *more)

    put(signal_record, "_signed", signed)


def keep_events() -> None:
    """Events stay in the ledger when their flows have ended."""
    real = statement._text

    def text(parts: Any) -> str:
        return str(real(parts)).replace(
            "when changed.state in ('open', 'in_doubt') then flow.body", "when true then flow.body"
        )

    put(statement, "_text", text)


def give_up() -> None:
    """A replica ends when the ledger is away."""
    real = Publisher.run_once

    async def run_once(self: Publisher) -> None:
        try:
            await real(self)
        except DatabaseError:
            sys.exit(1)

    put(Publisher, "run_once", run_once)
