"""What an operator may do to a flow: retry, cancel or resolve it. Command line and console call this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from schemas.base import MAX_INT64
from schemas.cleaning import clean
from schemas.outcomes import Status
from worker.engine.operator import SETTABLE
from worker.errors import OperatorError
from worker.ledger.browse import FlowState, Summary
from worker.ledger.ledger import Ledger
from worker.ledger.operator_actions import OperatorActions
from worker.ledger.rows import OutcomeRow
from worker.operate.event_again import EventReader
from worker.operate.operator_note import Note
from worker.partner.operations import OPERATIONS

__all__ = ["ALLOWED", "Action", "FactRefused", "FlowRepair", "Resolution", "SeenAtPartner", "fact_of"]


class Action(StrEnum):
    """What may be done to a flow."""

    RETRY = "retry"
    RESOLVE = "resolve"
    CANCEL = "cancel"


ALLOWED: Mapping[FlowState, Sequence[Action]] = {
    FlowState.WAITING: (Action.CANCEL,),
    FlowState.WORKING: (Action.CANCEL,),
    FlowState.IN_DOUBT: (Action.RESOLVE, Action.RETRY),
    FlowState.SUCCEEDED: (),
    FlowState.FAILED: (Action.RETRY,),
}
"""What may be done to a flow in each state. `worker.engine.operator` decides it again, under the flow's lock."""


class SeenAtPartner(StrEnum):
    """What an operator saw at Tradovate of a flow in doubt: that it took effect, or that it did not."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a flow in doubt ended. `facts`: ids for its outcome, by the names of `SETTABLE`, each made by `fact_of`."""

    seen: SeenAtPartner
    facts: Mapping[str, Any] = field(default_factory=dict)


class FactRefused(OperatorError):
    """The value of the fact `name` is not what its `kind` needs: an id of Tradovate's (`int`), or a text (`str`)."""

    code = 2

    def __init__(self, name: str, kind: type) -> None:
        super().__init__(name)
        self.name = name
        self.kind = kind

    @property
    def sentence(self) -> str:
        """For an operator at the command line."""
        if self.kind is int:
            return f"--set {self.name} is one of Tradovate's ids: a whole number, 1 or more."
        return f"--set {self.name} is empty or not readable: give it as Tradovate shows it."


def fact_of(name: str, text: str) -> int | str:
    """The value of a fact (one of `SETTABLE`) that an operator typed. Raises `FactRefused`."""
    kind = SETTABLE[name]
    text = text.strip()
    if kind is int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= MAX_INT64):
            raise FactRefused(name, kind)
        return int(text)
    if not text or not text.isprintable():
        raise FactRefused(name, kind)
    return clean(text)


@dataclass(frozen=True, slots=True)
class FlowRepair:
    """Each action raises `NotPossible` when the flow's state forbids it, and `DatabaseError`. It returns the outcomes
    that it has made; they are in the outbox, for any worker to publish.
    """

    ledger: Ledger
    events: EventReader

    async def retry(self, flow: Summary, note: Note, *, not_made: bool = False) -> Sequence[OutcomeRow]:
        """Plans a failed flow, or one in doubt, again; what may have taken effect is looked up first.

        `not_made`: the operator saw at Tradovate that what cannot be looked up has had no effect. Raises what
        `EventReader` raises when the ledger no longer has the event.
        """
        dropped = Action.RETRY in ALLOWED[flow.state] and not flow.kept
        event = await self.events.event(flow) if dropped else None
        return await self._actions.retry(flow.flow_id, event, note.reason, note.by, not_made=not_made)

    async def cancel(self, flow: Summary, note: Note) -> Sequence[OutcomeRow]:
        """Ends a flow of which nothing was sent yet: `failed`, `cancelled`, with the note's reason as the text."""
        return await self._actions.cancel(flow.flow_id, note.reason, note.by)

    async def resolve(self, flow: Summary, resolution: Resolution, note: Note) -> Sequence[OutcomeRow]:
        """Ends a flow in doubt as an operator saw it at Tradovate."""
        status = Status(resolution.seen.value)
        return await self._actions.resolve(flow.flow_id, status, resolution.facts, note.reason, note.by)

    @property
    def _actions(self) -> OperatorActions:
        return OperatorActions(self.ledger, _has_look_up)


def _has_look_up(operation: str) -> bool:
    known = OPERATIONS.get(operation)
    return known is not None and known.recovery.look_up is not None
