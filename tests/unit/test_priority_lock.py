"""A lock of one process is given to the most urgent waiter."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.waiting import others_turn
from worker.ledger.priority_lock import PriorityLock


async def _queue(ranks: list[int], cancelled: set[int]) -> tuple[list[int], int]:
    """Lets waiters of these ranks queue up behind a holder; who got the lock in which order, and the most at once."""
    lock, order = PriorityLock(), list[int]()
    busy = most = 0
    release = asyncio.Event()

    async def one(number: int, rank: int) -> None:
        nonlocal busy, most
        async with lock.held(rank):
            busy += 1
            most = max(most, busy)
            order.append(number)
            if number < 0:
                await release.wait()
            await others_turn()
            busy -= 1

    holder = asyncio.create_task(one(-1, 99))
    await others_turn()
    waiting = [asyncio.create_task(one(number, rank)) for number, rank in enumerate(ranks)]
    await others_turn()
    release.set()
    for number in cancelled:
        waiting[number].cancel()
    await asyncio.gather(holder, *waiting, return_exceptions=True)
    async with asyncio.timeout(1), lock.held(0):  # nobody has left with the lock
        return order[1:], most


@given(st.lists(st.integers(0, 3), max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_most_urgent_is_next(ranks: list[int], dice: random.Random) -> None:
    """Waiters are served by rank and, within a rank, in their order; cancelled ones are passed over."""
    cancelled = {number for number in range(len(ranks)) if dice.random() < 0.3}
    order, most = asyncio.run(_queue(ranks, cancelled))
    left = [number for number in range(len(ranks)) if number not in cancelled]
    assert order == sorted(left, key=lambda number: (ranks[number], number))
    assert most == 1


async def test_a_lock_that_was_given_to_a_cancelled_task_goes_on() -> None:
    """A task that is cancelled in the moment in which it gets the lock hands it to the next one."""
    lock = PriorityLock()
    got = asyncio.Event()

    async def wait(done: asyncio.Event | None) -> None:
        async with lock.held(1):
            if done is not None:
                done.set()

    async with lock.held(0):
        unlucky = asyncio.create_task(wait(None))
        lucky = asyncio.create_task(wait(got))
        await others_turn()
    unlucky.cancel()  # the lock is its own already, and it has not run yet
    async with asyncio.timeout(1):
        await lucky
    assert got.is_set()


async def test_an_error_frees_the_lock() -> None:
    """A holder that fails frees the lock."""
    lock = PriorityLock()

    async def fail() -> None:
        async with lock.held(0):
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        await fail()
    async with asyncio.timeout(1), lock.held(0):
        pass
