"""Dead letters settled by an operator: one or all of a topic replayed on it, or one dismissed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from worker.errors import OperatorError, WorkerError
from worker.kafka.admin import TopicState, existing_topics
from worker.kafka.errors import Access, KafkaCause, kafka_errors
from worker.kafka.producer import RecordProducer
from worker.kafka.read import Record, RecordReader, reading
from worker.ledger import kept_dead_letters, replays
from worker.ledger.errors import Cause, DatabaseUnavailable
from worker.ledger.kept_dead_letters import KeptLetter
from worker.operate.dead_letter_reading import DeadLetterReader, Progress, unseen
from worker.operate.dead_letter_replay import AT_ONCE, Replayer, ReplayResult
from worker.operate.dead_letters import DeadLetter, DeadLetterNotFound, Stored, Where
from worker.operate.operator_note import Note

__all__ = ["DeadLetterSettling", "ReplayUnderWay"]

_MOST_BYTES = 16 * 1024 * 1024
"""Of dead letters that are held in memory together: one of the largest, or thousands of the usual."""


class ReplayUnderWay(OperatorError):
    """Another operator replays dead letters of the same topic now."""

    @property
    def sentence(self) -> str:
        """For an operator."""
        return "Another replay of these dead letters is under way: run it again when that has ended."


@dataclass(frozen=True, slots=True)
class DeadLetterSettling:
    """Raises what `DeadLetterReader` raises, `DatabaseError` and `ReplayUnderWay`. A record that Kafka does not accept
    is in the result.
    """

    reader: DeadLetterReader
    producer: RecordProducer

    async def replay_one(self, where: Where, by: str, *, again: bool) -> ReplayResult:
        """Puts one dead letter back on its topic, also when it was dismissed. `by`: who does it, which is kept.
        `again`: also when it was replayed.
        """
        with _busy():
            kept = await self._kept(where)
            into = await self._partitions(where.topic)
            replayer = Replayer(self.reader, self.producer, by)
            if kept is not None:
                return await replayer.put_kept_back([kept], into, again=again, named=True)
            record = await self.reader.on_topic(where)
            return await replayer.replay(where.topic, [record], into, again=again, named=True)

    async def replay_all(
        self, topic: str, by: str, stored: Stored | None = None, *, again: bool = False, progress: Progress = unseen
    ) -> ReplayResult:
        """Replays all open dead letters of a topic; `again`: also those that were replayed before.

        `stored`: only those on the dead-letter topic, or in the ledger. What ends it early, after some were replayed,
        is in the result.
        """
        kept: list[KeptLetter] = []
        with _busy():
            if stored is not Stored.TOPIC:  # what is wrong with the ledger is reported before anything is read
                async with self.reader.database.connection() as connection:
                    kept = await kept_dead_letters.kept(connection, [topic])
            into = await self._partitions(topic)
        done, replayer = ReplayResult(), Replayer(self.reader, self.producer, by)
        try:
            with _busy():
                if stored is not Stored.LEDGER:
                    states = await self.reader.topic_states([topic], needed=not kept)
                    if topic in states:
                        await self._replay_topic(replayer, states[topic], topic, into, done, progress, again=again)
                if not _kafka_has_gone(done):
                    done.add(await replayer.put_kept_back(kept, into, again=again))
        except WorkerError as error:
            if not done.sent:
                raise
            done.stopped = error
        return done

    async def dismiss(self, where: Where, note: Note) -> DeadLetter:
        """Notes that a dead letter is settled: it is no longer counted as open, and no replay of all includes it."""
        if (kept := await self._kept(where)) is not None:
            async with self.reader.database.transaction() as connection:
                await kept_dead_letters.dismiss(connection, kept.id, note.reason, note.by)
            return DeadLetter.of_kept(kept)
        letter = DeadLetter.of(where.topic, await self.reader.on_topic(where))
        async with self.reader.database.transaction() as connection:
            await replays.dismiss(connection, where.topic, letter.place, note.reason, note.by)
        return letter

    async def _replay_topic(
        self,
        replayer: Replayer,
        state: TopicState,
        topic: str,
        into: int,
        done: ReplayResult,
        progress: Progress,
        *,
        again: bool,
    ) -> None:
        """Up to the end of the topic as it is now: what is written to it meanwhile is not replayed."""
        with kafka_errors(self.reader.settings):
            async with reading(self.reader.settings) as reader:
                with progress(await reader.count(state.topic, state.partitions)) as advance:
                    async for some in _portions(reader, state):
                        done.add(await replayer.replay(topic, some, into, again=again))
                        advance(len(some))
                        if _kafka_has_gone(done):
                            return

    async def _kept(self, where: Where) -> KeptLetter | None:
        """The letter that the ledger keeps, if that one is meant."""
        kept = None if where.stored is Stored.TOPIC else await self.reader.kept_at(where)
        if kept is None and where.stored is Stored.LEDGER:
            raise DeadLetterNotFound(where)
        return kept

    async def _partitions(self, topic: str) -> int:
        with kafka_errors(self.reader.settings):
            return (await existing_topics(self.reader.settings, [topic], Access.WRITE))[0].partitions


async def _portions(reader: RecordReader, state: TopicState) -> AsyncIterator[Sequence[Record]]:
    some: list[Record] = []
    async for record in reader.scan(state.topic, state.partitions):
        some.append(record)
        if len(some) == AT_ONCE or sum(len(each.value or b"") for each in some) > _MOST_BYTES:
            yield some
            some = []
    yield some


def _kafka_has_gone(done: ReplayResult) -> bool:
    """Then the rest would fail too, each after its timeout."""
    return any(error.cause is not KafkaCause.TOO_LARGE for _, error in done.failed)


@contextmanager
def _busy() -> Iterator[None]:
    """The lock of another operator's replay."""
    try:
        yield
    except DatabaseUnavailable as error:
        if error.cause is Cause.BUSY:
            raise ReplayUnderWay from None
        raise
