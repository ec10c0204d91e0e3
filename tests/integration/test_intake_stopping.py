"""Offsets of records that are in the ledger or are dead letters, and of no others: whatever a stop interrupts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support import oracle
from tests.support.events import purchase
from tests.support.spine import Stages
from tests.support.stage import PURCHASED, Here, Stage
from tests.support.waiting import eventually
from worker.embedded import EmbeddedPostgres

WITHIN = 25.0


async def waits_for_the_ledger(here: Here) -> None:
    """Returns when a record batch is in hand that the ledger cannot take."""
    await eventually(lambda: here.replica.intake.failing)


async def is_prefetched(here: Here, partition: int) -> None:
    """Returns when the consumer holds records of a partition that no poll has returned yet."""
    consumer = here.replica.subscriber.consumer
    await eventually(lambda: any(tp.partition == partition for tp in consumer._fetcher._records))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("second", ["bad", "good", "both"])
@pytest.mark.parametrize("partition", [0, 1])
async def test_what_was_given_up_is_read_again(
    fragile_stage: Stages, own_postgres: EmbeddedPostgres, second: str, partition: int
) -> None:
    """A replica is stopped while PostgreSQL is away, one record batch in hand and another one fetched: the next
    replica gets both, whatever is in the second and whether it is of the same partition.
    """
    on = await fragile_stage()
    here = await on.replica()
    await on.wire.send(purchase(0), partition=0)
    on.events.append(purchase(0))
    await on.all_ended()
    await oracle.nothing_stuck(on)  # that it was published is noted: nobody publishes it again
    await eventually(on.committed)
    await asyncio.to_thread(own_postgres.down)
    await on.wire.send(purchase(1), partition=0)
    await waits_for_the_ledger(here)
    behind: list[Any] = [b"no json"] if second != "good" else []
    behind += [purchase(2)] if second != "bad" else []
    for record in behind:
        await on.wire.send(record, partition=partition)
    await is_prefetched(here, partition)
    on.events += [purchase(1), *([purchase(2)] if second != "bad" else [])]
    here.replica.stopping.set()
    if second != "bad":  # what follows may be accepted, what came before it may not be forgotten for that
        await asyncio.to_thread(own_postgres.up)
    await asyncio.wait_for(here.task, WITHIN)
    if second == "bad":
        await asyncio.to_thread(own_postgres.up)
    assert await on.committed() == 1
    await on.replica()
    await on.all_ended()
    assert len([letter for letter in on.wire.dead_letters if letter.topic == f"{PURCHASED}.dlq"]) == (second != "good")
    await eventually(lambda: _committed_all(on, 2 + len(behind)))
    await oracle.holds_all(on)


async def _committed_all(on: Stage, count: int) -> bool:
    return await on.committed() == count


@pytest.mark.crash
@pytest.mark.timeout(150)
async def test_a_stop_without_a_database_loses_no_purchase(
    fragile_stage: Stages, own_postgres: EmbeddedPostgres
) -> None:
    """SIGTERM while PostgreSQL is away and six hundred purchases wait in several record batches: exit 0 in time, and
    the next replica carries out every one of them.
    """
    on = await fragile_stage()
    first = on.process()
    await first.ready()
    await asyncio.to_thread(own_postgres.down)
    events = [purchase(number) for number in range(600)]
    await on.buy(*events[:10])
    await asyncio.to_thread(first.wait_for_log, "intake.waits")
    await on.buy(*events[10:])
    first.terminate()
    await asyncio.to_thread(own_postgres.up)  # what was fetched behind could be accepted now
    assert await first.ended(WITHIN + 5) == 0
    on.process()
    outcomes = await on.all_ended(90)
    assert {outcome["status"] for outcome in outcomes} == {"succeeded"}
    await oracle.holds_all(on)
