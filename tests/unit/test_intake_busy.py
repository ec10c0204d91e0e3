"""Who is at fault when a batch cannot be written: a record only if it is proven, everything else is waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from schemas.events import Event
from tests.support.events import purchase
from tests.support.waiting import eventually
from worker.engine.flows.base import Rules
from worker.engine.rows import IncomingEvent
from worker.intake import parse
from worker.intake.accept import READ_AT_ONCE, EventIntake, Trace
from worker.intake.dead_letter_writer import DeadLetterWriter
from worker.intake.parse import BadRecord, RawRecord
from worker.ledger.crypto import Vault
from worker.ledger.database import Again, Database
from worker.ledger.driver_errors import of_driver
from worker.ledger.ledger import AcceptedBatch, Ledger, RefusedRecord
from worker.ledger.next_call import NextCall

DATA = asyncpg.NumericValueOutOfRangeError("x")


@dataclass
class BusyLedger(Ledger):
    """A ledger that raises what comes next in `races`, then what `refuses` says of a batch, or takes it."""

    races: Iterator[Exception | None] = field(default_factory=lambda: iter(()))
    refuses: Callable[[Sequence[IncomingEvent]], Exception | None] = lambda _events: None
    examples: Iterator[Exception] = field(default_factory=lambda: iter(()))
    taken: list[IncomingEvent] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    async def accept(
        self, events: Sequence[IncomingEvent], refusals: Sequence[RefusedRecord] = (), next_call: NextCall | None = None
    ) -> AcceptedBatch:
        """Raises, or takes the events."""
        error = next(self.races, None) or self.refuses(events)
        if error is not None:
            raise error
        self.taken += events
        self.outcomes += [each.outcome.event_id for each in refusals]
        return AcceptedBatch({"trader.purchased": len(events)}, {}, [])

    async def try_out(self, event: Event) -> None:
        """Raises what comes next in `examples`, or accepts it."""
        error = next(self.examples, None)
        if error is not None:
            raise error


class Letters(DeadLetterWriter):
    """Dead letters as they come: reason and offset."""

    def __init__(self) -> None:
        self.written: list[tuple[str, int]] = []

    async def write(self, record: RawRecord, rejected: BadRecord, headers: Any) -> None:
        """Notes it."""
        self.written.append((rejected.code, record.offset))


def ledger(**parts: Any) -> BusyLedger:
    busy = BusyLedger(Database("postgresql://nowhere"), Vault(["k" * 32]), Rules("EVAL", 1), {}, **parts)
    busy.clock.set(datetime(2026, 11, 20, 12, tzinfo=UTC))
    return busy


def record(number: int, **changes: Any) -> RawRecord:
    return RawRecord("trader.purchased", 0, number, 0, None, json.dumps(purchase(number, **changes)).encode())


@pytest.mark.parametrize(
    "error",
    [
        of_driver(asyncpg.DeadlockDetectedError("x")),
        of_driver(asyncpg.InvalidPasswordError("x")),
        of_driver(asyncpg.InsufficientPrivilegeError("x")),
        of_driver(asyncpg.InvalidCachedStatementError("x")),
        of_driver(asyncpg.InternalServerError("x")),
        of_driver(asyncpg.InternalClientError("x")),
        of_driver(asyncpg.UndefinedColumnError("x")),
        of_driver(asyncpg.NotNullViolationError("x")),
        Again(),
        KafkaConnectionError(),
        KeyError("nobody has foreseen this"),
        AssertionError(),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'code', '')}",
)
async def test_what_no_record_is_proven_to_cause_is_waited_for(error: Exception) -> None:
    """Whatever goes wrong beside the records, they wait and go in as a whole; none of them becomes a dead letter."""
    busy, letters = ledger(races=iter([error] * 2)), Letters()
    intake = EventIntake(busy, letters, {}, lambda _outcomes: None)
    assert await intake.accept_records([record(1), record(2)], asyncio.Event())
    assert [each.event_id for each in busy.taken] == ["e-1", "e-2"]
    assert (letters.written, intake.failing) == ([], None)


async def test_other_tasks_have_turns_while_a_batch_is_read() -> None:
    """A large batch of records is read in parts: calls of the same process do not wait for the last of them."""
    busy, read, seen = ledger(), [0], set[int]()

    @contextmanager
    def traces() -> Iterator[Trace]:
        def count(*_: object) -> None:
            read[0] += 1

        yield count

    def note_turn() -> None:
        seen.add(read[0])
        loop.call_soon(note_turn)

    loop = asyncio.get_running_loop()
    loop.call_soon(note_turn)
    intake = EventIntake(busy, Letters(), {}, lambda _outcomes: None, traces=traces)
    assert await intake.accept_records([record(number) for number in range(4 * READ_AT_ONCE)], asyncio.Event())
    assert {READ_AT_ONCE, 2 * READ_AT_ONCE, 3 * READ_AT_ONCE} <= seen


async def test_the_reason_of_a_wait_can_be_seen() -> None:
    """While intake waits, it tells what for; a stop ends the wait, and nothing has been accepted."""
    reason = of_driver(asyncpg.InsufficientPrivilegeError("x"))
    intake = EventIntake(ledger(refuses=lambda _events: reason), Letters(), {}, lambda _outcomes: None)
    stopping = asyncio.Event()
    accepting = asyncio.create_task(intake.accept_records([record(1)], stopping))
    await eventually(lambda: intake.failing == "the user of DATABASE_URL lacks a privilege on the ledger (42501)")
    stopping.set()
    assert await accepting is False


async def test_a_record_whose_value_the_database_refuses_is_found_and_put_aside() -> None:
    """One value that no ledger can store costs its own event a dead letter and a failed outcome, and no other event."""
    refused = of_driver(DATA)
    busy = ledger(refuses=lambda events: refused if any(each.event_id == "e-2" for each in events) else None)
    letters = Letters()
    intake = EventIntake(busy, letters, {}, lambda _outcomes: None)
    assert await intake.accept_records([record(1), record(2), record(3), record(4, orderId=5)], asyncio.Event())
    assert [each.event_id for each in busy.taken] == ["e-1", "e-3"]
    assert letters.written == [("wrong_type", 4), ("unreadable", 2)]
    assert sorted(busy.outcomes) == ["e-2", "e-4"]


def _fails(*_: object) -> None:
    raise KeyError("fields")


async def test_a_fault_of_the_program_is_logged_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is not read by a fault of the worker's own is a dead letter, and the log says where it was."""
    monkeypatch.setattr(parse, "_read_body", _fails)
    intake, letters = EventIntake(ledger(), Letters(), {}, lambda _outcomes: None), Letters()
    intake.letters = letters
    with capture_logs() as logs:
        assert await intake.accept_records([record(1)], asyncio.Event())
    assert letters.written == [("unreadable", 1)]
    (line,) = (each for each in logs if each["event"] == "intake.record_not_read")
    assert (line["topic"], line["offset"]) == ("trader.purchased", 1)
    assert isinstance(line["exc_info"], KeyError)


async def test_a_database_that_refuses_every_value_is_not_an_events_fault() -> None:
    """What is refused together with an example of its topic (a sequence is used up) waits, and goes in afterwards."""
    refused = of_driver(DATA)
    busy = ledger(races=iter([refused, refused, None, refused]), examples=iter([refused, refused]))
    letters = Letters()
    intake = EventIntake(busy, letters, {}, lambda _outcomes: None)
    accepting = asyncio.create_task(intake.accept_records([record(1), record(2)], asyncio.Event()))
    await eventually(lambda: intake.failing)
    assert await accepting
    assert ([each.event_id for each in busy.taken], letters.written) == (["e-1", "e-2"], [])
