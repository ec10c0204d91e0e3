"""What the partner said about a call; what that means for its items is in `results.py`.

A reply is one of eight disjoint types; nothing that Tradovate answers leaves the client as an exception.

    Answer          HTTP 200 with a JSON body that carries none of the call-wide refusals
    Refusal         the call as a whole was refused: a top-level errorText, violations, or a 4xx whose body says so
    Ticket          a penalty ticket inside HTTP 200: the operation was not executed
    Silence         423 or 429: a lock-out, no replica may call; the operation was not executed
    Unauthorized    401: token expired or invalid, or no permission; the operation was not executed
    NotSent         the bytes never left (no connection, or the lease had run out): safe to send again
    Misdirected     a wrong host, or something in front of the partner, answered: the call was not executed there
    Unclear         timeout (408, or said in words), cut connection, 5xx, nonsense: may or may not have taken effect
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

Query = str | int | Sequence[str]
"""A parameter of an address; several texts are the same parameter several times."""


class Domain(StrEnum):
    """Tradovate's two domains: users, contact data, entitlements on LIVE; evaluation accounts on DEMO."""

    LIVE = "live"
    DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP 200 and a body that says nothing against the call. What it proves: `partner/operation.py`, `Response`.

    `documented`: it has the form that the vendor documents. A read may be answered otherwise, by a wrong host or by a
    gateway: that says nothing for the host.
    """

    body: Any
    documented: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """The whole call was refused; `text` is the partner's own. `body`: the object that says so, which may also say what
    it has granted (`partner/response.py`).
    """

    text: str
    status: int = 200
    code: str | None = None  # the partner's errorCode, if any
    body: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A penalty: wait `wait`, then the same body again with the ticket. With `captcha`: an hour, without it."""

    ticket: str = field(repr=False)
    wait: timedelta
    captcha: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """HTTP 423 or 429."""

    status: int


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """HTTP 401 (or 403). `said`: in the partner's own form, as an errorText or violations."""

    text: str = ""
    said: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request left this machine. `unreachable`: because there was no connection to the host."""

    why: str
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Misdirected:
    """3xx, 421, 404 and 405 without a body, or an errorText that names the other domain: nothing was executed.

    `leads_to`: the host that a redirect names for the same path (`name` or `name:port`), trusted or not; the rest of
    its `Location` is not kept, for it may name a trader. A 404 may also be the answer of the right host, which says so
    of what it does not know.
    """

    why: str
    status: int
    leads_to: str | None = None


@dataclass(frozen=True, slots=True)
class Unclear:
    """May or may not have taken effect. `status` is the HTTP status, or None when there was no answer at all.

    `closed_session` is true for what a session closed from outside would answer: 408 and 5xx.
    """

    why: str
    status: int | None = None

    @property
    def closed_session(self) -> bool:
        """Whether a session that was closed from outside would answer like this."""
        return self.status is not None and (self.status == 408 or self.status >= 500)


Reply = Answer | Refusal | Ticket | Silence | Unauthorized | NotSent | Misdirected | Unclear
