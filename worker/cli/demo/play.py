"""The play itself: events in, outcomes out, until every sample has what it waits for or the time has passed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from schemas.events import Ids
from worker.cli._outcome_reader import OutcomeArrival, OutcomeReader, reading
from worker.cli.demo.desk import Desk
from worker.cli.demo.parts import Stage
from worker.cli.demo.samples import Sample, filled
from worker.cli.demo.show import Show
from worker.cli.demo.verdict import SeenRecords
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import dead_letter_topic, is_dead_letter_topic, outcome_topic

BASE_SECONDS = 40.0
"""The samples take four seconds, and ten on a very busy machine. After this time an outcome counts as missing; the
whole demo has to end within a minute."""

EVENTS_A_SECOND = 25
"""What even a small and busy machine that runs all the parts carries through; a developer's does hundreds."""

_QUIET_SECONDS = 0.7
"""After the last outcome that is waited for: one too many would come within this time. An idle fetch takes 0.26 s."""

_AT_ONCE = 500


async def play(stage: Stage, samples: Sequence[Sample], show: Show) -> SeenRecords:
    """Sends the samples and gathers what comes of them. Raises `CommandRefused` when the worker or the bridge ends."""
    topics = list(dict.fromkeys(sample.topic for sample in samples))
    watched = [name(topic) for topic in topics for name in (outcome_topic, dead_letter_topic)]
    plain = [sample for sample in samples if sample.plain]
    async with reading(stage.kafka, watched, from_start=True) as reader, RecordProducer(stage.kafka) as producer:
        playing = _Play(reader, producer, stage.desk, show, samples, len(plain))
        gathering = asyncio.create_task(playing.gather())
        sending = asyncio.create_task(playing.send(plain))
        everything = asyncio.create_task(playing.until(lambda: not playing.missing))
        tasks = (gathering, sending, everything, asyncio.create_task(stage.ends()))
        try:
            async with asyncio.timeout(BASE_SECONDS + len(plain) / EVENTS_A_SECOND):
                await _first_of(everything, sending, tasks)
                await asyncio.wait([gathering], timeout=_QUIET_SECONDS)
        except TimeoutError:
            pass  # the verdict names what is missing
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return playing.seen


async def _first_of(
    everything: asyncio.Task[None], sending: asyncio.Task[None], tasks: Sequence[asyncio.Task[None]]
) -> None:
    """Returns when everything is there; raises what any task raises."""
    going = set(tasks)
    while not everything.done():
        done, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    # A sender may still have to notice that what it waits for is there.
    await sending


@dataclass(slots=True)
class _Play:
    """Who sends, who decides and who gathers, and what all of them wait for."""

    reader: OutcomeReader
    producer: RecordProducer
    desk: Desk
    show: Show
    samples: Sequence[Sample]
    plain: int
    seen: SeenRecords = field(default_factory=SeenRecords)
    missing: dict[str, Sample] = field(init=False)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    done: int = 0

    def __post_init__(self) -> None:
        """Nothing is there yet."""
        self.missing = {sample.event_id: sample for sample in self.samples}

    async def until(self, what: Callable[[], bool]) -> None:
        """Returns when `what` holds, which is looked at after every arrival."""
        async with self.news:
            await self.news.wait_for(what)

    async def gather(self) -> None:
        """Takes in what comes out."""
        while True:
            self._take(await self.reader.next())
            async with self.news:
                self.news.notify_all()

    def _take(self, arrival: OutcomeArrival) -> None:
        seen, body = self.seen, arrival.body or {}
        event_id = str(body.get("eventId"))
        event_id = seen.names.get(event_id, event_id)
        if is_dead_letter_topic(arrival.topic):
            seen.dead_letters[event_id] = _header(arrival, "dlq-reason")
            self.show.dead_letter(event_id, arrival.topic, _header(arrival, "dlq-error"))
        elif body.get("status") == "pending":
            seen.pending.setdefault(event_id, []).append(body)
            self.show.outcome(event_id, body)
        else:
            seen.outcomes.setdefault(event_id, []).append(body)
            if event_id.startswith("load-"):
                self.done += 1
                self.show.progress(self.done, self.plain)
            else:
                self.show.outcome(event_id, body)
        if event_id in self.missing and seen.has(self.missing[event_id]):
            del self.missing[event_id]

    async def send(self, plain: Sequence[Sample]) -> None:
        """Sends what waits for nothing in its order, all else as soon as what it waits for is there."""
        async with asyncio.TaskGroup() as waiting:
            for sample in self.samples:
                if sample.plain:
                    continue
                if sample.needs or sample.behind is not None:
                    waiting.create_task(self._when_its_time_comes(sample))
                else:
                    await self._publish(sample)
            if plain:
                self.show.load(len(plain))
            for first in range(0, len(plain), _AT_ONCE):
                await asyncio.gather(*(self._produce(sample) for sample in plain[first : first + _AT_ONCE]))

    async def _when_its_time_comes(self, sample: Sample) -> None:
        await self.until(lambda: all(need in self.seen.outcomes for need in sample.needs))
        if sample.behind is not None:
            await self.desk.waits(sample.behind)
        if sample.signs:
            self._sign(sample)
        else:
            await self._publish(sample)
        for number, status in enumerate(sample.reviews):
            await self._review(sample, number, status)

    async def _publish(self, sample: Sample) -> None:
        for _ in range(sample.times):
            await self._produce(sample)
        self.show.sent(sample)

    async def _produce(self, sample: Sample) -> None:
        event = filled(sample.event, self.seen.final) if sample.needs else sample.event
        key = Ids.of(event).key
        value, record_key = orjson.dumps(event), None if key is None else key.encode()
        await self.producer.send(sample.topic, value=value, key=record_key)

    def _sign(self, sample: Sample) -> None:
        made = self.desk.sign(filled(sample.event, self.seen.final)["userId"])
        self.seen.names[made] = sample.event_id
        self.show.signed(sample, made)

    async def _review(self, sample: Sample, number: int, status: str) -> None:
        """After the outcome before: the desk decides, and the worker's next look comes at once."""
        pending = self.seen.pending.setdefault(sample.event_id, [])
        await self.until(lambda: len(pending) > number)
        self.desk.review(pending[number]["requestId"], status)
        self.show.reviewed(sample, status)
        await self.desk.skip(sample.event_id)


def _header(arrival: OutcomeArrival, name: str) -> str:
    return (arrival.headers.get(name) or b"").decode(errors="replace")
