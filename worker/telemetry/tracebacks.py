"""Tracebacks for the log: where it happened, and which errors; their texts only where these hold no personal data.

The text of a foreign error may quote what it was about: a validation error quotes the value, a `KeyError` the key, the
database the row. So only these are written with their texts: the program's own errors, whose sentences hold no personal
data (`worker/errors.py`), errors of the operating system, and of Kafka.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import TypeAlias

from aiokafka.errors import KafkaError

from worker.errors import WorkerError

__all__ = ["traceback_text"]

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

_WITH_TEXT = (WorkerError, OSError, KafkaError)

_CAUSED = "The error above was the cause of this one:"
_MEANWHILE = "While the error above was handled, this one came:"


def traceback_text(exc_info: ExcInfo) -> str:
    """The traceback of an exception, of its causes before it, and of the members of a group behind it."""
    return "\n".join(_lines(exc_info[1], set()))


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before, joint = error.__cause__, _CAUSED
    if before is None and not error.__suppress_context__:
        before, joint = error.__context__, _MEANWHILE
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield joint
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    yield _named(error)
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            if id(member) not in seen:
                yield from _lines(member, seen)


def _named(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    text = str(error) if isinstance(error, _WITH_TEXT) else ""
    return f"{name}: {text}" if text else name
