"""`send`: events from a file or a pipe onto their topic, all of them good or none sent."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from aiokafka.errors import KafkaError

from schemas.events import Account, TraderPurchased
from worker import _forms as forms
from worker.cli._app import example, group
from worker.cli._complete import TopicArgument
from worker.cli._errors import CommandRefused, FileMissing, FileUnusable, FileUse, one_of
from worker.cli._event_files import BadEvent, Ready, judge, split
from worker.kafka.admin import existing_topics
from worker.kafka.errors import ANSWER_SECONDS, Access, KafkaUnavailable, kafka_errors
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import INPUT_TOPICS, TopicNames
from worker.products import load_products
from worker.settings import KafkaSettings, load

app = group()

_AT_ONCE = 500
"""Events on their way together: enough to fill the producer's batches, few enough to say how far it came."""

_STDIN = Path("-")


class PurchaseSettings(KafkaSettings):
    """What `send trader.purchased` uses: Kafka, and the catalogue if there is one."""

    products_file: forms.Catalogue | None = None


class NothingToSend(CommandRefused):
    """The file holds no event."""

    @property
    def sentence(self) -> str:
        """With the forms that are read."""
        return "There is no event to send: give a JSON object, an array of them, or one a line."


class EventsRefused(CommandRefused):
    """Of all events some are `bad`; none was sent."""

    def __init__(self, bad: Sequence[BadEvent], total: int) -> None:
        super().__init__(len(bad), total)
        self.bad = tuple(bad)
        self.total = total

    @property
    def sentence(self) -> str:
        """What is wrong with the only one, or how many are bad."""
        if len(self.bad) == 1:
            return f"{self.bad[0].place}: {self.bad[0].sentence} Nothing was sent: correct it and send again."
        return f"{len(self.bad)} of {self.total} events are bad, none was sent: correct them and send again."


class SendInterrupted(CommandRefused):
    """Kafka failed after `sent` of `total` events had been published."""

    def __init__(self, cause: KafkaUnavailable, sent: int, total: int) -> None:
        super().__init__(cause, sent, total)
        self.cause = cause
        self.sent = sent
        self.total = total

    @property
    def sentence(self) -> str:
        """With how far it came."""
        done = f"{self.sent} of {self.total} events were sent; sending all again is safe."
        return f"{self.cause.sentence} {done}"


@app.command(
    epilog=example(
        "tradovate-worker send trader.purchased purchase.json",
        "tradovate-worker send trader.purchased --verbose < purchases.jsonl",
    )
)
def send(
    topic: TopicArgument,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="One event, an array, or JSON Lines; - or left out: standard input."),
    ] = None,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show where each event was written.")] = False,
) -> int:
    """Check events as the worker would, and publish them with the trader as the key.

    All events are checked first: when one is bad none is sent, and each bad one is named. Sending the same events
    again changes nothing, for the worker knows them by their eventId.
    """
    one_of(topic, INPUT_TOPICS, "input topic")
    settings = load(PurchaseSettings if topic == TraderPurchased.topic else KafkaSettings)
    ready, bad = judge(topic, split(_read(file)), _products(settings))
    if bad:
        if len(bad) > 1:
            _tell(bad)
        raise EventsRefused(bad, len(bad) + len(ready))
    if not ready:
        raise NothingToSend
    where = asyncio.run(_publish(settings, topic, ready, verbose=verbose))
    places = ", ".join(f"{partition}: {count}" for partition, count in sorted(where.items()))
    print(f"Sent {len(ready)} event{'s' if len(ready) > 1 else ''} to {topic} (by partition {places}).")
    return 0


def _read(file: Path | None) -> bytes:
    if file is None and sys.stdin.isatty():
        raise FileMissing("events")
    if file is None or file == _STDIN:
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise FileUnusable(file, error, FileUse.EVENTS) from None


def _products(settings: KafkaSettings) -> Mapping[str, Account]:
    if not isinstance(settings, PurchaseSettings) or settings.products_file is None:
        return {}
    return load_products(settings.products_file)


def _tell(bad: Sequence[BadEvent]) -> None:
    for event in bad:
        print(f"{event.place}: {event.sentence}", file=sys.stderr)


async def _publish(settings: KafkaSettings, topic: str, events: Sequence[Ready], *, verbose: bool) -> Counter[int]:
    """Writes the events in their order; how many went to each partition. Raises `SendInterrupted`;
    `KafkaUnavailable`, `TopicsMissing` or `TopicsForbidden` before the first.
    """
    name = TopicNames(settings.kafka_topic_prefix).on_broker(topic)
    where: Counter[int] = Counter()
    producer = RecordProducer(settings)
    with kafka_errors(settings):
        await existing_topics(settings, [topic], Access.WRITE)
        async with asyncio.timeout(ANSWER_SECONDS):
            await producer.start()
    try:
        for first in range(0, len(events), _AT_ONCE):
            some = events[first : first + _AT_ONCE]
            async with asyncio.timeout(ANSWER_SECONDS):
                sent = await asyncio.gather(*(producer.send(name, value=event.value, key=event.key) for event in some))
            for event, at in zip(some, sent, strict=True):
                where[at.partition] += 1
                if verbose:
                    print(f"{event.place}: {event.event_id} is at partition {at.partition}, offset {at.offset}")
    except (KafkaError, OSError, TimeoutError) as error:
        raise SendInterrupted(KafkaUnavailable.of(error, settings), where.total(), len(events)) from None
    finally:
        try:
            async with asyncio.timeout(1):
                await producer.stop()
        except TimeoutError:  # a broker that went away meanwhile; nothing of ours is on its way any more
            pass
    return where
