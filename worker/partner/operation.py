"""What every Tradovate operation declares. Adding an endpoint is adding one declaration (worker/README.md, Adding).

An operation declares how items become a request and what a response proves, and in three parts how it batches, how it
recovers, and what limits it. It does no I/O of its own: a look-up gets a `Reader`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from worker.partner.observed_forms import ObservedForms
from worker.replies import Domain, Query, Reply
from worker.results import Rejected, Result, Unknown


class Resend(StrEnum):
    """Whether an item may be sent again after an unknown result. Required, never a default."""

    AFTER_LOOK_UP = "after_look_up"  # a look-up must say that it did not take effect
    ALWAYS = "always"  # harmless to repeat
    NEVER = "never"  # moves money: only an operator may say so


class Reader(Protocol):
    """Reads from the partner within the budget, with the session; each call counts.

    Raises `CannotLook`, and `Unreadable` for what this API key may not read.
    """

    @property
    def seen(self) -> ObservedForms:
        """What earlier reads have shown."""
        ...

    def now(self) -> datetime:
        """The time by which rows that end some day are judged: the ledger's, not this machine's."""
        ...

    async def get(self, domain: Domain, path: str, **query: Query) -> Reply:
        """One GET; the reply is any of the eight, except that an Answer's body may be null or empty."""
        ...

    async def post(self, domain: Domain, path: str, body: Mapping[str, Any]) -> Reply:
        """One POST of a reading endpoint (getAccountTradingPermissions and the like)."""
        ...


Item = Mapping[str, Any]
"""What one step asks for, in the partner's field names, plus keys that start with `_` which never leave: what the
look-up needs to know (`_derived`: the account name that follows from the order; `_email`: ...)."""


class Entity(NamedTuple):
    """Something at Tradovate that an item needs. `kind` as the read's path has it; `name` as people call it."""

    domain: Domain
    kind: str
    id: int
    name: str


@dataclass(frozen=True)
class Response:
    """What a response proves. One without its promised parts proves nothing."""

    promises: Mapping[str, type]  # parts of the body, and their JSON types
    results: Callable[[Mapping[str, Any], Sequence[Item]], Sequence[Result]]  # of a body that has those parts
    in_words: Callable[[Mapping[str, Any]], str] | None = None  # of an operation that only asks: what it found

    def read(self, body: Any, items: Sequence[Item]) -> Sequence[Result]:
        """One result for each item. A response without a promised part leaves all of them unknown."""
        if not isinstance(body, Mapping):
            return [Unknown("a response that is no object")] * len(items)
        for name, kind in self.promises.items():
            if type(body.get(name)) is not kind:
                return [Unknown(f"a response without its {name}")] * len(items)
        return self.results(body, items)


def one(_item: Item) -> int:
    """An item that asks for one thing."""
    return 1


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How steps share calls."""

    most: int = 1  # items in a call
    lingers: bool = False  # may linger for others to share its call
    joined: bool = False  # steps that are alike are one request: its result is the result of each
    feeds: tuple[str, ...] = ()  # operations that linger, and whose steps its results bring
    parts: Callable[[Item], int] = one  # how many things an item asks for, or keeps waiting
    look_up_most: int = 100  # items in a look-up; fewer where each of them takes reads of its own


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What follows when a call did not succeed."""

    resend: Resend
    needs: Callable[[Item], Sequence[Entity]]  # what must exist: an empty 404 is about the item only if it does not
    look_up: Callable[[Reader, Sequence[Item]], Awaitable[Sequence[Result]]] | None = None
    rejection: Callable[[str], Result] = Rejected  # what a rejection with this text means
    retry_for: float | None = None  # seconds; shorter than RETRY_FOR_SECONDS where a flow must not wait so long
    fresh_for: float | None = None  # seconds for which a step may be sent as it was planned; then it is planned again
    retry_from: float = 0.0  # seconds at least between two attempts, up to twice as long: a poll stays a poll


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What limits the calls."""

    rank: int  # 0 goes before all else
    maintenance: bool  # waits until Tradovate's maintenance windows have ended
    reserve: bool = False  # may use the part of the budget that is kept back
    per_hour: int | None = None  # the endpoint's own limit, calls in any rolling hour, all replicas
    share: float | None = None  # of the budget of the hour and of the minute, which its calls may not exceed

    def minute(self, budget: int) -> int | None:
        """Calls of it in any rolling minute when the whole budget is `budget`; None without a share of its own."""
        return None if self.share is None else max(1, int(budget * self.share))

    def hour(self, budget: int) -> int | None:
        """Calls of it in any rolling hour when the whole budget is `budget`; None without a limit of its own."""
        limits = [self.per_hour] if self.per_hour is not None else []
        if self.share is not None:
            limits.append(max(1, int(budget * self.share)))
        return min(limits, default=None)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One Tradovate endpoint that a step may call."""

    name: str  # the vendor's camelCase name; what has several declarations has a word of ours after an `@`
    domain: Domain
    path: str  # as the vendor prints it in lower case
    request: Callable[[Sequence[Item]], Mapping[str, Any]]
    response: Response
    batching: Batching = Batching()
    recovery: Recovery
    limits: Limits

    @property
    def vendor(self) -> str:
        """The vendor's name: metrics and `pause` use it."""
        return self.name.partition("@")[0]

    @property
    def only_looks(self) -> bool:
        """Whether it reads and is never sent: there is no response that could prove anything."""
        return not self.response.promises


def plain(item: Item) -> dict[str, Any]:
    """The item as it leaves: without our own `_` keys."""
    return {key: value for key, value in item.items() if key[0] != "_"}
