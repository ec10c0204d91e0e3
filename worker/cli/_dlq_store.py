"""Dead letters where they are: on their topic in Kafka, and those that it does not accept in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from worker import _forms as forms
from worker.cli._dlq import Letter, Replayed
from worker.cli._errors import WRONG_USAGE, CommandRefused
from worker.cli._kafka import kafka_errors, present
from worker.cli._output import warn
from worker.cli._progress import progress
from worker.intake.replay import AT_ONCE, PutBack, Replayer, Stored, kept_place, opened_record, place_of
from worker.kafka.admin import TopicState, list_topics
from worker.kafka.producer import RecordProducer
from worker.kafka.read import Record, RecordReader, reading
from worker.kafka.topics import TopicNames, dead_letter_topic
from worker.ledger import kept_dead_letters, replays
from worker.ledger.crypto import Sealed, Vault
from worker.ledger.database import Database
from worker.ledger.errors import Cause, DatabaseError, DatabaseUnavailable
from worker.ledger.kept_dead_letters import KeptLetter
from worker.ledger.replays import Place, Settled
from worker.settings import DatabaseSettings, KafkaSettings

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

DLQ = ".dlq"

_MOST_BYTES = 16 * 1024 * 1024
"""Of dead letters that are held in memory together: one of the largest, or thousands of the usual."""

_MOST_OFFSET = 2**63
"""Kafka counts records in 63 bits; beyond that no position can be."""


class DlqSettings(KafkaSettings, DatabaseSettings):
    """What `dlq` uses: Kafka, and the ledger for what was put back and for the letters that it keeps."""

    secret_key: forms.SecretKeys | None = None
    """Only to open a letter that the ledger keeps."""

    @property
    def vault(self) -> Vault:
        """What opens kept letters. Raises `CommandRefused` without SECRET_KEY."""
        if self.secret_key is None:
            sentence = "SECRET_KEY is missing: the ledger keeps this dead letter encrypted. Set it as `run` has it."
            raise CommandRefused(sentence, WRONG_USAGE)
        return Vault([key.get_secret_value() for key in forms.split_keys(self.secret_key)])


async def listed(settings: DlqSettings, topics: Sequence[str]) -> list[tuple[Letter, Replayed]]:
    """All dead letters of some input topics, by topic and time."""
    kept = await _kept(settings, topics)
    found: dict[str, list[tuple[Letter, Replayed]]] = {topic: [] for topic in topics}
    for each in kept or ():
        found[each.topic].append((Letter.of_kept(each), _replayed(each)))
    on_topics: dict[str, list[Letter]] = {}
    async with kafka_errors(settings):
        states = await _states(settings, topics, needed=not kept)
        async with reading(settings) as reader:
            counts = {topic: await reader.count(state.topic, state.partitions) for topic, state in states.items()}
            with progress("Reading", sum(counts.values())) as advance:
                for topic, state in states.items():
                    on_topics[topic] = []
                    async for record in reader.scan(state.topic, state.partitions):
                        on_topics[topic].append(Letter.of(topic, record))
                        advance(1)
    places = {topic: [letter.place for letter in there] for topic, there in on_topics.items()}
    noted = None if kept is None else await _noted(settings, places)
    for topic, there in on_topics.items():
        found[topic] += [(letter, None if noted is None else noted[topic]) for letter in there]
    return [pair for topic in topics for pair in sorted(found[topic], key=lambda pair: (pair[0].at, pair[0].place))]


async def shown(
    settings: DlqSettings, topic: str, place: tuple[int, int], stored: Stored | None
) -> tuple[Letter, Record, Replayed]:
    """One dead letter. Raises `CommandRefused` when there is none."""
    kept = await _kept_at(settings, topic, place, stored)
    if kept is not None:
        async with _ledger(settings) as database, database.connection() as connection:
            try:
                record = await opened_record(connection, settings.vault, kept)
            except Sealed:
                raise CommandRefused(_SEALED) from None
        if record is not None:
            return Letter.of_kept(kept), record, _replayed(kept)
    async with kafka_errors(settings):
        state = (await _states(settings, [topic]))[topic]
        async with reading(settings) as reader:
            record = await _one(reader, state, topic, *place)
    noted = await _noted(settings, {topic: [place_of(record)]})
    return Letter.of(topic, record), record, None if noted is None else noted[topic]


async def replayed(
    settings: DlqSettings, topic: str, place: tuple[int, int] | None, stored: Stored | None, *, again: bool
) -> PutBack:
    """Puts one dead letter back, or all of a topic."""
    producer = RecordProducer(settings)
    try:
        async with _ledger(settings) as database, kafka_errors(settings):
            async with database.connection() as connection:  # what is wrong with it is said before anything is read
                kept = await kept_dead_letters.kept(connection, [topic]) if stored is not Stored.TOPIC else []
            replayer = Replayer(database, producer, TopicNames(settings.kafka_topic_prefix))
            into = (await present(settings, [topic]))[0].partitions
            if place is not None:
                kept = [each for each in kept if (each.partition, each.offset) == place][-1:]
            done = PutBack()
            if stored is not Stored.LEDGER and not (place is not None and kept):
                states = await _states(settings, [topic], needed=not kept)
                async with reading(settings) as reader:
                    if place is not None:
                        letter = await _one(reader, states[topic], topic, *place)
                        return await _put_back(replayer, topic, [letter], into, again=again, named=True)
                    for state in states.values():
                        done.add(await _replay_all(replayer, reader, state, topic, into, again=again))
            if place is not None and not kept:
                raise _none(topic, *place)
            named = place is not None
            done.add(await _put_kept_back(settings, replayer, kept, into, again=again, named=named))
            return done
    finally:
        try:
            async with asyncio.timeout(1):
                await producer.stop()
        except TimeoutError:  # a broker that went away meanwhile; what it did not confirm was not noted
            pass


async def dismissed(
    settings: DlqSettings, topic: str, place: tuple[int, int], stored: Stored | None, reason: str, by: str
) -> Letter:
    """Notes that one dead letter is settled. Raises `CommandRefused` when there is none."""
    kept = await _kept_at(settings, topic, place, stored)
    if kept is not None:
        async with _ledger(settings) as database, database.transaction() as connection:
            await kept_dead_letters.dismiss(connection, kept.id, reason, by)
        return Letter.of_kept(kept)
    async with kafka_errors(settings):
        state = (await _states(settings, [topic]))[topic]
        async with reading(settings) as reader:
            record = await _one(reader, state, topic, *place)
    async with _ledger(settings) as database, database.transaction() as connection:
        await replays.dismiss(connection, topic, place_of(record), reason, by)
    return Letter.of(topic, record)


async def _replay_all(
    replayer: Replayer, reader: RecordReader, state: TopicState, topic: str, into: int, *, again: bool
) -> PutBack:
    """All dead letters up to the end as it is now: what comes back to it meanwhile is not put back again."""
    done = PutBack()
    with progress("Replaying", await reader.count(state.topic, state.partitions)) as advance:
        waiting: list[Record] = []
        async for record in reader.scan(state.topic, state.partitions):
            waiting.append(record)
            if len(waiting) == AT_ONCE or sum(len(each.value or b"") for each in waiting) > _MOST_BYTES:
                done.add(await _put_back(replayer, topic, waiting, into, again=again))
                advance(len(waiting))
                waiting = []
            if any(not isinstance(error, TOO_LARGE) for _, error in done.failed):
                return done  # Kafka has gone: the rest would fail too, each after its timeout
        done.add(await _put_back(replayer, topic, waiting, into, again=again))
    return done


async def _put_back(
    replayer: Replayer, topic: str, records: Sequence[Record], into: int, *, again: bool, named: bool = False
) -> PutBack:
    try:
        return await replayer.put_back(topic, records, into, again=again, named=named)
    except DatabaseUnavailable as error:
        raise _busy(error) from None


async def _put_kept_back(
    settings: DlqSettings, replayer: Replayer, kept: Sequence[KeptLetter], into: int, *, again: bool, named: bool
) -> PutBack:
    if not kept:
        return PutBack()
    try:
        return await replayer.put_kept_back(settings.vault, kept, into, again=again, named=named)
    except Sealed:
        raise CommandRefused(_SEALED) from None
    except DatabaseUnavailable as error:
        raise _busy(error) from None


_SEALED = "No part of SECRET_KEY opens this dead letter: add the key that `run` had when it was kept."


def _busy(error: DatabaseUnavailable) -> Exception:
    if error.cause is not Cause.BUSY:
        return error
    return CommandRefused("Another replay of these dead letters is under way: run it again when that has ended.")


def _none(topic: str, partition: int, offset: int) -> CommandRefused:
    where = f"partition {partition}, offset {offset}"
    return CommandRefused(f"{topic} has no dead letter at {where}: `tradovate-worker dlq list {topic}` shows them.")


async def _states(settings: DlqSettings, topics: Sequence[str], *, needed: bool = True) -> dict[str, TopicState]:
    """The dead-letter topics that exist, by input topic. Raises `CommandRefused` when one is `needed`."""
    wanted = [dead_letter_topic(topic) for topic in topics]
    if needed:
        found = await present(settings, wanted)
    else:
        found = [state for state in await list_topics(settings, wanted) if state.exists]
    return {state.topic.removesuffix(DLQ): state for state in found}


async def _one(reader: RecordReader, state: TopicState, topic: str, partition: int, offset: int) -> Record:
    there = partition < state.partitions and offset < _MOST_OFFSET
    record = await reader.one(state.topic, partition, offset) if there else None
    if record is None:
        raise _none(topic, partition, offset)
    return record


async def _kept(settings: DlqSettings, topics: Sequence[str]) -> list[KeptLetter] | None:
    """Those that the ledger keeps; None when it cannot say."""
    try:
        async with _ledger(settings) as database, database.connection() as connection:
            return await kept_dead_letters.kept(connection, topics)
    except DatabaseError as error:
        warn(f"What the ledger keeps, and whether dead letters were put back, is not known: {error.sentence}")
        return None


async def _kept_at(
    settings: DlqSettings, topic: str, place: tuple[int, int], stored: Stored | None
) -> KeptLetter | None:
    """The letter that the ledger keeps at a position, if it may be meant."""
    if stored is Stored.TOPIC or place[0] >= 2**31 or place[1] >= _MOST_OFFSET:
        return None
    try:
        async with _ledger(settings) as database, database.connection() as connection:
            found = await kept_dead_letters.kept_at(connection, topic, *place)
    except DatabaseError:
        if stored is Stored.LEDGER:
            raise
        return None
    if found is None and stored is Stored.LEDGER:
        raise _none(topic, *place)
    return found


def _replayed(kept: KeptLetter) -> Mapping[Place, Settled]:
    return (
        {}
        if kept.settled_at is None
        else {kept_place(kept): Settled(kept.settled_at, kept.dismissed, kept.dismissed_by)}
    )


async def _noted(
    settings: DlqSettings, places: Mapping[str, Sequence[Place]]
) -> Mapping[str, Mapping[Place, Settled]] | None:
    """What was put back or dismissed, by topic; None when the ledger cannot say: letters can be seen without it."""
    try:
        async with _ledger(settings) as database, database.connection() as connection:
            return {topic: await replays.settled(connection, topic, these) for topic, these in places.items()}
    except DatabaseError as error:
        warn(f"Whether they were put back is not known: {error.sentence}")
        return None


@asynccontextmanager
async def _ledger(settings: DlqSettings) -> AsyncIterator[Database]:
    """The ledger. Raises `DatabaseError`."""
    database = Database(settings.database_url.get_secret_value(), size=1)
    try:
        yield database
    finally:
        await database.close()
