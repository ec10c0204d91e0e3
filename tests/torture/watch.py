"""Looks at a broken program while its run goes on: what nothing can mend any more ends the run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.torture.breaks import FOUND_WITHIN, Break
from tests.torture.oracle import certain, leaks
from tests.torture.promises import Breach, Promise
from tests.torture.shop import Shop
from tests.torture.system import System

LOOK_EVERY = 1.0
"""Seconds between two looks."""


@dataclass
class Watch:
    """`broken`: what the program is, or None: then nobody looks. `began`: when all members were ready (monotonic)."""

    broken: Break | None
    began: float
    found: list[Breach] = field(default_factory=list)
    _next: float = 0.0

    async def over(self, system: System, shop: Shop) -> bool:
        """Whether the run can end: the program has shown what it is meant to show, or has had its time."""
        if self.broken is None or time.monotonic() < self._next:
            return False
        self.found = list(certain(system, shop))
        if Promise.PERSONAL in self.broken.finds and system.database_up:
            self.found += await leaks(system, shop)
        self._next = time.monotonic() + LOOK_EVERY
        return self.is_found(self.found) or self.found_after > FOUND_WITHIN

    @property
    def found_after(self) -> float:
        """Seconds up to now."""
        return time.monotonic() - self.began

    def is_found(self, breaches: list[Breach]) -> bool:
        """Whether these are what it is meant to show."""
        return self.broken is not None and self.broken.is_found({each.promise for each in breaches})
