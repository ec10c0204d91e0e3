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
from worker.ledger.database import AWAY, Again, Database
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
    "race", [asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError, Again]
)
async def test_a_race_lost_for_good_makes_no_dead_letter(race: type[Exception]) -> None:
    """A batch that lost its races waits and goes in as a whole; none of its events is put aside for it."""
    vault = Vault(["k" * 32])
    ledger = BusyLedger(
        Database("postgresql://nowhere"), vault, Rules("EVAL", 1), {}, races=iter([race("lost"), race("lost again")])
    )
    taker = Taker(ledger, NoLetters(), TopicNames(""), {}, lambda _outcomes: None)
    records = [
        RawRecord("trader.purchased", 0, number, 0, None, json.dumps(purchase(number)).encode()) for number in (1, 2)
    ]
    assert await taker.take(records, asyncio.Event())
    assert [each.event_id for each in ledger.taken] == ["e-1", "e-2"]


def test_what_is_known_of_a_call_waits_for_a_busy_ledger() -> None:
    """Whoever waits while PostgreSQL is away waits for a lost race too: results are recorded, loops go on."""
    assert issubclass(Again, AWAY)
    assert issubclass(asyncpg.DeadlockDetectedError, AWAY)
