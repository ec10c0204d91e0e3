"""Waiting on conditions. No test sleeps for a while and hopes; this module is the only one that does, and it looks."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, overload

T = TypeVar("T")

_EVERY = 0.02
"""Short beside anything that is waited for, long beside a query."""


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout: float = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout: float = ...) -> T: ...
async def eventually(condition: Callable[[], Any], timeout: float = 10.0) -> Any:
    """The first truthy result of `condition`, which may be async, or an `AssertionError` with the last one.

    An `AssertionError` of the condition's own counts as "not yet".
    """
    deadline = time.monotonic() + timeout
    while True:
        failure: AssertionError | None = None
        result = None
        try:
            answer = condition()
            result = await answer if inspect.isawaitable(answer) else answer
        except AssertionError as error:
            failure = error
        if result:
            return result
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"not within {timeout} s; at last: {result!r}")
        await asyncio.sleep(_EVERY)


async def let_time_pass(seconds: float) -> None:
    """Where time itself is what a test puts in: the moment at which a replica dies, a load's rhythm, a drip of bytes.

    Never to wait for something: `eventually` looks.
    """
    await asyncio.sleep(seconds)


async def others_turn() -> None:
    """Lets each task that is ready go on once."""
    await asyncio.sleep(0)


def eventually_sync(condition: Callable[[], T], timeout: float = 10.0) -> T:
    """`eventually` where no event loop runs."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s; at last: {result!r}")
        time.sleep(_EVERY)
    return result


async def together(runs: Mapping[str, Awaitable[None]]) -> None:
    """Waits for all of them at once; the first that fails is raised with its name, when all have ended.

    For trials that hardly touch the processor and wait for time-outs most of their time.
    """
    results = await asyncio.gather(*runs.values(), return_exceptions=True)
    for name, result in zip(runs, results, strict=True):
        if isinstance(result, BaseException):
            result.add_note(f"in the run {name!r}")
            raise result
