"""What every Tradovate operation declares. Adding an endpoint is adding one declaration and its pydantic models.

An operation knows how items become a request, how an answer becomes one result per item, how an item whose fate is
unknown is looked up, and whether it may be sent again. It does no I/O of its own: a look-up is handed a `Reader`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from worker.replies import Domain, Done, Finding, Query, Reply, Result


class Resend(StrEnum):
    """Whether an item may be sent again after an unclear answer. Required, never a default."""

    AFTER_LOOK_UP = "after_look_up"  # a look-up must say that it did not take effect
    ALWAYS = "always"  # harmless to repeat
    NEVER = "never"  # moves money: only a person may say so


class Reader(Protocol):
    """Reads from the partner within the budget, with the session; each call counts. Raises `CannotLook` only."""

    def now(self) -> datetime:
        """The time by which rows that end some day are judged: the ledger's, not this machine's."""
        ...

    async def get(self, domain: Domain, path: str, **query: Query) -> Reply:
        """One GET; the reply is any of the seven, except that an Answer's body may be null or empty."""
        ...

    async def post(self, domain: Domain, path: str, body: Mapping[str, Any]) -> Reply:
        """One POST of a reading endpoint (getAccountTradingPermissions and the like)."""
        ...


class CannotLook(Exception):  # noqa: N818 - the field's word is not an error, it is a state of the world
    """A look-up cannot go on now: no budget, a lock-out, no session. The items stay unknown."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Unreadable(Exception):  # noqa: N818 - a state of the answer
    """A read was answered, but not with what was asked: the items stay unknown."""


Item = Mapping[str, Any]
"""What one step asks for, in the partner's field names, plus keys that start with `_` which never leave: what the
look-up needs to know (`_derived`: the account's name follows from the order; `_email`: ...)."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One Tradovate endpoint that a step may call."""

    name: str  # the vendor's camelCase name; what has several declarations has a word of ours after an `@`
    domain: Domain
    path: str  # as the vendor prints it in lower case
    rank: int  # contract: urgent first; 0 goes before all else
    most: int  # items per call
    resend: Resend
    maintenance: bool  # waits out Tradovate's windows
    lingers: bool  # may linger for others to share its call
    request: Callable[[Sequence[Item]], Mapping[str, Any]]
    results: Callable[[Any, Sequence[Item]], Sequence[Result]]
    look_up: Callable[[Reader, Sequence[Item]], Awaitable[Sequence[Finding]]] | None = None
    doubt_refusals: bool = False  # a refused item may have been made by us before: look it up by name
    feeds: tuple[str, ...] = ()  # operations that linger and whose steps its results bring
    reserve: bool = False  # may use the part of the budget that is kept back for sessions and revocations
    refusal_is_doubt: bool = False  # a refusal is for a person to judge
    joined: bool = False  # steps that are alike are one request: what is said of it is said of each of them
    look_most: int = 100  # items a look-up; fewer where each of them takes reads of its own
    per_hour: int | None = None  # the endpoint's own limit, calls in any rolling hour, all replicas
    share: float | None = None  # of the hour's budget, which its calls may not exceed
    retry_for: float | None = None  # seconds; shorter than RETRY_FOR_SECONDS where a flow must not wait so long
    retry_from: float = 0.0  # seconds at least between two tries, up to twice as long: what is polled is not hammered
    certain: Callable[[str], bool] = lambda _text: False  # refusals that leave no doubt, though others would
    already: Callable[[str, str | None], Done | None] = lambda _text, _code: None  # refusals (text, the partner's
    # errorCode) that mean 'it is so'

    @property
    def vendor(self) -> str:
        """The vendor's name: metrics and `pause` use it."""
        return self.name.partition("@")[0]

    def limit(self, hourly: int) -> int | None:
        """Calls of it in any rolling hour when the whole budget is `hourly`; None without a limit of its own."""
        limits = [self.per_hour] if self.per_hour is not None else []
        if self.share is not None:
            limits.append(max(1, int(hourly * self.share)))
        return min(limits, default=None)


def plain(item: Item) -> dict[str, Any]:
    """The item as it leaves: without our own `_` keys."""
    return {key: value for key, value in item.items() if key[0] != "_"}
