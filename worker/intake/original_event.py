"""The event of a flow, read again from its topic: a retry of an ended flow has it from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.events import Account, Event
from worker.intake.parse import Parsed, RawRecord, parse
from worker.kafka.read import Record
from worker.ledger.crypto import Vault

__all__ = ["NotAgain", "event_again"]


class NotAgain(Exception):  # noqa: N818 - the state of the topic
    """The event is not where it was: a sentence."""


def event_again(
    record: Record | None, event_id: str, content: bytes | None, vault: Vault, products: Mapping[str, Account]
) -> Event:
    """The event in `record`, which stands where the flow's event stood. Raises `NotAgain` when it is another one.

    `content`: the keyed hash that the ledger has of the event. A topic that was created again has other records at the
    same offsets, and an id alone does not make them the same event.
    """
    if record is None:
        raise NotAgain("Its event's record is no longer on its topic: send it again as a new event.")
    match parse(RawRecord(*(getattr(record, name) for name in RawRecord.__slots__)), products):
        case Parsed(event_id=found, event=event) if found == event_id:
            if content is not None and vault.differs(content, event.content()):
                raise NotAgain("The record in its place has its id and other content: send it again as a new event.")
            return event
        case Parsed():
            raise NotAgain("The record in its place is another event's now: send it again as a new event.")
        case rejected:
            raise NotAgain(f"Its event's record can no longer be taken: {rejected.sentence}")
