"""What libraries say again and again: once in a while is enough.

While no broker answers, aiokafka writes some seventy lines a second, the same four over and over.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

__all__ = ["Repeats"]

EVERY = 60.0
"""Seconds between two lines that say the same: an operator who looks at the log sees that it goes on."""

_MOST = 500
"""Different lines that are kept in mind."""


class Repeats(logging.Filter):
    """Drops lines of the loggers below `names` that were written less than `EVERY` seconds ago. The next line says in
    the field `repeated` how many were dropped.
    """

    def __init__(self, names: Sequence[str], monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._names = frozenset(names)
        self._monotonic = monotonic
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()  # until when, how many dropped

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.name.partition(".")[0] not in self._names:
            return True
        key, now = (record.name, record.getMessage()), self._monotonic()
        until, dropped = self._seen.get(key, (0.0, 0))
        if now < until:
            self._seen[key] = until, dropped + 1
            return False
        self._seen[key] = now + EVERY, 0
        self._seen.move_to_end(key)
        if len(self._seen) > _MOST:
            self._seen.popitem(last=False)
        if dropped:
            record.repeated = dropped
        return True
