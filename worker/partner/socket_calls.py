"""What a socket needs of the ledger: a request is written down before it leaves, and finished with what came back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from worker.errors import Unavailable
from worker.partner.token import Token
from worker.replies import Reply

__all__ = ["Calls", "HeldBack", "Permit"]


@dataclass(frozen=True, slots=True)
class Permit:
    """A call that has been written down and may be made. `ticket`: the penalty ticket that must go with it. `body`:
    what identifies the body, which alone the ticket serves.
    """

    call_id: int
    operation: str
    token: Token
    ticket: str | None = field(default=None, repr=False)
    body: bytes = field(default=b"", repr=False)


class HeldBack(Unavailable):
    """No call now: no budget, no session, a hold. Ask again after `wait` seconds."""

    def __init__(self, wait: float, why: str) -> None:
        super().__init__(why)
        self.wait = wait
        self.why = why


class Calls(Protocol):
    """The ledger's side of a request."""

    async def begin(self, operation: str, body: bytes = b"") -> Permit:
        """Writes a request down before it leaves. `body`: see `Permit`.

        Raises `HeldBack`, or what its `Calls` raise.
        """

    async def finish(self, permit: Permit, reply: Reply) -> None:
        """Notes what came back."""
