"""Dead letters back on the topic they came from: key, value and own headers as they were, each once.

A dead letter is claimed, sent and noted in one transaction: two operators at once cannot both send it. A replay that is
killed between sending and committing has sent what nobody notes, and the next one sends it again. A second copy is
harmless: intake knows an accepted event by its id. A dead letter that is noted and was never sent would be a lost order
that nobody notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiokafka.errors import KafkaError

from worker.errors import WorkerError
from worker.intake.dead_letter_headers import PARTITION, own_headers
from worker.kafka.errors import ANSWER_SECONDS, KafkaUnavailable
from worker.kafka.producer import RecordProducer
from worker.kafka.read import Record
from worker.kafka.topics import TopicNames
from worker.ledger import kept_dead_letters, replays
from worker.ledger.database import Connection
from worker.ledger.kept_dead_letters import KeptLetter
from worker.ledger.replays import Place
from worker.operate.dead_letter_reading import DeadLetterReader
from worker.operate.dead_letters import kept_place, place_of

__all__ = ["AT_ONCE", "ReplayResult", "Replayer"]

AT_ONCE = 200
"""Dead letters in one transaction: some milliseconds of both, and few enough to be sent twice after a kill."""

_LARGE = 256 * 1024
"""Bytes. A larger one goes alone: a broker that refuses it for its size breaks the producer's sequence, and with it
what is on its way beside it."""


@dataclass(slots=True)
class ReplayResult:
    """What came of a replay: how many were `sent`, how many were `known` as replayed before, which `failed` and why.

    `stopped`: what ended it before its end.
    """

    sent: int = 0
    known: int = 0
    failed: list[tuple[Place, KafkaUnavailable]] = field(default_factory=list)
    stopped: WorkerError | None = None

    def add(self, other: ReplayResult) -> None:
        """Adds the counts of another part of the same replay."""
        self.sent += other.sent
        self.known += other.known
        self.failed += other.failed


@dataclass(frozen=True, slots=True)
class Replayer:
    """Puts dead letters back. Raises `DatabaseError`; what Kafka does not take is in the result. `by`: who does it."""

    reader: DeadLetterReader
    producer: RecordProducer
    by: str

    async def replay(
        self, topic: str, records: Sequence[Record], partitions: int, *, again: bool = False, named: bool = False
    ) -> ReplayResult:
        """Puts `records` of `topic`'s dead letters back on it, which has so many `partitions`.

        `again`: also those that were replayed before. `named`: also those that were dismissed.
        """
        result = ReplayResult()
        for some in _portions(records):
            async with self.reader.database.transaction() as connection:
                # Longer than sending may take; the usual limit is for replicas, whose locks hold others up.
                await connection.execute("set local idle_in_transaction_session_timeout = '60s'")
                ours = await self._claimed(connection, topic, some, again=again, named=named)
                result.add(await self._replay(connection, topic, some, ours, partitions))
        return result

    async def _replay(
        self, connection: Connection, topic: str, records: Sequence[Record], ours: Sequence[Place], partitions: int
    ) -> ReplayResult:
        by_place = {place_of(letter): letter for letter in records}
        sends = [asyncio.ensure_future(self._send(topic, by_place[place], partitions)) for place in ours]
        if sends:
            _, late = await asyncio.wait(sends, timeout=ANSWER_SECONDS)
            for send in late:
                send.cancel()
        ends = await asyncio.gather(*sends, return_exceptions=True)
        failed: list[tuple[Place, KafkaUnavailable]] = []
        for place, end in zip(ours, ends, strict=True):
            if isinstance(end, asyncio.CancelledError):
                failed.append((place, self._error(TimeoutError())))
            elif isinstance(end, KafkaError | OSError):
                failed.append((place, self._error(end)))
            elif isinstance(end, BaseException):
                raise end
        lost = [place for place, _ in failed]
        await replays.sent(connection, topic, [place for place in ours if place not in lost], self.by)
        await replays.release(connection, topic, lost)
        return ReplayResult(len(ours) - len(failed), len(by_place) - len(ours), failed)

    async def _claimed(
        self, connection: Connection, topic: str, records: Sequence[Record], *, again: bool, named: bool
    ) -> list[Place]:
        places = [place_of(letter) for letter in records]
        return sorted(await replays.claim(connection, topic, places, again=again, named=named))

    async def put_kept_back(
        self, kept: Sequence[KeptLetter], partitions: int, *, again: bool = False, named: bool = False
    ) -> ReplayResult:
        """The same for dead letters that the ledger keeps. They are large: each goes in a transaction of its own.

        Raises `LetterSealed` or `SecretKeyMissing` when no key opens one.
        """
        result = ReplayResult()
        for each in kept:
            try:
                async with self.reader.database.transaction() as connection:
                    await connection.execute("set local idle_in_transaction_session_timeout = '60s'")
                    mine = await kept_dead_letters.claim(connection, [each.id], self.by, again=again, named=named)
                    if not mine:
                        result.known += 1
                        continue
                    record = await self.reader.opened(connection, each)
                    if record is None:
                        continue  # pruned a moment ago
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await self._send(each.topic, record, partitions)
            except (KafkaError, OSError) as error:  # the claim is undone with its transaction
                result.failed.append((kept_place(each), self._error(error)))
            else:
                result.sent += 1
        return result

    async def _send(self, topic: str, letter: Record, partitions: int) -> None:
        await self.producer.send(
            TopicNames(self.reader.settings.kafka_topic_prefix).on_broker(topic),
            value=letter.value,
            key=letter.key,
            headers=own_headers(letter.headers),
            partition=_partition(letter, partitions),
        )

    def _error(self, error: BaseException) -> KafkaUnavailable:
        return KafkaUnavailable.of(error, self.reader.settings)


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
