"""The play itself: events in, outcomes out, until every sample has what it waits for or the time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import orjson

from worker.commands._outcomes import Arrival, Reader, reading
from worker.commands.demo.parts import Stage
from worker.commands.demo.samples import Sample
from worker.commands.demo.show import Show
from worker.commands.demo.verdict import Seen
from worker.kafka.producer import RecordProducer
from worker.kafka.topics import dead_letter_topic, is_dead_letter_topic, outcome_topic

BASE_SECONDS = 30.0
"""The samples take about three seconds; more than ten times that means that something does not come."""

EVENTS_A_SECOND = 50
"""What even a small machine that runs all the parts carries through; a developer's does a thousand."""

_QUIET_SECONDS = 0.7
"""After the last outcome that is waited for: one too many would come within this time. An idle fetch takes 0.26 s."""

_AT_ONCE = 500


async def play(stage: Stage, samples: Sequence[Sample], show: Show) -> Seen:
    """Sends the samples and gathers what comes of them. Raises `Refused` when the worker ends."""
    seen, arrived = Seen(), asyncio.Event()
    topics = list(dict.fromkeys(sample.topic for sample in samples))
    watched = [name(topic) for topic in topics for name in (outcome_topic, dead_letter_topic)]
    plain = sum(sample.plain for sample in samples)
    async with reading(stage.kafka, watched, from_start=True) as reader, RecordProducer(stage.kafka) as producer:
        gathering = asyncio.create_task(_gather(reader, seen, show, plain, arrived))
        tasks = [
            gathering,
            asyncio.create_task(_send(producer, samples, seen, show, arrived)),
            asyncio.create_task(stage.process.wait()),
        ]
        try:
            async with asyncio.timeout(BASE_SECONDS + plain / EVENTS_A_SECOND):
                await _all_there(samples, seen, arrived, tasks)
                await asyncio.wait(tasks[:1], timeout=_QUIET_SECONDS)
        except TimeoutError:
            pass  # the verdict names what is missing
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    if stage.process.returncode is not None:
        raise stage.ended()
    return seen


async def _all_there(
    samples: Sequence[Sample], seen: Seen, arrived: asyncio.Event, tasks: Sequence[asyncio.Task[object]]
) -> None:
    """Returns when every sample has what it waits for, or the worker has ended; raises what a task raises."""
    gathering, sending, ended = tasks
    waiting = list(samples)
    while waiting := [sample for sample in waiting if not seen.has(sample)]:
        arrived.clear()
        news = asyncio.create_task(arrived.wait())
        among = {news, gathering, ended, *(() if sending.done() else (sending,))}
        try:
            await asyncio.wait(among, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if ended.done():
            return
        for task in (gathering, sending):
            if task.done():
                task.result()


async def _gather(reader: Reader, seen: Seen, show: Show, plain: int, arrived: asyncio.Event) -> None:
    done = 0
    while True:
        arrival = await reader.next()
        body = arrival.body or {}
        event_id = str(body.get("eventId"))
        if is_dead_letter_topic(arrival.topic):
            seen.dead_letters[event_id] = _header(arrival, "dlq-reason")
            show.dead_letter(event_id, arrival.topic, _header(arrival, "dlq-error"))
        elif event_id.startswith("load-"):
            seen.outcomes.setdefault(event_id, []).append(body)
            done += 1
            show.progress(done, plain)
        else:
            show.outcome(body)
            if body.get("status") != "pending":
                seen.outcomes.setdefault(event_id, []).append(body)
        arrived.set()


async def _send(
    producer: RecordProducer, samples: Sequence[Sample], seen: Seen, show: Show, arrived: asyncio.Event
) -> None:
    for sample in samples:
        if sample.plain:
            continue
        while sample.after is not None and sample.after not in seen.outcomes:
            await arrived.wait()
            await asyncio.sleep(0.01)  # the waiter above clears the event; whoever comes second must look again
        for _ in range(sample.times):
            await _publish(producer, sample)
        show.sent(sample)
    plain = [sample for sample in samples if sample.plain]
    if plain:
        show.load(len(plain))
    for first in range(0, len(plain), _AT_ONCE):
        await asyncio.gather(*(_publish(producer, sample) for sample in plain[first : first + _AT_ONCE]))


async def _publish(producer: RecordProducer, sample: Sample) -> None:
    event: Mapping[str, object] = sample.event
    await producer.send(sample.topic, value=orjson.dumps(event), key=sample.key)


def _header(arrival: Arrival, name: str) -> str:
    return (arrival.headers.get(name) or b"").decode(errors="replace")
