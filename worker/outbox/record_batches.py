"""Publishes the outcomes of one topic: in order by partition, as many records as fit in one record batch."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.errors import Unavailable
from worker.kafka.producer import MAX_BATCH_BYTES, PlainRecord, RecordProducer
from worker.ledger.rows import OutcomeRow

Sent = Callable[[OutcomeRow, int, float], None]
"""Gets a row that has been published, its partition, and how long that took in seconds."""

Rows = list[tuple[OutcomeRow, PlainRecord]]

_PARTITION_SECONDS = 5.0
"""To learn a topic's partitions; the producer looks for a missing topic for 40 s."""


class TopicNotFound(Unavailable, KafkaError):  # type: ignore[misc]
    """No broker has returned the topic's partitions in time: it was deleted, or may not be seen."""


async def send_in_order(
    producer: RecordProducer,
    topic: str,
    rows: Sequence[OutcomeRow],
    ours: Callable[[OutcomeRow], bool],
    sent: Sent,
) -> None:
    """Publishes `rows` on a topic (the broker's name) and calls `sent` for each that is published. A row is left out if
    `ours` says, just before it is sent, that this replica no longer has its lease.

    Raises the first error of Kafka's when all that could be sent has been.
    """
    batches = await _batches(producer, topic, rows)
    sends = [_partition_in_order(producer, topic, partition, parts, ours, sent) for partition, parts in batches.items()]
    for end in await asyncio.gather(*sends, return_exceptions=True):
        if isinstance(end, BaseException):
            raise end


async def _batches(producer: RecordProducer, topic: str, rows: Sequence[OutcomeRow]) -> dict[int, deque[Rows]]:
    batches: dict[int, deque[Rows]] = {}
    filled: dict[int, int] = {}
    await producer.start()
    try:
        async with asyncio.timeout(_PARTITION_SECONDS):
            partition_of = await producer.partitions(topic)
    except TimeoutError:
        raise TopicNotFound from None
    for row in rows:
        headers = [(name, text.encode()) for name, text in row.headers.items()]
        record = PlainRecord(row.record_key, row.body, headers)
        partition = partition_of(row.record_key)
        if filled.get(partition, MAX_BATCH_BYTES) + record.size > MAX_BATCH_BYTES:
            batches.setdefault(partition, deque()).append([])
            filled[partition] = 0
        batches[partition][-1].append((row, record))
        filled[partition] += record.size
    return batches


async def _partition_in_order(
    producer: RecordProducer,
    topic: str,
    partition: int,
    batches: deque[Rows],
    ours: Callable[[OutcomeRow], bool],
    sent: Sent,
) -> None:
    """One batch after the other, up to the first that fails: a `pending` must not come after the final outcome. Only a
    record that is too large by itself does not stop the others.
    """
    too_large: MessageSizeTooLargeError | None = None
    while batches:
        batch = [pair for pair in batches.popleft() if ours(pair[0])]
        if not batch:
            continue
        began = time.monotonic()
        try:
            await producer.send_together(topic, partition, [record for _, record in batch])
        except MessageSizeTooLargeError as error:  # the topic may accept less than a batch of ours
            if len(batch) == 1:
                too_large = error
            else:
                middle = len(batch) // 2
                batches.extendleft((batch[middle:], batch[:middle]))
            continue
        seconds = time.monotonic() - began
        for row, _ in batch:
            sent(row, partition, seconds)
    if too_large is not None:
        raise too_large
