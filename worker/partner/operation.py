"""What every Tradovate operation declares. Adding an endpoint is adding one declaration and its pydantic models.

An operation knows how items become a request, which part of a response proves success, how an item whose result is
unknown is looked up, which entity it needs, and whether it may be sent again. It does no I/O of its own: a look-up is
handed a `Reader`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from worker.errors import Unavailable, WorkerError
from worker.partner.observed_forms import Seen
from worker.replies import Domain, Query, Reply
from worker.results import Result, Succeeded, Unknown


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
    def seen(self) -> Seen:
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


class CannotLook(Unavailable):
    """A look-up cannot go on now: no budget, a lock-out, no session. The items stay unknown."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Unreadable(WorkerError):
    """A read was answered, but not with what was asked: the items stay unknown."""


class NotPermitted(Unreadable):
    """A read was answered 401 although the token is good: the key lacks a permission, or the id is not the firm's."""


class HostDoubted(Unreadable):
    """A host said 404 to all that was read: it may be the wrong one, and nothing is known to be absent."""

    def __init__(self, domain: Domain) -> None:
        super().__init__(f"{domain.upper()} answers 404 to every read: it may be the wrong host")
        self.domain = domain


Item = Mapping[str, Any]
"""What one step asks for, in the partner's field names, plus keys that start with `_` which never leave: what the
look-up needs to know (`_derived`: the account's name follows from the order; `_email`: ...)."""


class Entity(NamedTuple):
    """Something at Tradovate that an item needs. `kind` as the read's path has it; `name` as people call it."""

    domain: Domain
    kind: str
    id: int
    name: str


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
    promises: Mapping[str, type]  # the parts of a response without which it proves nothing, and their JSON types
    results: Callable[[Mapping[str, Any], Sequence[Item]], Sequence[Result]]  # of a response that has those parts
    needs: Callable[[Item], Sequence[Entity]]  # what must exist: an empty 404 is about the item only if it does not
    look_up: Callable[[Reader, Sequence[Item]], Awaitable[Sequence[Result]]] | None = None
    parts: Callable[[Item], int] = lambda _item: 1  # how many things an item asks for, or keeps waiting
    doubt_refusals: bool = False  # a refused item may have been made by us before: look it up by name
    feeds: tuple[str, ...] = ()  # operations that linger and whose steps its results bring
    reserve: bool = False  # may use the part of the budget that is kept back for sessions and revocations
    refusal_is_doubt: bool = False  # a refusal is for an operator to judge
    finds: Callable[[Mapping[str, Any]], str] | None = None  # it only asks: what its result says, in words
    joined: bool = False  # steps that are alike are one request: what is said of it is said of each of them
    look_most: int = 100  # items a look-up; fewer where each of them takes reads of its own
    per_hour: int | None = None  # the endpoint's own limit, calls in any rolling hour, all replicas
    share: float | None = None  # of the budget of the hour and of the minute, which its calls may not exceed
    retry_for: float | None = None  # seconds; shorter than RETRY_FOR_SECONDS where a flow must not wait so long
    retry_from: float = 0.0  # seconds at least between two tries, up to twice as long: what is polled is not hammered
    certain: Callable[[str], bool] = lambda _text: False  # refusals that leave no doubt, though others would
    already: Callable[[str], Succeeded | None] = lambda _text: None  # refusals that mean 'it is so'

    @property
    def vendor(self) -> str:
        """The vendor's name: metrics and `pause` use it."""
        return self.name.partition("@")[0]

    def read(self, body: Any, items: Sequence[Item]) -> Sequence[Result]:
        """One result per item. A response without a promised part leaves all of them unknown."""
        if not isinstance(body, Mapping):
            return [Unknown("a response that is no object")] * len(items)
        for name, kind in self.promises.items():
            if type(body.get(name)) is not kind:
                return [Unknown(f"a response without its {name}")] * len(items)
        return self.results(body, items)

    def minute_limit(self, minute: int) -> int | None:
        """Calls of it in any rolling minute when the whole budget is `minute`; None without a share of its own."""
        return None if self.share is None else max(1, int(minute * self.share))

    def limit(self, hourly: int) -> int | None:
        """Calls of it in any rolling hour when the whole budget is `hourly`; None without a limit of its own."""
        limits = [self.per_hour] if self.per_hour is not None else []
        if self.share is not None:
            limits.append(max(1, int(hourly * self.share)))
        return min(limits, default=None)


def plain(item: Item) -> dict[str, Any]:
    """The item as it leaves: without our own `_` keys."""
    return {key: value for key, value in item.items() if key[0] != "_"}
