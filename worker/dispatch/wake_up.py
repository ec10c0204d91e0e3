"""What ends the pause of the dispatcher's loop: something may be due."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

QUIET = 0.005
"""Seconds for which a look waits at most while the call or the outcome of a lone flow is on its way out: it would take
the processor, here and at the database, for two or three milliseconds."""


@dataclass(slots=True)
class WakeUp:
    """Wakes the loop, at once (`set`) or when what is on its way out has left (`soon`)."""

    _event: asyncio.Event = field(default_factory=asyncio.Event)
    _later: bool = False  # something has been due since the quiet time began
    _quiet_until: float = 0.0

    def set(self) -> None:
        """Wakes it at once."""
        self._event.set()

    def clear(self) -> None:
        """The loop begins to look: what wakes it from now on is not forgotten."""
        self._event.clear()

    def soon(self) -> None:
        """Wakes it, at once if nothing is on its way out."""
        if time.monotonic() >= self._quiet_until:
            self._event.set()
        else:
            self._later = True

    def quiet(self) -> None:
        """The call or the outcome of a lone flow begins to leave."""
        self._quiet_until = time.monotonic() + QUIET
        asyncio.get_running_loop().call_later(QUIET, self.sent)

    def sent(self) -> None:
        """It has left, or `QUIET` has passed: wakes the loop, if there is something to look for."""
        self._quiet_until = 0.0
        if self._later:
            self._later = False
            self._event.set()

    async def wait(self, seconds: float) -> None:
        """Returns when it is woken, after `seconds` at the latest."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
