"""What a flow sees, what it may decide, and what every flow provides. Pure: no I/O, no clock of its own.

A flow is planned again each time something it depends on has changed: `plan` looks at the event and at the facts
gathered so far and says what comes next. `learn` folds the result of a step into the facts. Both are asked inside
the ledger's transaction, with everything that they may look at locked.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from schemas.events import Event
from schemas.outcomes import ErrorCode, Status
from worker.engine.facts import NOTHING_SEEN, Facts
from worker.results import Result

Item = Mapping[str, Any]


class TraderView(NamedTuple):
    """What the ledger knows of the trader that an event names."""

    trader_id: str | None
    user_id: int | None = None
    other_name: bool = False  # the ledger knows this trader under another login name than the event gives
    made_here: bool = False  # the user was made by a flow of this ledger: no account can be older than the ledger
    maker: uuid.UUID | None = None  # the flow that is making the user just now
    taken_by: str | None = None  # another trader whom the ledger knows with the user that the event names


class OrderView(NamedTuple):
    """An order that the ledger knows: who owns it, how far it is, what it got."""

    order_id: str
    flow_id: uuid.UUID
    state: str  # open, succeeded, failed, in_doubt
    same_details: bool
    trader_id: str | None
    user_id: int | None
    account_id: int | None
    permission_id: int | None
    facts: Facts
    error_code: str | None
    error_text: str | None
    kind: str = "purchased"
    asked: datetime | None = None  # when its owner was asked for it


class DepartureView(NamedTuple):
    """A departure (`trader.left`) of the trader that an event names."""

    flow_id: uuid.UUID
    since: datetime  # when the trader left: a purchase that came later is of a trader who comes back
    begun: datetime | None = None  # since when nothing more is given to the trader
    ended: bool = False


class TurnView(NamedTuple):
    """Another event of the account that an event is about."""

    flow_id: uuid.UUID
    place: int
    subject: str
    begun: datetime | None  # since when it is its turn
    ended: bool
    must_act: bool = False  # it does something that no later event does


class Queue(NamedTuple):
    """A flow's place among the events of its account, and some of the others (`engine/turns.py`)."""

    place: int
    subject: str
    begun: bool
    ousted: bool = False
    others: Sequence[TurnView] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that flows look at."""

    account_prefix: str
    plan_id: int
    entitlement_id: int | None = None
    unknown_wait: timedelta = timedelta(seconds=900)
    day_end: time = time(17, 15)  # America/Chicago
    retry_base: timedelta = timedelta(seconds=1)
    retry_cap: timedelta = timedelta(seconds=300)
    retry_for: timedelta = timedelta(days=1)
    products: Mapping[str, Any] = field(default_factory=dict)  # product id -> schemas.events.Account


E = TypeVar("E")


class View(NamedTuple):
    """All that a flow may look at when it decides."""

    flow_id: uuid.UUID
    event: Event
    facts: Facts
    trader: TraderView
    order: OrderView | None  # the order that this event asks for, whichever flow owns it
    known: Sequence[OrderView]  # orders that the event refers to (by order, account or permission id, or by trader)
    since: datetime  # when the event was accepted
    now: datetime
    owners: Mapping[int, str] = MappingProxyType({})  # Tradovate users that the ledger knows: whose they are
    came: datetime | None = None  # when the event was published, or an operator asked for it again; None: `since`
    departures: Sequence[DepartureView] = ()  # of the trader, by other events
    unproven: frozenset[str] = frozenset()  # operations of the trader's other flows: sent, and the result is unknown
    queue: Queue | None = None  # of events that are executed one after the other
    on_live: frozenset[int] = frozenset()  # trading permissions made here on LIVE: named ones, or a departing trader's
    attempts: int = 0  # how often the step was sent whose result the flow learns; 0 if its look-up found it there

    @property
    def asked(self) -> datetime:
        """When this was asked for."""
        return self.came or self.since


class Send(NamedTuple):
    """The next step is this operation. `at`: not before. `look_first`: it may be there already, look before sending.

    `makes_user`: from now on this flow is the one that makes the trader's user. `alike`: this step shares a call only
    with steps that say the same. `weight`: how many of the call's items it takes.
    """

    operation: str
    at: datetime | None = None
    look_first: bool = False
    makes_user: bool = False
    pending: bool = False  # tell the shop that the event is accepted and under way
    alike: str | None = None
    weight: int = 1


class Wait(NamedTuple):
    """Nothing to do until one of `keys` happens, or `until` at the latest; then it is planned again.

    `ousts`: the flow that has to end without a result of its own, if no call of it can take effect any more.
    """

    keys: Sequence[str]
    until: datetime
    pending: bool = False
    ousts: uuid.UUID | None = None


class End(NamedTuple):
    """The flow has ended, and this is its final outcome."""

    status: Status
    error_code: ErrorCode | None = None
    error_text: str | None = None


Decision = Send | Wait | End


class Planned(NamedTuple):
    """A decision with the facts as they are now."""

    decision: Decision
    facts: Facts
    wakes: Sequence[str] = ()  # keys that other flows may wait for, and that have just happened


class Names(NamedTuple):
    """Whom and what an event names: what the ledger looks up and locks before the event's flow is planned."""

    trader_id: str | None = None
    user_id: int | None = None
    user_name: str | None = None
    order_id: str | None = None
    owns_order: bool = False  # the event asks for this order (a purchase), rather than refers to it
    order_kind: str = "purchased"
    account_id: int | None = None
    permission_ids: Sequence[int] = ()
    of_trader: bool = False  # all orders of `order_kind` of that trader or user too
    account_ids: Sequence[int] = ()  # besides `account_id`
    user_ids: Sequence[int] = ()  # whose owners the flow wants to know
    gives: bool = False  # the flow gives something to a trader, which one who leaves must not get
    departs: bool = False  # the event is a departure
    in_turn: str | None = None  # events of its account are executed one after the other; the subject of this one
    must_act: bool = False  # one that is executed in turn, and does something that no later one does
    on_live: bool = False  # the account, and the trading permission that the flow makes, are on LIVE

    @property
    def asks_whose_account(self) -> bool:
        """Whether only the account on DEMO that the event names says whom it is about."""
        return self.account_id is not None and self.trader_id is None and self.user_id is None and not self.on_live


def widened(names: Names, facts: Facts) -> Names:
    """What the event names, and what the flow has come across at Tradovate since."""
    seen = facts.seen
    if seen is NOTHING_SEEN:
        return names
    return names._replace(
        account_ids=(*names.account_ids, *seen.account_ids),
        permission_ids=(*names.permission_ids, *seen.permission_ids),
        user_ids=(*names.user_ids, *seen.user_ids),
    )


class Flow(Protocol):
    """One input topic's flow."""

    topic: str

    @property
    def facts(self) -> type[Facts]:
        """The type of what it learns."""
        ...

    def names(self, event: Any) -> Names:
        """Whom and what the event names."""
        ...

    def details(self, event: Any) -> bytes:
        """What two events of the same order must agree in, as canonical bytes (hashed with a key, never stored)."""
        ...

    def freeze(self, event: Any, rules: Rules) -> Any:
        """The event as it is kept while the flow runs: catalogue entries resolved, a password made if none is given."""
        ...

    def plan(self, view: View, rules: Rules) -> Planned:
        """What comes next."""
        ...

    def learn(self, view: View, operation: str, result: Result) -> Planned | Facts:
        """Folds the result with which a step has ended into the facts; a `Planned` when that ends the flow at once."""
        ...

    def item(self, view: View, operation: str, rules: Rules) -> Item:
        """What the operation is asked to do for this flow, in the partner's field names."""
        ...


class WithoutOrder:
    """A flow whose event asks for no order and is kept as it is: the part of `Flow` that is the same for most."""

    def details(self, _event: Any) -> bytes:
        """It asks for no order."""
        return b""

    def freeze(self, event: Any, _rules: Rules) -> Any:
        """As it is."""
        return event


def failed(code: ErrorCode, text: str) -> End:
    """The flow ends as failed."""
    return End(Status.FAILED, code, text)


SUCCEEDED = End(Status.SUCCEEDED)


def order_key(kind: str, order_id: str) -> str:
    """The wake key of an order's end."""
    return f"order:{kind}:{order_id}"


def departure_key(flow_id: uuid.UUID) -> str:
    """The wake key of a departure's end."""
    return f"departure:{flow_id}"


def proven_key(flow_id: uuid.UUID) -> str:
    """The wake key of a departure that waits for the results of its trader's other calls."""
    return f"proven:{flow_id}"


def turn_key(flow_id: uuid.UUID) -> str:
    """The wake key of the end of an event before which others of its account wait."""
    return f"turn:{flow_id}"


def trader_key(trader_id: str) -> str:
    """The wake key of a trader whose user has become known, or whose making has ended."""
    return f"trader:{trader_id}"


def of_type(value: object, kind: type[E]) -> E:
    """The event or the facts of a view, which are of the flow's own type."""
    assert isinstance(value, kind)
    return value
