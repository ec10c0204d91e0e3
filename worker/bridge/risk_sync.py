"""Whether the next connection asks for risk statuses. Signatures come first: what Tradovate refuses, or what ends the
connection, is left out of the next sync request. Pure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.partner.socket import TOO_LARGE
from worker.partner.socket_actions import ConnectionEnd, EndReason

__all__ = ["RiskSync"]

AGAIN_AFTER = 900.0
"""Seconds: a connection that begins later than this after a refusal asks once more. None is ended for it: each costs a
fetch of signals. A permission that was granted meanwhile is used after a restart of the bridges at the latest."""

TRIES = 2
"""Connections in a row that end between the sync request and its answer before the next one does without."""

_BY_THEMSELVES = (EndReason.CLOSED, EndReason.CUT, EndReason.SILENCE, EndReason.NO_ANSWER, EndReason.REFUSED)
"""Ends that the sync request may have caused."""


@dataclass(slots=True)
class RiskSync:
    """Of the DEMO socket, one connection after the other. `clock` is monotonic seconds."""

    clock: Callable[[], float] = time.monotonic
    refused: str | None = None
    """Why connections do not ask for risk statuses, or None."""
    _again_at: float = 0.0
    _failures: int = 0
    _authorized: bool = False
    _listened: bool = False
    _asked: bool = False

    def asks(self) -> bool:
        """A connection begins: whether it asks."""
        self._authorized = self._listened = False
        self._asked = self.refused is None or self.clock() >= self._again_at
        return self._asked

    def authorized(self) -> None:
        """The sync request is sent next."""
        self._authorized = True

    def listening(self) -> bool:
        """The sync request was answered; returns whether it asked."""
        self._listened = True
        self._failures = 0
        if self._asked:
            self.refused = None
        return self._asked

    def ended(self, end: ConnectionEnd) -> None:
        """The connection has ended."""
        if not self._asked:
            if self._authorized and not self._listened and end.reason in _BY_THEMSELVES:
                self.refused = None  # it is not for the risk statuses
        elif end.reason is EndReason.RISK_REFUSED:
            self._refuse(f"Tradovate refuses them ({end.said}): the API key needs the permission Risks:Read")
        elif end.said == TOO_LARGE:
            self._refuse("Tradovate sends them in frames that are too large")
        elif self._authorized and not self._listened and end.reason in _BY_THEMSELVES:
            self._failures += 1
            if self._failures >= TRIES:
                self._refuse(f"connections end when they are asked for ({end.reason})")

    def _refuse(self, why: str) -> None:
        self.refused, self._again_at, self._failures = why, self.clock() + AGAIN_AFTER, 0
