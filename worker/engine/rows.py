"""What the ledger stores, as the engine sees it: flows with their events, steps, traders, orders, departures."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from schemas.events import Event
from schemas.outcomes import ErrorCode
from worker.engine.facts import Facts, OrderFacts
from worker.engine.flows.base import Names
from worker.engine.memory import Memory
from worker.engine.states import StepState
from worker.results import Result, Succeeded


class TraderRow(NamedTuple):
    """A trader of the shop, and the Tradovate user that is theirs."""

    trader_id: str
    user_id: int | None = None
    user_name: bytes | None = None  # keyed hash of the login name
    made_here: bool = False  # the user was made by a flow of this ledger
    maker: uuid.UUID | None = None  # the flow that is making the user now


class OrderRow(NamedTuple):
    """An order: its owner, what it asked for, what it got."""

    kind: str
    order_id: str
    flow_id: uuid.UUID
    state: str
    details: bytes | None  # keyed hash of what was ordered; None: imported, and not known
    trader_id: str | None
    user_id: int | None
    account_id: int | None
    permission_id: int | None
    facts: OrderFacts
    error_code: str | None
    error_text: str | None
    asked_at: datetime  # when the owner was asked for it


class LivePermissionRow(NamedTuple):
    """A trading permission that was made on LIVE."""

    permission_id: int
    account_id: int
    user_id: int


class DepartureRow(NamedTuple):
    """A departure under one key of its trader."""

    trader_key: str
    flow_id: uuid.UUID
    since: datetime
    begun_at: datetime | None
    ended: bool


class TurnRow(NamedTuple):
    """The place of an event among those of its account, under one key of the account."""

    key: str
    place: int
    flow_id: uuid.UUID
    subject: str
    begun_at: datetime | None = None
    ended: bool = False
    ousted: bool = False  # a later event takes its place
    must_act: bool = False  # never so: it does something that no later event does


class IncomingEvent(NamedTuple):
    """An event that intake has parsed."""

    topic: str
    event_id: str
    event: Event
    record_key: bytes | None
    partition: int
    offset: int
    trace: Mapping[str, str] | None = None
    came: datetime | None = None  # when it was published, by its record; None: not known
    draft: FlowRow | None = None  # the flow that it becomes, without its id and its times; None: not made yet

    def drafted(self, draft: FlowRow) -> IncomingEvent:
        """The same event with its draft."""
        return IncomingEvent(
            self.topic,
            self.event_id,
            self.event,
            self.record_key,
            self.partition,
            self.offset,
            self.trace,
            self.came,
            draft,
        )


@dataclass(slots=True)
class FlowRow:
    """A flow and its event. The planner works on copies: a transaction that is run again starts with them unchanged."""

    id: uuid.UUID
    topic: str
    event: Event
    event_id: str
    record_key: bytes | None
    partition: int
    offset: int
    trace: Mapping[str, str] | None
    trader_id: str | None
    user_id: int | None
    order_id: str | None
    account_id: int | None
    created_at: datetime
    asked_at: datetime  # when the event was published, or an operator asked for it again
    facts: Facts
    state: str = "open"
    round: int = 0
    attempts: int = 0
    error_code: str | None = None
    error_text: str | None = None
    content: bytes | None = None  # keyed hash of what the event says, of a flow that is new
    kept: bytes | None = field(default=None, repr=False)  # the event as JSON, of a flow that is new
    size: int = 0  # bytes of the event, roughly
    named: Names | None = None  # whom and what the event names, once that has been asked
    owner_key: str | None = None  # key of the trader whose account the event names, if it names no trader

    def copy(self) -> FlowRow:
        """Another one of the same content."""
        return FlowRow(*_FLOW_FIELDS(self))

    @property
    def trader_key(self) -> str:
        """Calls that name the same trader share this key; it is the user's as soon as the user is known."""
        if self.user_id is not None:
            return f"u:{self.user_id}"
        if self.trader_id is not None:
            return f"t:{self.trader_id}"
        if self.owner_key is not None:
            return self.owner_key
        # The ledger does not know whose account it is; at least two calls never name it at once.
        return f"a:{self.account_id}" if self.account_id is not None else f"f:{self.id}"


_FLOW_FIELDS = attrgetter(*(each.name for each in fields(FlowRow)))


@dataclass(slots=True)
class Claimed:
    """A step under our lease, with its flow."""

    id: int
    operation: str
    state: StepState
    attempts: int
    spent: float  # seconds of back-off and calls that count towards giving up
    memory: Memory
    batch_id: int | None
    flow: FlowRow


class OpenStep(NamedTuple):
    """A step that has not ended, as an operator's action finds it."""

    id: int
    operation: str
    state: StepState
    attempts: int


class Found(StrEnum):
    """What a look-up found of a step."""

    THERE = "there"  # it took effect, or was there before
    NOTHING = "nothing"
    OTHERS = "others"  # it belongs to another
    NEEDED_THERE = "needed_there"  # what the step needs exists
    NEEDED_MISSING = "needed_missing"
    UNCLEAR = "unclear"
    NOT_MADE = "not_made"  # the look-up could not be made: no budget, a penalty, no session


@dataclass(frozen=True, slots=True)
class Finish:
    """The step has ended with this result; its flow is planned on. `found`: by a look-up."""

    result: Result
    found: Found | None = None

    @property
    def parked(self) -> bool:
        """Whether an operator must find out what came of the step."""
        return not isinstance(self.result, Succeeded) and self.result.code is ErrorCode.IN_DOUBT


@dataclass(frozen=True, slots=True)
class Later:
    """Back into a queue: `state` due (send) or unknown (look up), not before `wait` from now. `found`: by a look-up."""

    state: StepState
    wait: timedelta
    spent: float
    memory: Memory
    batch_id: int | None = None
    found: Found | None = None


Move = Finish | Later
