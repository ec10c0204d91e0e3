"""The event of a flow, read again from its topic: a retry of an ended flow has it from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from schemas.events import Account, Event
from worker.errors import OperatorError
from worker.intake.parse import Parsed, RawRecord, parse
from worker.kafka.read import Record
from worker.ledger.crypto import Vault

__all__ = ["EventNotFound", "NotFound", "event_again"]


class NotFound(Enum):
    """Why the event cannot be read again."""

    DELETED = "Its event's record is no longer on its topic: send it again as a new event."
    OTHER_CONTENT = "The record in its place has its id and other content: send it again as a new event."
    OTHER_EVENT = "The record in its place is another event's now: send it again as a new event."
    REJECTED = "Its event's record can no longer be taken: {fault}"


class EventNotFound(OperatorError):
    """The record at the event's offset cannot be used again. `why`, and of a record that is rejected: the `fault`."""

    def __init__(self, why: NotFound, fault: str = "") -> None:
        super().__init__(why.name)
        self.why = why
        self.fault = fault

    @property
    def sentence(self) -> str:
        """For an operator."""
        return self.why.value.format(fault=self.fault)


def event_again(
    record: Record | None, event_id: str, content: bytes | None, vault: Vault, products: Mapping[str, Account]
) -> Event:
    """The event in `record`, which stands where the flow's event stood. Raises `EventNotFound` when it is another one.

    `content`: the keyed hash that the ledger has of the event. A topic that was created again has other records at the
    same offsets, and an id alone does not make them the same event.
    """
    if record is None:
        raise EventNotFound(NotFound.DELETED)
    match parse(RawRecord(*(getattr(record, name) for name in RawRecord.__slots__)), products):
        case Parsed(event_id=found, event=event) if found == event_id:
            if content is not None and vault.differs(content, event.content()):
                raise EventNotFound(NotFound.OTHER_CONTENT)
            return event
        case Parsed():
            raise EventNotFound(NotFound.OTHER_EVENT)
        case rejected:
            raise EventNotFound(NotFound.REJECTED, rejected.sentence)
