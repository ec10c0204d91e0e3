"""The ledger's rows as the program holds them, and the moves that a step may make.

waiting    for another flow, an order, a trader, or a time: planned again when woken or due
due        may be sent from `due` on
in_flight  written before the bytes leave; whoever holds the lease writes what came of it
unknown    may or may not have taken effect: leaves only through a look-up or a person
done       took effect
refused    will not take effect
parked     a person must look
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from operator import attrgetter
from typing import Any

from schemas.events import Event
from worker.engine.flows.base import StepEnd
from worker.ledger.holds import Hold


class StepState(StrEnum):
    """States of a step; the diagram in README.md beside this file shows the moves."""

    WAITING = "waiting"
    DUE = "due"
    IN_FLIGHT = "in_flight"
    UNKNOWN = "unknown"
    DONE = "done"
    REFUSED = "refused"
    PARKED = "parked"


MOVES: Mapping[StepState, frozenset[StepState]] = {
    # planned again: another operation may be due, or it is looked up before it is sent, or the flow has ended
    StepState.WAITING: frozenset(
        {StepState.WAITING, StepState.DUE, StepState.UNKNOWN, StepState.DONE, StepState.REFUSED}
    ),
    # claimed; or cancelled by a person before it was sent
    StepState.DUE: frozenset({StepState.IN_FLIGHT, StepState.REFUSED}),
    # what the partner said; a lease that ran out counts as unknown
    StepState.IN_FLIGHT: frozenset(
        {StepState.DONE, StepState.REFUSED, StepState.DUE, StepState.UNKNOWN, StepState.PARKED}
    ),
    # what the look-up found: it is there, it is somebody else's, it is not there, or still nobody knows
    StepState.UNKNOWN: frozenset(
        {StepState.DONE, StepState.REFUSED, StepState.DUE, StepState.UNKNOWN, StepState.PARKED}
    ),
    StepState.DONE: frozenset(),
    StepState.REFUSED: frozenset(),
    # a person has looked: it took effect, or it did not (a retry is a new step)
    StepState.PARKED: frozenset({StepState.DONE, StepState.REFUSED}),
}
"""The allowed moves. A step that is looked up keeps its state and is leased."""


class Company(IntEnum):
    """Why steps travel together; the number is unique to the call that tied them."""

    TICKET = 0  # the same body, to the byte, goes again with its ticket
    FIRST_HALF = 1
    SECOND_HALF = 2
    LOOKED_UP = 3  # refused as a whole, looked up together

    def of(self, call_id: int) -> int:
        """The company's number."""
        return call_id * 4 + self


PLAN = "plan"
"""The operation of a step that waits: no call, the flow is planned again."""


@dataclass(slots=True)
class FlowRow:
    """A flow and its event, as loaded; written back by the working set."""

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
    facts: dict[str, Any] = field(default_factory=dict)
    state: str = "open"
    round: int = 0
    attempts: int = 0
    error_code: str | None = None
    error_text: str | None = None
    content: bytes | None = None  # keyed hash of what the event says, of a flow that is new
    owner_key: str | None = None  # key of the trader whose account the event names, if it names no trader

    def copy(self) -> FlowRow:
        """Another of the same; its facts are replaced, never changed in place."""
        return FlowRow(*_FLOW_FIELDS(self))

    @property
    def trader_key(self) -> str:
        """Calls that name the same trader share this key; it follows the user as soon as one is known."""
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
    spent: float
    context: dict[str, Any]
    company: int | None
    flow: FlowRow


@dataclass(frozen=True, slots=True)
class Batch:
    """One call that has been written down and may now be made, within the lease."""

    call_id: int
    lease: uuid.UUID
    steps: list[Claimed]
    ticket: Hold | None = None  # goes with it, if the body is still the same to the byte
    begun: float = 0.0  # monotonic seconds, before the lease began


class Found(StrEnum):
    """What a look-up found of a step."""

    THERE = "there"  # it took effect, or was there before
    NOTHING = "nothing"
    OTHERS = "others"  # it belongs to another
    NEEDED_THERE = "needed_there"  # what the step needs exists
    NEEDED_MISSING = "needed_missing"
    UNCLEAR = "unclear"
    NOT_MADE = "not_made"  # the look-up could not be made: no budget, a penalty, no session


HISTORY_MOST = 200
"""Entries of a step's history: a step that is tried for a day with the longest back-off has some 300 of them, and the
first ones tell as much."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The step is over; its flow is planned on. `found`: by a look-up."""

    end: StepEnd
    parked: bool = False
    found: Found | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """Back into a queue: `state` due (send) or unknown (look up), not before `wait` from now. `found`: by a look-up."""

    state: StepState
    wait: timedelta
    spent: float
    context: Mapping[str, Any]
    company: int | None = None
    error: str | None = None
    found: Found | None = None


Move = Finish | Later


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that intake has understood."""

    topic: str
    event_id: str
    event: Event
    record_key: bytes | None
    partition: int
    offset: int
    trace: Mapping[str, str] | None = None
    came: datetime | None = None  # when it was published, by its record; None: not known


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """An outcome that is leased to us to publish, for sure until `until` (monotonic seconds; `NOT_OURS`: an earlier
    outcome of its flow is still to be published, and whoever looks after that has noted it may claim this one).
    """

    id: int
    topic: str
    status: str
    record_key: bytes | None
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    until: float
    flow_id: uuid.UUID | None = None
    accepted_at: datetime | None = None  # when its event was accepted; None: it never was

    @classmethod
    def leased(cls, row: Any, until: float) -> OutcomeRow:
        """Out of a row: id, topic, status, record_key, headers, body, flow_id, accepted_at."""
        topic, status, key, headers, body = (row[name] for name in ("topic", "status", "record_key", "headers", "body"))
        return cls(row["id"], topic, status, key, headers, body, until, row["flow_id"], row["accepted_at"])


NOT_OURS = float("-inf")


@dataclass(frozen=True, slots=True)
class Lane:
    """Steps of one operation in one state that could go now, as a survey found them."""

    operation: str
    state: StepState
    company: int | None
    ready: int  # at most the survey's limit
    oldest: datetime  # since when the first of them could have gone
    newest: datetime
