"""What the console reads out of Kafka, and puts back on it: a flow's event, dead letters, offsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka.errors import KafkaError

from schemas.events import Account, Event
from worker.errors import Unavailable
from worker.intake.dead_letters import ERROR, REASON
from worker.intake.original_event import event_again
from worker.intake.replay import PutBack, Replayer, Stored, opened_record, place_of
from worker.kafka.admin import list_topics
from worker.kafka.backlog import backlog
from worker.kafka.producer import RecordProducer
from worker.kafka.read import Record, reading
from worker.kafka.topics import INPUT_TOPICS, TopicNames, dead_letter_topic
from worker.ledger import browse, kept_dead_letters, replays
from worker.ledger.browse import Summary
from worker.ledger.crypto import Sealed, Vault
from worker.ledger.database import Database
from worker.ledger.kept_dead_letters import KeptLetter
from worker.ledger.replays import Settled
from worker.operate.console.first_page import Offsets
from worker.settings import KafkaSettings

_PORTION = 8 * 1024 * 1024
"""Bytes of dead letters in memory while all of a topic are put back."""


_SEALED = "No part of SECRET_KEY opens a dead letter that the ledger keeps."


class KafkaUnavailable(Unavailable):
    """Kafka cannot be reached, or answers too late, or a record cannot be read: a sentence."""


AWAY_FROM_KAFKA = (KafkaError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as lists show it: without its value."""

    partition: int
    offset: int
    at: datetime
    reason: str
    error: str
    settled: Settled | None = None
    kept: KeptLetter | None = None

    @property
    def stored(self) -> Stored:
        """Where it is: a position may be one on the dead-letter topic, and that of an input record."""
        return Stored.TOPIC if self.kept is None else Stored.LEDGER


@dataclass(frozen=True, slots=True)
class Letters:
    """Dead letters of a topic, the newest first. `older`: where the next page begins, by partition; None: no more."""

    letters: list[Letter]
    older: Mapping[int, int] | None


@dataclass(frozen=True, slots=True)
class Records:
    """Raises `KafkaUnavailable`; of what asks the ledger too, `DatabaseError`."""

    settings: KafkaSettings
    database: Database
    producer: RecordProducer
    vault: Vault
    products: Mapping[str, Account] = field(default_factory=dict)

    async def event(self, flow: Summary) -> Event:
        """The flow's event at its place. Raises `EventNotFound` when it is there no more."""
        try:
            async with reading(self.settings) as reader:
                record = await reader.one(flow.topic, flow.partition, flow.offset)
        except AWAY_FROM_KAFKA as error:
            raise KafkaUnavailable(_away(error)) from None
        async with self.database.connection() as connection:
            content = await browse.content(connection, flow.flow_id)
        return event_again(record, flow.event_id, content, self.vault, self.products)

    async def offsets(self) -> Offsets:
        """Lag and dead letters, by offsets alone."""
        seen = await backlog(self.settings, INPUT_TOPICS)
        return Offsets(seen.lag, seen.dead)

    async def letters(self, topic: str, reason: str, before: Mapping[int, int], most: int) -> Letters:
        """At most `most` dead letters of a topic, those of `reason` if one is given; with the newest ones also those
        that the ledger keeps.
        """
        async with self.database.connection() as connection:
            kept = [_kept_letter(each) for each in await kept_dead_letters.kept(connection, [topic])]
        found = await self._on_topic(topic, reason, before, most)
        here = [] if before else [each for each in kept if reason in ("", each.reason)]
        return Letters(sorted([*here, *found.letters], key=lambda each: each.at, reverse=True), found.older)

    async def _on_topic(self, topic: str, reason: str, before: Mapping[int, int], most: int) -> Letters:
        try:
            _, partitions = await self._partitions(topic)
            found: list[Record] = []
            starts: dict[int, int] = {}
            async with reading(self.settings) as reader:
                async for record in reader.latest(dead_letter_topic(topic), partitions, most, before):
                    starts.setdefault(record.partition, record.offset)
                    found.append(_light(record))
        except AWAY_FROM_KAFKA as error:
            raise KafkaUnavailable(_away(error)) from None
        found.sort(key=lambda record: (record.timestamp_ms, record.partition, record.offset), reverse=True)
        page = found[:most]
        # The next page goes on before the first that was shown; a partition of which none was shown, where it was.
        older = {**before, **{part: start for part, start in starts.items() if part not in before}}
        for record in found:
            older[record.partition] = max(older.get(record.partition, 0), record.offset + 1)
        for record in page:
            older[record.partition] = min(older[record.partition], record.offset)
        more = len(found) > most or any(start > 0 for start in starts.values())
        shown = [record for record in page if reason in ("", _header(record, REASON))]
        async with self.database.connection() as connection:
            back = await replays.settled(connection, topic, [place_of(record) for record in shown])
        return Letters(
            [_letter(record, back.get(place_of(record))) for record in shown], older if more and page else None
        )

    async def letter(self, topic: str, partition: int, offset: int, stored: Stored) -> tuple[Letter, Record] | None:
        """One dead letter and its record, None when there is none."""
        if stored is Stored.LEDGER:
            async with self.database.connection() as connection:
                kept = await kept_dead_letters.kept_at(connection, topic, partition, offset)
                record = None if kept is None else await opened_record(connection, self.vault, kept)
            return None if kept is None or record is None else (_kept_letter(kept), record)
        try:
            _, partitions = await self._partitions(topic)
            if partition >= partitions:
                return None
            async with reading(self.settings) as reader:
                record = await reader.one(dead_letter_topic(topic), partition, offset)
        except AWAY_FROM_KAFKA as error:
            raise KafkaUnavailable(_away(error)) from None
        if record is None:
            return None
        async with self.database.connection() as connection:
            back = await replays.settled(connection, topic, [place_of(record)])
        return _letter(record, back.get(place_of(record))), record

    async def put_back(self, topic: str, letter: Letter, record: Record, *, again: bool) -> PutBack:
        """One dead letter back on its topic."""
        try:
            partitions, _ = await self._partitions(topic)
            if letter.kept is not None:
                kept = [letter.kept]
                return await self._replayer().put_kept_back(self.vault, kept, partitions, again=again, named=True)
            return await self._replayer().put_back(topic, [record], partitions, again=again, named=True)
        except KafkaError as error:
            raise KafkaUnavailable(_away(error)) from None
        except Sealed:
            raise KafkaUnavailable(_SEALED) from None

    async def put_all_back(self, topic: str) -> PutBack:
        """All dead letters of a topic that were not put back before."""
        done = PutBack()
        replayer = self._replayer()
        try:
            partitions, dead = await self._partitions(topic)
            async with reading(self.settings) as reader:
                some: list[Record] = []
                size = 0
                async for record in reader.scan(dead_letter_topic(topic), dead):
                    some.append(record)
                    size += len(record.value or b"")
                    if size >= _PORTION:
                        done.add(await replayer.put_back(topic, some, partitions))
                        some, size = [], 0
            done.add(await replayer.put_back(topic, some, partitions))
            async with self.database.connection() as connection:
                kept = await kept_dead_letters.kept(connection, [topic])
            done.add(await replayer.put_kept_back(self.vault, kept, partitions))
        except KafkaError as error:
            raise KafkaUnavailable(f"{_away(error)} {done.sent} were put back.") from None
        except Sealed:
            raise KafkaUnavailable(f"{_SEALED} {done.sent} were put back.") from None
        return done

    async def dismiss(self, topic: str, letter: Letter, record: Record, reason: str, by: str) -> None:
        """Notes that a dead letter is settled."""
        async with self.database.transaction() as connection:
            if letter.kept is not None:
                await kept_dead_letters.dismiss(connection, letter.kept.id, reason, by)
            else:
                await replays.dismiss(connection, topic, place_of(record), reason, by)

    def _replayer(self) -> Replayer:
        return Replayer(self.database, self.producer, TopicNames(self.settings.kafka_topic_prefix))

    async def _partitions(self, topic: str) -> tuple[int, int]:
        """Of the topic and of its dead letters."""
        states = await list_topics(self.settings, [topic, dead_letter_topic(topic)])
        return states[0].partitions, states[1].partitions


def _light(record: Record) -> Record:
    """Without its value, which may have 16 MiB and is not shown in a list."""
    return Record(record.topic, record.partition, record.offset, record.timestamp_ms, record.key, None, record.headers)


def _letter(record: Record, settled: Settled | None) -> Letter:
    return Letter(
        record.partition,
        record.offset,
        datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
        _header(record, REASON) or "?",
        _header(record, ERROR),
        settled,
    )


def _kept_letter(kept: KeptLetter) -> Letter:
    settled = None if kept.settled_at is None else Settled(kept.settled_at, kept.dismissed, kept.dismissed_by)
    error = f"{kept.error} It is kept in the ledger, because its topic does not accept it ({kept.refusal})."
    return Letter(kept.partition, kept.offset, kept.created_at, kept.reason, error, settled, kept)


def _header(record: Record, name: str) -> str:
    return (dict(record.headers).get(name) or b"").decode("utf-8", "replace")


def _away(error: BaseException) -> str:
    return f"Kafka cannot be reached ({type(error).__name__}): try again."
