"""How long a socket waits before it connects again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.backoff import Schedule, at_random
from worker.partner.socket_actions import EndReason

__all__ = ["Reconnect"]

_JITTER = 0.5
"""Up to half of a delay: two bridges must not connect in step, and none at once."""

_USUAL = Schedule(base=1.0, cap=60.0, jitter=_JITTER)
"""Seconds: the vendor's own sample connects again with an exponential back-off; a second is soon enough for people."""

_SLOWER: Mapping[EndReason, Schedule] = {
    # The partner said why. It is back after some minutes, and a failed try costs it nothing.
    EndReason.MAINTENANCE: Schedule(base=15.0, cap=120.0, jitter=_JITTER),
    # Too many connections of ours: each new one closes an older one, so minutes, and longer each time.
    EndReason.QUOTA: Schedule(base=120.0, cap=600.0, jitter=_JITTER),
    # A renewal, which the next connection waits for, has named no other host: it is tried seldom, and at once when the
    # host changes.
    EndReason.WRONG_HOST: Schedule(base=15.0, cap=300.0, jitter=_JITTER),
    # The partner did not take a freshly renewed token: an operator has to look.
    EndReason.UNAUTHORIZED: Schedule(base=15.0, cap=60.0, jitter=_JITTER),
}

_AT_ONCE = (
    EndReason.HELD_BACK,
    EndReason.FULL,
    EndReason.MOVED,
    EndReason.FALLEN_BEHIND,
    EndReason.RISK_REFUSED,
)
"""What ended it for these knows when to go on, and has waited for it."""


@dataclass(slots=True)
class Reconnect:
    """One socket's back-off, reset when the partner takes its token."""

    failures: int = 0
    _last_reason: EndReason | None = None
    _last_reason_times: int = 0
    refused: int = 0
    """Tokens in a row that the partner did not take; from the second on it is an alarm."""
    misplaced: int = 0
    """Times in a row that the host was the wrong one; the first time a renewal comes next, and no wait."""

    def authorized(self) -> None:
        """The partner took the token."""
        self.failures = self.refused = 0

    def listening(self) -> None:
        """The connection does what it is for."""
        self.misplaced = 0

    def after(self, reason: EndReason, draw: Callable[[], float] = at_random) -> float:
        """Seconds to wait after a connection that ended so: the schedule's step, less up to half of it."""
        if reason in _AT_ONCE:
            return 0.0
        self.failures += 1
        # A shutdown comes on authorized sockets, where `failures` is reset: it has a count of its own.
        self._last_reason_times = self._last_reason_times + 1 if reason is self._last_reason else 1
        self._last_reason = reason
        if reason is EndReason.UNAUTHORIZED:
            self.refused += 1
            if self.refused == 1:
                return 0.0  # the token is renewed, and tried once more at once
        if reason is EndReason.WRONG_HOST:
            self.misplaced += 1
            if self.misplaced == 1:
                return 0.0
            return _SLOWER[reason].delay(self.misplaced - 1, draw)
        schedule = _SLOWER.get(reason)
        times = self.failures if schedule is None else self._last_reason_times
        return (schedule or _USUAL).delay(times, draw)
