"""A progress bar for an operator who waits: on a terminal, after a second, gone when the work is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from worker.cli._output import console

_AFTER = 1.0
"""Seconds. What is done sooner needs no bar."""


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yields what to report of each part that is done. The bar is on standard error; on a pipe there is none.

    `total` None: how many there are is not known.
    """
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    shown = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console(sys.stderr), transient=True
    )
    task = shown.add_task(what, total=total)
    began = time.monotonic()

    def advance(done: int) -> None:
        shown.update(task, advance=done)
        if not shown.live.is_started and time.monotonic() - began >= _AFTER:
            shown.start()

    try:
        yield advance
    finally:
        shown.stop()
