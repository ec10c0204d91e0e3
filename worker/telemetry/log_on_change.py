"""Log lines on change only: what goes on for hours is said once, not once in every attempt."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["LastReported"]


class LastReported:
    """What was last said, by name. `most` names are kept in mind, the latest ones."""

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._last: OrderedDict[Hashable, Hashable] = OrderedDict()

    def changed(self, name: Hashable, value: Hashable = None) -> bool:
        """Whether this was not the last thing said under this name; it is now."""
        same = name in self._last and self._last[name] == value
        self._last[name] = value
        self._last.move_to_end(name)
        if len(self._last) > self._most:
            self._last.popitem(last=False)
        return not same

    def now(self, name: Hashable) -> Hashable:
        """What was last said under this name and is not over; None when nothing is."""
        return self._last.get(name)

    def over(self, name: Hashable) -> bool:
        """Whether something had been said under this name that does not hold any longer."""
        return self._last.pop(name, self) is not self
