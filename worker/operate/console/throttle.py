"""How many wrong tokens an address has sent. Pure: the time comes in.

Each replica counts for itself: behind a load balancer an address has ten tries a minute on each, which is as far from
guessing sixteen characters.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MOST = 10
WITHIN = 60.0
"""Ten wrong tokens in a minute (see README.md beside it); from then on the address is not even listened to."""

ADDRESSES = 10_000
"""Addresses remembered: some megabytes. Past that the one that was wrong longest ago is forgotten."""


@dataclass(slots=True)
class Throttle:
    """Counts by address, over a sliding minute."""

    _wrong: dict[str, deque[float]] = field(default_factory=dict)

    def wait(self, address: str, now: float) -> float:
        """Seconds until the address is listened to again; 0 when it is."""
        tries = self._recent(address, now)
        return tries[0] + WITHIN - now if len(tries) >= MOST else 0.0

    def wrong(self, address: str, now: float) -> None:
        """One more wrong token."""
        tries = self._recent(address, now)
        tries.append(now)
        self._wrong.pop(address, None)  # to the end: the first is the one that was wrong longest ago
        self._wrong[address] = tries
        while len(self._wrong) > ADDRESSES:
            del self._wrong[next(iter(self._wrong))]

    def _recent(self, address: str, now: float) -> deque[float]:
        tries = self._wrong.get(address)
        if tries is None:
            return deque(maxlen=MOST)
        while tries and tries[0] <= now - WITHIN:
            tries.popleft()
        if not tries:
            del self._wrong[address]
        return tries
