"""What a connection's protocol asks its driver to do, and why a connection ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from worker.replies import Reply


class EndReason(StrEnum):
    """Why a connection ends; a label of the metric of reconnects."""

    CLOSED = "closed"  # by a `c` frame
    CUT = "cut"  # by either side without one
    UNREACHABLE = "unreachable"
    WRONG_HOST = "wrong_host"  # 3xx, 421, or 404 and 405 without a body: to the handshake, or to a request
    MOVED = "moved"  # by us: the domain is at another host now
    SILENCE = "silence"
    NO_OPEN = "no_open"
    NO_ANSWER = "no_answer"
    UNAUTHORIZED = "unauthorized"
    REFUSED = "refused"  # authorize or syncrequest, for any other reason
    LOCKED_OUT = "locked_out"  # 423, 429
    RISK_REFUSED = "risk_refused"  # the sync request that names risk statuses; the next connection does without them
    PENALTY = "penalty"  # a ticket that cannot be redeemed here
    MAINTENANCE = "maintenance"
    QUOTA = "quota"
    SHUTDOWN = "shutdown"  # for a reason that we do not know
    HELD_BACK = "held_back"  # by our own ledger: no budget, no session, a pause
    FULL = "full"  # signals wait for Kafka, and there is no room for more
    FALLEN_BEHIND = "fallen_behind"  # by us: risk statuses were dropped, and the next initial data bring them
    LEDGER = "ledger"  # the database is away


@dataclass(frozen=True, slots=True)
class Ask:
    """Make this request now: `SocketProtocol.request` writes it."""

    operation: str


@dataclass(frozen=True, slots=True)
class Replied:
    """What came back of a request."""

    operation: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Listening:
    """From here on the socket hears of every alert."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A new admin alert signal, as it came."""

    signal: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Changed:
    """An alert that was raised before has been completed, claimed or deleted."""


@dataclass(frozen=True, slots=True)
class RiskStatuses:
    """Risk statuses of accounts, as they came: neither read nor cleaned. `initial`: part of the answer to the sync
    request, which may be empty; else of an event.
    """

    rows: Sequence[Any] = field(repr=False)
    initial: bool


@dataclass(frozen=True, slots=True)
class UnreadableFrame:
    """Something that may be a new alert and cannot be read; the connection goes on."""

    why: str


@dataclass(frozen=True, slots=True)
class Silenced:
    """A 423 or 429 that names no request of ours."""

    status: int


@dataclass(frozen=True, slots=True)
class Rubbish:
    """A frame or message that makes no sense; the connection goes on."""

    why: str


@dataclass(frozen=True, slots=True)
class Beat:
    """Send `HEARTBEAT`."""


@dataclass(frozen=True, slots=True)
class ConnectionEnd:
    """The connection has ended; always the last action."""

    reason: EndReason
    said: str = ""


Action = (
    Ask
    | Replied
    | Listening
    | Alert
    | Changed
    | RiskStatuses
    | UnreadableFrame
    | Silenced
    | Rubbish
    | Beat
    | ConnectionEnd
)
