"""What Kafka says to a dead letter, and what becomes of it: on its topic, in the ledger, or it waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.errors import (
    InvalidTopicError,
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from worker.intake.dead_letter_writer import DeadLetterWriter
from worker.intake.parse import BadRecord, RawRecord
from worker.kafka.look import KafkaLook
from worker.kafka.metadata import TopicNow
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import TopicNames
from worker.ledger.crypto import Vault
from worker.ledger.database import Database
from worker.settings import KafkaSettings, load

RECORD = RawRecord("trader.purchased", 3, 17, 1_795_000_000_000, None, b"no json", (("a", None),))
REJECTED = BadRecord("not_json", "The value is not valid JSON (at line 1, column 1).")
THERE = TopicNow("1", None, {0: 1})


class Producer(RecordProducer):
    """Raises what comes next, and is content afterwards."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(load(KafkaSettings, {}))
        self.errors: Iterator[Exception] = iter(errors)
        self.tries = 0

    async def send(self, *_: Any, **__: Any) -> Any:
        """One try."""
        self.tries += 1
        error = next(self.errors, None)
        if error is not None:
            raise error


class SlowProducer(Producer):
    """Holds what it is given, until `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def send(self, *_: Any, **__: Any) -> Any:
        """One try."""
        self.tries += 1
        await self.answers.wait()


class Look(KafkaLook):
    """A broker that says this of every topic, or does not answer."""

    def __init__(self, says: TopicNow | Exception) -> None:
        self.says = says

    async def topics(self, names: Any) -> dict[str, TopicNow]:
        """What it says."""
        if isinstance(self.says, Exception):
            raise self.says
        return dict.fromkeys(names, self.says)


@pytest.fixture
async def database(ledger_url: str) -> AsyncIterator[Database]:
    """An empty ledger."""
    database = Database(ledger_url)
    yield database
    await database.close()


def writer(database: Database, producer: Producer, says: TopicNow | Exception, **more: Any) -> DeadLetterWriter:
    return DeadLetterWriter(producer, Look(says), database, Vault(["k" * 32]), TopicNames(""), **more)


async def kept(database: Database) -> list[Any]:
    async with database.connection() as connection:
        return [dict(row) for row in await connection.fetch("select * from dead_letter order by id")]


@pytest.mark.parametrize(
    "error",
    [
        MessageSizeTooLargeError(),
        RecordListTooLargeError(),
        InvalidTopicError(),
        PolicyViolationError(),
        TopicAuthorizationFailedError("x"),
        UnknownTopicOrPartitionError(),
        AssertionError("the library cannot write such a record"),
        UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_refusal_keeps_the_letter_at_once(database: Database, error: Exception) -> None:
    """What Kafka, or the library, says of this record or its topic sends it to the ledger at the first try."""
    counted: list[tuple[str, str]] = []
    producer = Producer(error, error)
    letters = writer(database, producer, THERE, counted=lambda *each: counted.append(each))
    await letters.write(RECORD, REJECTED, RECORD.headers)
    (row,) = await kept(database)
    assert (row["partition"], row["offset"], row["reason"], row["refusal"]) == (
        3,
        17,
        "not_json",
        type(error).__name__,
    )
    assert (producer.tries, counted) == (1, [("trader.purchased", "not_json")])
    await writer(database, Producer(error), THERE).write(RECORD, REJECTED, RECORD.headers)
    assert len(await kept(database)) == 1  # delivered again: it is the same letter


async def test_without_a_broker_a_letter_waits(database: Database) -> None:
    """When no broker answers, nothing is kept and nothing is counted: the record batch is tried again as a whole."""
    counted: list[Any] = []
    for error in (KafkaConnectionError(), KafkaTimeoutError(), TimeoutError()):
        letters = writer(database, Producer(error), KafkaConnectionError(), counted=lambda *each: counted.append(each))
        with pytest.raises(type(error)):
            await letters.write(RECORD, REJECTED, ())
    assert (await kept(database), counted) == ([], [])


async def test_what_may_pass_is_tried_again(database: Database) -> None:
    """A topic that lacks replicas for a moment gets its letter."""
    producer = Producer(NotEnoughReplicasError(), KafkaTimeoutError())
    await writer(database, producer, THERE).write(RECORD, REJECTED, ())
    assert (producer.tries, await kept(database)) == (3, [])


async def test_what_does_not_pass_holds_up_one_letter_only(database: Database) -> None:
    """While a topic accepts nothing for a reason of its own, one letter waits for it, and the next ones do not."""
    producer = Producer(*[NotEnoughReplicasError()] * 100)
    letters = writer(database, producer, THERE, patience=0.6)
    for offset in range(5):
        record = RawRecord("trader.purchased", 0, offset, 0, None, None, ())
        await letters.write(record, REJECTED, ())
    assert {row["refusal"] for row in await kept(database)} == {"NotEnoughReplicasError"}
    assert (len(await kept(database)), producer.tries) == (5, 3)


async def test_a_missing_topic_is_found_out_though_the_producer_only_waits(database: Database) -> None:
    """The producer looks for a missing topic for longer than a letter may wait: what the broker says decides."""
    gone = TopicNow(None, UnknownTopicOrPartitionError, {})
    producer = Producer(TimeoutError())
    await writer(database, producer, gone).write(RECORD, REJECTED, ())
    (row,) = await kept(database)
    assert (row["refusal"], producer.tries) == ("UnknownTopicOrPartitionError", 1)


async def test_a_letter_that_the_producer_still_holds_is_not_given_to_it_again(database: Database) -> None:
    """While no broker answers, each try waits for the same record: all of them would be published in the end."""
    producer = SlowProducer()
    letters = writer(database, producer, THERE)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await letters.write(RECORD, REJECTED, ())
    producer.answers.set()
    await letters.write(RECORD, REJECTED, ())
    assert producer.tries == 1
