"""Dead letters back on the topic they came from: key, value and own headers as they were, each once.

A dead letter is claimed, sent and noted in one transaction: two operators at once cannot both send it. A replay that
is killed between sending and committing has sent what nobody notes, and the next one sends it again. It errs on that
side because a second copy is harmless - intake knows an accepted event by its id - while a dead letter that is noted
and was never sent would be an order lost in silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from aiokafka.errors import KafkaError

from worker.intake.dead_letters import PARTITION, own_headers
from worker.kafka.producer import RecordProducer
from worker.kafka.read import Record
from worker.kafka.topics import TopicNames, dead_letter_topic
from worker.ledger import kept_dead_letters, replays
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, Database
from worker.ledger.kept_dead_letters import KeptLetter
from worker.ledger.replays import Place

__all__ = ["AT_ONCE", "PutBack", "Replayer", "Stored", "kept_place", "opened_record", "place_of"]


class Stored(StrEnum):
    """Where a dead letter is: on the dead-letter topic, or in the ledger at the position of its input record."""

    TOPIC = "topic"
    LEDGER = "ledger"


AT_ONCE = 200
"""Dead letters in one transaction: some milliseconds of both, and few enough to be sent twice after a kill."""

_LARGE = 256 * 1024
"""Bytes. A larger one goes alone: a broker that refuses it for its size breaks the producer's sequence, and with it
what is on its way beside it."""

_SEND_SECONDS = 8.0
"""A broker answers within milliseconds; an operator waits for this."""


@dataclass(slots=True)
class PutBack:
    """What came of a replay: how many were `sent`, how many were `known` as put back before, which `failed` and why."""

    sent: int = 0
    known: int = 0
    failed: list[tuple[Place, BaseException]] = field(default_factory=list)

    def add(self, other: PutBack) -> None:
        """Adds the counts of another part of the same replay."""
        self.sent += other.sent
        self.known += other.known
        self.failed += other.failed


@dataclass(frozen=True, slots=True)
class Replayer:
    """Puts dead letters back. Raises `DatabaseError`; what Kafka does not take is in the result."""

    database: Database
    producer: RecordProducer
    names: TopicNames

    async def put_back(
        self, topic: str, records: Sequence[Record], partitions: int, *, again: bool = False, named: bool = False
    ) -> PutBack:
        """Puts `records` of `topic`'s dead letters back on it, which has so many `partitions`.

        `again`: also those that were put back before. `named`: also those that were dismissed.
        """
        result = PutBack()
        for some in _portions(records):
            async with self.database.transaction() as connection:
                # Longer than sending may take; the usual limit is for replicas, whose locks hold others up.
                await connection.execute("set local idle_in_transaction_session_timeout = '60s'")
                ours = await self._claimed(connection, topic, some, again=again, named=named)
                result.add(await self._put_back(connection, topic, some, ours, partitions))
        return result

    async def _put_back(
        self, connection: Connection, topic: str, records: Sequence[Record], ours: Sequence[Place], partitions: int
    ) -> PutBack:
        by_place = {place_of(letter): letter for letter in records}
        sends = [asyncio.ensure_future(self._send(topic, by_place[place], partitions)) for place in ours]
        if sends:
            _, late = await asyncio.wait(sends, timeout=_SEND_SECONDS)
            for send in late:
                send.cancel()
        ends = await asyncio.gather(*sends, return_exceptions=True)
        failed: list[tuple[Place, BaseException]] = []
        for place, end in zip(ours, ends, strict=True):
            if isinstance(end, asyncio.CancelledError):
                failed.append((place, TimeoutError()))
            elif isinstance(end, KafkaError | OSError):
                failed.append((place, end))
            elif isinstance(end, BaseException):
                raise end
        lost = [place for place, _ in failed]
        await replays.sent(connection, topic, [place for place in ours if place not in lost])
        await replays.release(connection, topic, lost)
        return PutBack(len(ours) - len(failed), len(by_place) - len(ours), failed)

    async def _claimed(
        self, connection: Connection, topic: str, records: Sequence[Record], *, again: bool, named: bool
    ) -> list[Place]:
        places = [place_of(letter) for letter in records]
        return sorted(await replays.claim(connection, topic, places, again=again, named=named))

    async def put_kept_back(
        self, vault: Vault, kept: Sequence[KeptLetter], partitions: int, *, again: bool = False, named: bool = False
    ) -> PutBack:
        """The same for dead letters that the ledger keeps. They are large: each goes in a transaction of its own.

        Raises `crypto.Sealed` when no key opens one.
        """
        result = PutBack()
        for each in kept:
            try:
                async with self.database.transaction() as connection:
                    await connection.execute("set local idle_in_transaction_session_timeout = '60s'")
                    if not await kept_dead_letters.claim(connection, [each.id], again=again, named=named):
                        result.known += 1
                        continue
                    record = await opened_record(connection, vault, each)
                    if record is None:
                        continue  # pruned a moment ago
                    async with asyncio.timeout(_SEND_SECONDS):
                        await self._send(each.topic, record, partitions)
            except (KafkaError, OSError) as error:  # the claim is undone with its transaction
                result.failed.append((kept_place(each), error))
            else:
                result.sent += 1
        return result

    async def _send(self, topic: str, letter: Record, partitions: int) -> None:
        await self.producer.send(
            self.names.on_broker(topic),
            value=letter.value,
            key=letter.key,
            headers=own_headers(letter.headers),
            partition=_partition(letter, partitions),
        )


async def opened_record(connection: Connection, vault: Vault, kept: KeptLetter) -> Record | None:
    """A kept dead letter as the record that its topic would have; None when it has been pruned.

    Raises `crypto.Sealed` when no key opens it.
    """
    content = await kept_dead_letters.opened(connection, vault, kept.id)
    if content is None:
        return None
    name = dead_letter_topic(kept.topic)
    return Record(
        name, kept.partition, kept.offset, kept.written_ms, content.key, content.value, tuple(content.headers)
    )


def kept_place(kept: KeptLetter) -> Place:
    """The position of a kept dead letter: its input record's."""
    return Place(kept.partition, kept.offset, kept.written_ms)


def place_of(letter: Record) -> Place:
    """Where a dead letter stands."""
    return Place(letter.partition, letter.offset, letter.timestamp_ms)


def _partition(letter: Record, partitions: int) -> int | None:
    """Where it was: among the other events of its trader, whichever partitioner the shop has. None: as its key says."""
    text = dict(letter.headers).get(PARTITION) or b""
    partition = int(text) if text.isdigit() and len(text) < 10 else partitions
    return partition if partition < partitions else None


def _portions(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    small: list[Record] = []
    for letter in records:
        if len(letter.key or b"") + len(letter.value or b"") >= _LARGE:
            yield [letter]
            continue
        small.append(letter)
        if len(small) == AT_ONCE:
            yield small
            small = []
    if small:
        yield small
