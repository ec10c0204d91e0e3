"""Intake while the ledger is so busy that it cannot take a batch: nobody's event is bad for that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from tests.support.events import purchase
from worker.flows.base import Rules
from worker.intake.parse import RawRecord
from worker.intake.take import Taker
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import TopicNames
from worker.ledger.crypto import Vault
from worker.ledger.database import Again, Database
from worker.ledger.driver import of_driver
from worker.ledger.ledger import Intake, Ledger, Refusal
from worker.ledger.rows import Accepted
from worker.settings import KafkaSettings, load


@dataclass
class BusyLedger(Ledger):
    """A ledger that loses its races until the list is empty."""

    races: Iterator[Exception] = field(default_factory=lambda: iter(()))
    taken: list[Accepted] = field(default_factory=list)

    async def accept(self, events: Sequence[Accepted], refusals: Sequence[Refusal] = ()) -> Intake:
        """Raises the next race, or takes the events."""
        race = next(self.races, None)
        if race is not None:
            raise race
        self.taken += events
        return Intake({"trader.purchased": len(events)}, {}, [])


class NoLetters(RecordProducer):
    """A producer that must not be used."""

    def __init__(self) -> None:
        super().__init__(load(KafkaSettings, {}))

    async def send(self, *_: Any, **__: Any) -> None:
        """Nothing may become a dead letter."""
        raise AssertionError("a good event was put aside")


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DeadlockDetectedError("x"),
        asyncpg.InvalidPasswordError("x"),
        asyncpg.InsufficientPrivilegeError("x"),
        asyncpg.InvalidCachedStatementError("x"),
        asyncpg.InternalServerError("x"),
        asyncpg.InternalClientError("x"),
        asyncpg.UndefinedColumnError("x"),
        asyncpg.NotNullViolationError("x"),
        Again(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_database_that_cannot_serve_makes_no_dead_letter(error: Exception) -> None:
    """Whatever the database says of itself, events wait and go in as a whole; none of them becomes a dead letter."""
    vault = Vault(["k" * 32])
    ledger = BusyLedger(
        Database("postgresql://nowhere"), vault, Rules("EVAL", 1), {}, races=iter([of_driver(error)] * 2)
    )
    taker = Taker(ledger, NoLetters(), TopicNames(""), {}, lambda _outcomes: None)
    records = [
        RawRecord("trader.purchased", 0, number, 0, None, json.dumps(purchase(number)).encode()) for number in (1, 2)
    ]
    assert await taker.take(records, asyncio.Event())
    assert [each.event_id for each in ledger.taken] == ["e-1", "e-2"]
