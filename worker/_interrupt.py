"""How the program is interrupted, also while its code is still imported. Needs next to nothing, to be there first."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""The shell's own code for a program that Ctrl-C has ended."""


@contextmanager
def importing() -> Iterator[None]:
    """Ctrl-C ends the process with 130 where it is, without a word; there is nothing to clean up yet.

    An exception would not do. A library may report it as a failure of its own, for example where it was raised inside a
    `__set_name__`. Where it was raised in code that a library compiles at run time, as dataclasses do, `python -m` ends
    by the signal instead of the exit code. Where Ctrl-C is not heard, or is handled by other code, that stays so.
    """
    # What imports make lives as long as the process: the collector would look at all of it a hundred times.
    collects = gc.isenabled()
    gc.disable()
    try:
        with _ended_by_interrupt():
            yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not heard or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: it keeps what it has done, and gives back what it holds.

    An orchestrator sends it at a job's deadline; to the first process of a container, as a command is there, it would
    mean nothing at all. Where Ctrl-C is not heard, as in a shell's background job, SIGTERM ends the process at once.
    """
    before = signal.getsignal(signal.SIGTERM)
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler and before is signal.SIG_DFL
    if not heard or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
