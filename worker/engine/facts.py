"""What a flow has learned: a frozen value of a type for each topic. At the ledger's edge it is JSON, and nowhere else.

The JSON has the outcome's field names (`userId`, `accountId`, ...), ids and partner texts only, and no field that is as
at the start. `facts_of` reads it strictly: a field that is unknown, missing or of another type is an error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeVar

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from schemas.outcomes import FACTS, ErrorCode
from worker.errors import WorkerError

__all__ = [
    "NOTHING_SEEN",
    "STORED",
    "DepartureDates",
    "F",
    "Facts",
    "FactsUnreadable",
    "OrderFacts",
    "Seen",
    "Trouble",
    "changed",
    "facts_of",
    "order_facts",
    "stored_facts",
]

if TYPE_CHECKING:
    from dataclasses import replace as changed
else:

    def changed(facts: F, **changes: Any) -> F:
        """`dataclasses.replace`, which takes ten times as long (3.4 µs; a purchase changes its facts four times)."""
        new = object.__new__(type(facts))
        new.__dict__.update(facts.__dict__, **changes)
        return new


STORED = ConfigDict(extra="forbid", alias_generator=to_camel)
"""`__pydantic_config__` of each type that is stored."""


class Seen(NamedTuple):
    """What a flow has come across at Tradovate. The ledger loads and locks what it knows of that."""

    account_ids: tuple[int, ...] = ()
    permission_ids: tuple[int, ...] = ()
    user_ids: tuple[int, ...] = ()


NOTHING_SEEN = Seen()


class DepartureDates(NamedTuple):
    """When the trader left, and since when nothing more is given to them."""

    since: datetime
    begun: datetime | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something that the flow asked for was not done."""

    __pydantic_config__: ClassVar = STORED

    code: ErrorCode
    text: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What any flow may have learned: the fields of an outcome that are marked as facts, and the progress of a flow.

    Each topic has a subclass in its flow's module. To change one, take a copy with `changed`.
    """

    __pydantic_config__: ClassVar = STORED

    user_id: int | None = None
    account_id: int | None = None
    account_name: str | None = None
    trading_permission_id: int | None = None
    trading_permission_ids: tuple[int, ...] = ()
    request_id: int | None = None
    request_status: str | None = None
    entitlement_id: int | None = None
    warnings: tuple[str, ...] = ()
    trader_id: str | None = None
    """The shop's id of the account's owner, of an event that does not name the trader."""
    sent: int = 0
    """How often one call was sent for the event, if several steps have sent it."""
    ended: bool = False
    """The flow had ended: it is planned again only when an operator has started a new round."""
    unproven: tuple[str, ...] = ()
    """A retried flow was in doubt: operations that a former round sent, and whose results are not known. Until they are
    looked up, the flow cannot be cancelled: its order would end as if nothing had been created."""
    not_made: bool = False
    """An operator saw that there is nothing at Tradovate of what the flow asks for."""

    @property
    def seen(self) -> Seen:
        """What the ledger loads and locks besides what the event names."""
        return NOTHING_SEEN

    @property
    def adopts(self) -> bool:
        """Whether an account was found that is ours by what Tradovate says, and has not been adopted yet. Whether the
        ledger knows it as another order's is seen when that is loaded; until then the flow cannot be cancelled.
        """
        return False

    @property
    def made_user(self) -> bool:
        """Whether the flow has made its trader's user: no account of that user can be older than the ledger."""
        return False

    @property
    def departure(self) -> DepartureDates | None:
        """Of a departure whose trader is known."""
        return None

    @property
    def only_of_trader(self) -> bool:
        """Whether all that is known follows from the trader: an order need not keep it."""
        return self.differs_in(self.at_start()) <= {"user_id"}

    def new_round(self) -> Self:
        """The facts to plan with: of a flow that had ended, what is in effect is kept, the rest is forgotten."""
        return self.kept() if self.ended else self

    def differs_in(self, other: Facts) -> set[str]:
        """The fields whose values differ. Quicker than `==`, which makes tuples of all values of both."""
        known = other.__dict__
        return {name for name, value in self.__dict__.items() if value is not known[name] and value != known[name]}

    @classmethod
    def at_start(cls) -> Self:
        """What a flow knows that has learned nothing: always the same object."""
        start: Self = _start(cls)
        return start

    def kept(self) -> Self:
        """What an operator's retry keeps: what is in effect."""
        return self.at_start()

    def warned(self, text: str) -> Self:
        """The facts with one warning more."""
        return changed(self, warnings=(*self.warnings, text))

    def with_ids(self, ids: Mapping[str, Any]) -> Self:
        """The facts with these, by the outcome's field names (those of `schemas.outcomes.FACTS`)."""
        return changed(self, **{_FIELDS[name]: value for name, value in ids.items()})

    def with_ids_of(self, other: Facts) -> Self:
        """The facts with what another flow has learned for an outcome."""
        found = {name: getattr(other, name) for name in _FIELDS.values()}
        return changed(self, **{name: value for name, value in found.items() if value not in (None, ())})


@dataclass(frozen=True, kw_only=True)
class OrderFacts(Facts, ABC):
    """What a flow has learned that asks for an order."""

    left: Any = None
    """What the order's former owner left behind, as far as the ledger knows; None: it had none."""

    @abstractmethod
    def left_behind(self, user_id: int | None) -> Any:
        """What the flow leaves to the order's next owner: what it got itself, or else what it had not adopted yet.

        `user_id`: the user that the ledger knows with the order.
        """


def order_facts(facts: Facts) -> OrderFacts:
    """The facts of a flow whose event names an order."""
    assert isinstance(facts, OrderFacts)
    return facts


F = TypeVar("F", bound=Facts)

_FIELDS: Mapping[str, str] = {to_camel(each.name): each.name for each in fields(Facts) if to_camel(each.name) in FACTS}
"""The fields of an outcome that are facts, by their names there."""


class FactsUnreadable(WorkerError):
    """Stored facts are not of their type. `owner`: the flow or order that they are of; `faults`: fields and reasons."""

    def __init__(self, owner: str, faults: str) -> None:
        super().__init__(owner, faults)
        self.owner = owner
        self.faults = faults

    @property
    def sentence(self) -> str:
        """For a log. It quotes no value."""
        return f"The ledger's facts of {self.owner} cannot be read: {self.faults}."


def facts_of(kind: type[F], stored: Mapping[str, Any], owner: str) -> F:
    """The facts that were stored. Raises `FactsUnreadable`, with `owner` in it, if they are not of this type."""
    facts: F
    try:
        facts = _adapter(kind).validate_json(orjson.dumps(stored), strict=True) if stored else _start(kind)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc']))} ({each['type']})" for each in error.errors(include_input=False)]
        raise FactsUnreadable(owner, ", ".join(faults)) from None
    return facts


def stored_facts(facts: Facts) -> Mapping[str, Any]:
    """The facts as JSON, without what is as at the start."""
    kind = type(facts)
    if facts is _start(kind):
        return {}
    stored: dict[str, Any] = _adapter(kind).dump_python(facts, mode="json", by_alias=True, exclude_defaults=True)
    return stored


_STARTS: dict[type, Any] = {}


def _start(kind: type) -> Any:
    if (found := _STARTS.get(kind)) is None:
        found = _STARTS[kind] = kind()
    return found


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if (found := _ADAPTERS.get(kind)) is None:
        found = _ADAPTERS[kind] = TypeAdapter(kind)
    return found
