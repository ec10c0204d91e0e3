"""Dead letters read for an operator: all of some topics, a page of one topic, one with its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from schemas.base import MAX_INT64
from worker.kafka.admin import TopicState, permitted_topics
from worker.kafka.errors import Access, TopicsMissing, kafka_errors
from worker.kafka.read import Record, RecordReader, reading
from worker.kafka.topics import dead_letter_topic
from worker.ledger import kept_dead_letters, replays
from worker.ledger.crypto import Sealed, Vault
from worker.ledger.database import Connection, Database
from worker.ledger.errors import DatabaseError
from worker.ledger.kept_dead_letters import KeptLetter
from worker.operate.dead_letters import (
    DeadLetter,
    DeadLetterNotFound,
    LetterSealed,
    LettersPage,
    Listed,
    SecretKeyMissing,
    Shown,
    Stored,
    Where,
)
from worker.settings import KafkaSettings

__all__ = ["DeadLetterReader", "Progress", "unseen"]

_MOST_PARTITION = 2**31 - 1
"""Kafka counts partitions in 31 bits; offsets in 63."""

Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Shows an operator how far a long piece of work is: it gets the number of records, and yields what to call with how
many of them are done."""


@contextmanager
def unseen(_total: int) -> Iterator[Callable[[int], None]]:
    """Progress that is not shown."""
    yield lambda _done: None


@dataclass(frozen=True, slots=True)
class DeadLetterReader:
    """Raises `KafkaUnavailable`, `TopicsMissing` when there is no dead-letter topic, `TopicsForbidden`, and where it
    says so `DatabaseError`. `vault`: None without SECRET_KEY, which only letters in the ledger need.
    """

    settings: KafkaSettings
    database: Database
    vault: Vault | None

    async def all(self, topics: Sequence[str], progress: Progress = unseen) -> Listed:
        """Every dead letter of some input topics, also when the ledger cannot be asked."""
        found: dict[str, list[DeadLetter]] = {topic: [] for topic in topics}
        ledger_error, kept_known, kept = None, True, []
        try:
            kept = await self._kept(topics)
        except DatabaseError as error:
            ledger_error, kept_known = error, False
        for each in kept:
            found[each.topic].append(each)
        on_topics: dict[str, list[DeadLetter]] = {}
        with kafka_errors(self.settings):
            states = await self.topic_states(topics, needed=not kept)
            async with reading(self.settings) as reader:
                counts = {topic: await reader.count(state.topic, state.partitions) for topic, state in states.items()}
                with progress(sum(counts.values())) as advance:
                    for topic, state in states.items():
                        on_topics[topic] = []
                        async for record in reader.scan(state.topic, state.partitions):
                            on_topics[topic].append(DeadLetter.of(topic, record))
                            advance(1)
        if ledger_error is None:
            try:
                on_topics = {topic: await self._with_settled(topic, there) for topic, there in on_topics.items()}
            except DatabaseError as error:
                ledger_error = error
        if ledger_error is not None:
            on_topics = {topic: [_not_known(each) for each in there] for topic, there in on_topics.items()}
        for topic, there in on_topics.items():
            found[topic] += there
        by_time = [sorted(found[topic], key=lambda each: (each.at, each.place)) for topic in topics]
        return Listed([each for there in by_time for each in there], ledger_error, kept_known)

    async def page(self, topic: str, reason: str, before: Mapping[int, int], most: int) -> LettersPage:
        """At most `most` dead letters of a topic, those of `reason` if one is given; with the newest ones (without
        `before`) also those that the ledger keeps. Raises `DatabaseError`.
        """
        kept = [] if before else await self._kept([topic])
        found = await self._page_of_topic(topic, reason, before, most)
        here = [each for each in kept if reason in ("", each.reason)]
        newest_first = sorted([*here, *found.letters], key=lambda each: each.written_at, reverse=True)
        return LettersPage(newest_first, found.older)

    async def _page_of_topic(self, topic: str, reason: str, before: Mapping[int, int], most: int) -> LettersPage:
        found: list[DeadLetter] = []
        starts: dict[int, int] = {}
        with kafka_errors(self.settings):
            state = (await permitted_topics(self.settings, [dead_letter_topic(topic)], Access.READ))[0]
            async with reading(self.settings) as reader:
                async for record in reader.latest(state.topic, state.partitions, most, before):
                    starts.setdefault(record.partition, record.offset)
                    found.append(DeadLetter.of(topic, record))
        found.sort(key=lambda each: (each.place.written_ms, each.place), reverse=True)
        page = found[:most]
        # The next page goes on before the first that was shown; a partition of which none was shown, where it was.
        older = {**before, **{part: start for part, start in starts.items() if part not in before}}
        for each in found:
            older[each.place.partition] = max(older.get(each.place.partition, 0), each.place.offset + 1)
        for each in page:
            older[each.place.partition] = min(older[each.place.partition], each.place.offset)
        more = len(found) > most or any(start > 0 for start in starts.values())
        shown = [each for each in page if reason in ("", each.reason)]
        return LettersPage(await self._with_settled(topic, shown), older if more and page else None)

    async def one(self, where: Where) -> Shown:
        """One dead letter with its content; `Shown.ledger_error` when the ledger cannot be asked and is not needed.

        Raises `DeadLetterNotFound`, `LetterSealed`, `SecretKeyMissing`, and `DatabaseError` for one in the ledger.
        """
        ledger_error = None
        if where.stored is not Stored.TOPIC:
            try:
                kept = await self.kept_at(where)
            except DatabaseError as error:
                if where.stored is Stored.LEDGER:
                    raise
                kept, ledger_error = None, error
            if kept is not None:
                async with self.database.connection() as connection:
                    record = await self.opened(connection, kept)
                if record is not None:
                    return Shown(DeadLetter.of_kept(kept), record)
            if where.stored is Stored.LEDGER:
                raise DeadLetterNotFound(where)
        record = await self.on_topic(where)
        letter = DeadLetter.of(where.topic, record)
        try:
            (letter,) = await self._with_settled(where.topic, [letter])
        except DatabaseError as error:
            return Shown(_not_known(letter), record, error)
        return Shown(letter, record, ledger_error)

    async def on_topic(self, where: Where) -> Record:
        """The record on the dead-letter topic. Raises `DeadLetterNotFound`."""
        with kafka_errors(self.settings):
            state = (await self.topic_states([where.topic]))[where.topic]
            async with reading(self.settings) as reader:
                return await _record_at(reader, state, where)

    async def kept_at(self, where: Where) -> KeptLetter | None:
        """The letter that the ledger keeps at a position, if there is one. Raises `DatabaseError`."""
        if where.partition > _MOST_PARTITION or where.offset > MAX_INT64:
            return None
        async with self.database.connection() as connection:
            return await kept_dead_letters.kept_at(connection, where.topic, where.partition, where.offset)

    async def topic_states(self, topics: Sequence[str], *, needed: bool = True) -> Mapping[str, TopicState]:
        """The dead-letter topics that exist, by input topic. Raises `TopicsMissing` when one is `needed`."""
        names = {dead_letter_topic(topic): topic for topic in topics}
        states = await permitted_topics(self.settings, names, Access.READ)
        found = {names[state.topic]: state for state in states if state.exists}
        if needed and not found:
            raise TopicsMissing(list(names))
        return found

    async def opened(self, connection: Connection, kept: KeptLetter) -> Record | None:
        """A kept dead letter as the record that its topic would have; None when it has been pruned.

        Raises `LetterSealed` or `SecretKeyMissing`.
        """
        if self.vault is None:
            raise SecretKeyMissing
        try:
            content = await kept_dead_letters.opened(connection, self.vault, kept.id)
        except Sealed:
            raise LetterSealed(kept.topic) from None
        if content is None:
            return None
        name = dead_letter_topic(kept.topic)
        headers = tuple(content.headers)
        return Record(name, kept.partition, kept.offset, kept.written_ms, content.key, content.value, headers)

    async def _kept(self, topics: Sequence[str]) -> list[DeadLetter]:
        async with self.database.connection() as connection:
            return [DeadLetter.of_kept(each) for each in await kept_dead_letters.kept(connection, topics)]

    async def _with_settled(self, topic: str, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        async with self.database.connection() as connection:
            settled = await replays.settled(connection, topic, [each.place for each in letters])
        return [replace(each, settled=settled.get(each.place)) for each in letters]


async def _record_at(reader: RecordReader, state: TopicState, where: Where) -> Record:
    there = where.partition < state.partitions and where.offset <= MAX_INT64
    record = await reader.one(state.topic, where.partition, where.offset) if there else None
    if record is None:
        raise DeadLetterNotFound(where)
    return record


def _not_known(letter: DeadLetter) -> DeadLetter:
    return replace(letter, settled_known=False)
