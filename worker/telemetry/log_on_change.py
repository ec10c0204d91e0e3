"""Log lines on change only: a trouble that lasts for hours is logged once, not at every attempt."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["LastReported"]


class LastReported:
    """The last value that was logged, by name. Only the `most` latest names are kept."""

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._last: OrderedDict[Hashable, Hashable] = OrderedDict()

    def changed(self, name: Hashable, value: Hashable = None) -> bool:
        """Whether `value` differs from the last one of this name. It is the last one now."""
        same = name in self._last and self._last[name] == value
        self._last[name] = value
        self._last.move_to_end(name)
        if len(self._last) > self._most:
            self._last.popitem(last=False)
        return not same

    def current(self, name: Hashable) -> Hashable:
        """The last value of this name, until `ended`; else None."""
        return self._last.get(name)

    def ended(self, name: Hashable) -> bool:
        """Forgets the name, since its trouble has ended; returns whether there was a value."""
        return self._last.pop(name, self) is not self
