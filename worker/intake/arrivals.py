"""What has come in just now, and whether more surely comes. Pure but for the clock it is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

CROWD = 10
"""Records that came in together and make it sure that more will come. A shop that sends many events pauses between
its requests for longer than one of them lingers.
"""

CROWD_SECONDS = 0.05
"""The longest that such a pause is taken to be, where a lone event's wait is not longer."""


@dataclass(slots=True)
class Arrivals:
    """The last batch of records: set by `begin`, `accepted` and `end`, read by `following`, `alone` and `coming`."""

    clock: Callable[[], float] = time.monotonic  # seconds
    _crowd: int = 0  # how many of it make it likely that more will come
    _accepting: bool = False
    _before: float = field(default=float("-inf"))
    _came_at: float = field(default=float("-inf"))
    _in_at: float = field(default=float("-inf"))

    def begin(self, records: int) -> None:
        """A record batch of so many has come."""
        self._crowd = min(records, CROWD) if records > 1 else 0
        self._before, self._came_at = self._came_at, self.clock()
        self._accepting = True

    def accepted(self) -> None:
        """It is in the ledger. If several records came together, more are expected; if one came alone, none is."""
        self._accepting = self._crowd > 0

    def end(self) -> None:
        """It is done with."""
        self._accepting = False
        self._in_at = self.clock()

    def following(self, within: float) -> bool:
        """Whether the last two came within so many seconds of each other, and another may come as soon. A record that
        came alone says nothing: a lone step does not linger.
        """
        return max(self.clock() - self._came_at, self._came_at - self._before) < within

    def alone(self, within: float) -> bool:
        """Whether the record that is being taken came alone: not with others, and not soon after the last one."""
        return self._crowd == 0 and self._came_at - self._before >= within

    def coming(self, within: float) -> bool:
        """Whether more surely comes: a batch is being taken, or several came in together just now, no longer ago than
        `within` seconds for each of them, up to `CROWD` times and `CROWD_SECONDS`.
        """
        return self._accepting or self.clock() - self._in_at < min(self._crowd * within, max(within, CROWD_SECONDS))
