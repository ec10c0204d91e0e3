"""`dlq`: dead letters, to see and to put back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

import typer
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from worker.commands._app import example, group
from worker.commands._dlq import COLUMNS, Letter, Replayed, as_json, body, head, row, whole_json
from worker.commands._errors import WRONG_USAGE, Refused, one_of
from worker.commands._kafka import kafka_errors, present, sentence_of
from worker.commands._output import print_json, printable, table, warn
from worker.commands._progress import progress
from worker.intake.replay import AT_ONCE, PutBack, Replayer, place_of
from worker.kafka.admin import TopicState
from worker.kafka.producer import RecordProducer
from worker.kafka.read import Record, RecordReader, reading
from worker.kafka.topics import INPUT_TOPICS, TopicNames, dead_letter_topic
from worker.ledger import replays
from worker.ledger.database import Database
from worker.ledger.errors import Cause, DatabaseError, DatabaseUnavailable
from worker.ledger.replays import Place
from worker.settings import DatabaseSettings, KafkaSettings, load

app = group(
    "Dead letters, records that the worker could not take: list, show, and put back on their topic.",
    "tradovate-worker dlq list",
    "tradovate-worker dlq replay trader.purchased",
)

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

_DLQ = ".dlq"

_MOST_BYTES = 16 * 1024 * 1024
"""Of dead letters that are held in memory together: one of the largest, or thousands of the usual."""


class DlqSettings(KafkaSettings, DatabaseSettings):
    """What `dlq` uses: Kafka, and the ledger for what was put back."""


Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The input topic, without prefix.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list", epilog=example("tradovate-worker dlq list", "tradovate-worker dlq list trader.purchased --json"))
def list_(
    topic: Annotated[
        str | None, typer.Argument(metavar="[TOPIC]", help="One input topic, without prefix; all when left out.")
    ] = None,
    *,
    as_json_: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> int:
    """Show dead letters: where each stands, what is wrong with it, whether it was put back."""
    topics = [_input_topic(topic)] if topic is not None else list(INPUT_TOPICS)
    found = asyncio.run(_list(load(DlqSettings), topics))
    if as_json_:
        print_json([as_json(letter, replayed) for letter, replayed in found])
    else:
        table(COLUMNS, [row(letter, replayed) for letter, replayed in found], empty="There are no dead letters.")
    return 0


@app.command(
    epilog=example(
        "tradovate-worker dlq show trader.purchased --partition 3 --offset 17",
        "tradovate-worker dlq show trader.purchased --partition 3 --offset 17 --raw",
    )
)
def show(
    topic: Topic,
    *,
    partition: Annotated[int, typer.Option("--partition", min=0, help="As `dlq list` shows it.", show_default=False)],
    offset: Annotated[int, typer.Option("--offset", min=0, help="As `dlq list` shows it.", show_default=False)],
    raw: Annotated[bool, typer.Option("--raw", help="Show personal values too.")] = False,
    as_json_: Json = False,
) -> int:
    """Show a dead letter: its key, its headers, and its value with what is or may be personal masked."""
    name = _input_topic(topic)
    record, replayed = asyncio.run(_show(load(DlqSettings), name, partition, offset))
    if as_json_:
        print_json(whole_json(name, record, replayed, raw=raw))
        return 0
    lines = head(name, record, replayed, raw=raw)
    for label, value in lines:
        print(f"{printable(label).ljust(max(len(each) for each, _ in lines))}  {printable(value)}")
    print()
    text = body(name, record, raw=raw)
    print("\n".join(map(printable, text.split("\n"))) if sys.stdout.isatty() else text)
    return 0


@app.command(
    epilog=example(
        "tradovate-worker dlq replay trader.purchased",
        "tradovate-worker dlq replay trader.purchased --partition 3 --offset 17",
    )
)
def replay(
    topic: Topic,
    *,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="One dead letter's partition.")] = None,
    offset: Annotated[int | None, typer.Option("--offset", min=0, help="One dead letter's offset.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was put back before.")] = False,
    as_json_: Json = False,
) -> int:
    """Put a topic's dead letters, or one, back on it: key, value and headers as they were before they failed.

    Each goes back once, however often and from however many places this runs. The worker judges it afresh: what is
    still wrong becomes a new dead letter.
    """
    name = _input_topic(topic)
    if (partition is None) != (offset is None):
        raise Refused("--partition and --offset name one dead letter together; leave out both for all.", WRONG_USAGE)
    place = None if partition is None or offset is None else (partition, offset)
    settings = load(DlqSettings)
    done = asyncio.run(_replay(settings, name, place, again=again))
    if as_json_:
        failed = [{"partition": each.partition, "offset": each.offset} for each, _ in done.failed]
        print_json({"topic": name, "replayed": done.sent, "replayedBefore": done.known, "failed": failed})
    else:
        print(_told(name, done))
    if done.failed:
        raise Refused(_failure(settings, done))
    return 0


def _input_topic(given: str) -> str:
    return one_of(given.removesuffix(_DLQ), INPUT_TOPICS, "input topic")


def _told(topic: str, done: PutBack) -> str:
    if not done.sent and not done.known and not done.failed:
        return f"{topic} has no dead letters."
    what = f"Put {done.sent} dead letter{'' if done.sent == 1 else 's'} back on {topic}."
    return f"{what} {done.known} had been put back before; --again puts them back once more." if done.known else what


def _failure(settings: DlqSettings, done: PutBack) -> str:
    place, error = done.failed[0]
    why = (
        "the topic takes no record that large (max.message.bytes)."
        if isinstance(error, _TOO_LARGE)
        else sentence_of(error, settings)
    )
    return (
        f"{len(done.failed)} could not be put back, the first at partition {place.partition}, offset {place.offset}:"
        f" {why} Run it again when that is mended: what was put back stays so."
    )


async def _list(settings: DlqSettings, topics: Sequence[str]) -> list[tuple[Letter, Replayed]]:
    found: dict[str, list[Letter]] = {}
    async with kafka_errors(settings):
        states = await _states(settings, topics)
        async with reading(settings) as reader:
            counts = {topic: await reader.count(state.topic, state.partitions) for topic, state in states.items()}
            with progress("Reading", sum(counts.values())) as advance:
                for topic, state in states.items():
                    found[topic] = []
                    async for record in reader.scan(state.topic, state.partitions):
                        found[topic].append(Letter.of(topic, record))
                        advance(1)
    noted = await _noted(settings, {topic: [letter.place for letter in letters] for topic, letters in found.items()})
    return [
        (letter, None if noted is None else noted[topic])
        for topic, letters in found.items()
        for letter in sorted(letters, key=lambda each: (each.at, each.place))
    ]


async def _show(settings: DlqSettings, topic: str, partition: int, offset: int) -> tuple[Record, Replayed]:
    async with kafka_errors(settings):
        state = (await _states(settings, [topic]))[topic]
        async with reading(settings) as reader:
            record = await _one(reader, state, topic, partition, offset)
    noted = await _noted(settings, {topic: [place_of(record)]})
    return record, None if noted is None else noted[topic]


async def _replay(settings: DlqSettings, topic: str, place: tuple[int, int] | None, *, again: bool) -> PutBack:
    producer = RecordProducer(settings)
    try:
        async with _ledger(settings) as database, kafka_errors(settings):
            async with database.connection():  # what is wrong with it is said before anything is read
                pass
            replayer = Replayer(database, producer, TopicNames(settings.kafka_topic_prefix))
            into = (await present(settings, [topic]))[0].partitions
            state = (await _states(settings, [topic]))[topic]
            async with reading(settings) as reader:
                if place is not None:
                    letter = await _one(reader, state, topic, *place)
                    return await _put_back(replayer, topic, [letter], into, again=again)
                return await _replay_all(replayer, reader, state, topic, into, again=again)
    finally:
        try:
            async with asyncio.timeout(1):
                await producer.stop()
        except TimeoutError:  # a broker that went away meanwhile; what it did not confirm was not noted
            pass


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
            if any(not isinstance(error, _TOO_LARGE) for _, error in done.failed):
                return done  # Kafka has gone: the rest would fail likewise, each after its time
        done.add(await _put_back(replayer, topic, waiting, into, again=again))
    return done


async def _put_back(replayer: Replayer, topic: str, letters: Sequence[Record], into: int, *, again: bool) -> PutBack:
    try:
        return await replayer.put_back(topic, letters, into, again=again)
    except DatabaseUnavailable as error:
        if error.cause is not Cause.BUSY:
            raise
        sentence = "Another replay of these dead letters is under way: run it again when that has ended."
        raise Refused(sentence) from None


async def _states(settings: DlqSettings, topics: Sequence[str]) -> dict[str, TopicState]:
    """The dead-letter topics that exist, by input topic. Raises `Refused` when there is none."""
    found = await present(settings, [dead_letter_topic(topic) for topic in topics])
    return {state.topic.removesuffix(_DLQ): state for state in found}


async def _one(reader: RecordReader, state: TopicState, topic: str, partition: int, offset: int) -> Record:
    # Kafka counts records in 63 bits; beyond that no place can be.
    there = partition < state.partitions and offset < 2**63
    record = await reader.one(state.topic, partition, offset) if there else None
    if record is None:
        where = f"partition {partition}, offset {offset}"
        raise Refused(f"{topic} has no dead letter at {where}: `tradovate-worker dlq list {topic}` shows them.")
    return record


async def _noted(
    settings: DlqSettings, places: Mapping[str, Sequence[Place]]
) -> Mapping[str, Mapping[Place, datetime]] | None:
    """What was put back, by topic; None when the ledger cannot say: dead letters can be seen without it."""
    try:
        async with _ledger(settings) as database, database.connection() as connection:
            return {topic: await replays.replayed(connection, topic, these) for topic, these in places.items()}
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
