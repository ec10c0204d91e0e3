"""The event of a flow, read again from its topic: a retry of an ended flow has it from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from schemas.events import Account, Event
from worker.errors import OperatorError
from worker.intake.parse import Parsed, RawRecord, parse
from worker.kafka.admin import existing_topics
from worker.kafka.errors import Access, kafka_errors
from worker.kafka.read import Record, reading
from worker.ledger import browse
from worker.ledger.browse import Summary
from worker.ledger.crypto import Vault
from worker.ledger.database import Database
from worker.settings import KafkaSettings

__all__ = ["EventNotFound", "EventReader", "NotFound"]


class NotFound(Enum):
    """Why the event cannot be read again."""

    DELETED = "Its event's record is no longer on its topic: send it again as a new event."
    OTHER_CONTENT = "The record in its place has its id and other content: send it again as a new event."
    OTHER_EVENT = "The record in its place is another event's now: send it again as a new event."
    REJECTED = "Its event's record can no longer be taken: {fault}"


class EventNotFound(OperatorError):
    """The record at the offset of a flow's event cannot be used again. `why`, and of a record that is rejected: the
    `fault`. The record stood at `topic`, `partition` and `offset`.
    """

    def __init__(self, why: NotFound, flow: Summary, fault: str = "") -> None:
        super().__init__(why.name, flow.topic, flow.partition, flow.offset)
        self.why = why
        self.fault = fault
        self.topic, self.partition, self.offset = flow.topic, flow.partition, flow.offset

    @property
    def sentence(self) -> str:
        """For an operator."""
        where = f"{self.topic}, partition {self.partition}, offset {self.offset}"
        return f"{self.why.value.format(fault=self.fault)} (It stood at {where}.)"


@dataclass(frozen=True, slots=True)
class EventReader:
    """Reads the event of a flow whose event the ledger no longer has."""

    settings: KafkaSettings
    database: Database
    vault: Vault
    products: Mapping[str, Account]

    async def event(self, flow: Summary) -> Event:
        """Raises `EventNotFound`, `KafkaUnavailable`, `TopicsMissing`, `TopicsForbidden` or `DatabaseError`."""
        record = await self._record(flow)
        if record is None:
            raise EventNotFound(NotFound.DELETED, flow)
        match parse(RawRecord(*(getattr(record, name) for name in RawRecord._fields)), self.products):
            case Parsed(event_id=found, event=event) if found == flow.event_id:
                # A topic that was created again has other records at the same offsets, and an id alone does not make
                # them the same event.
                async with self.database.connection() as connection:
                    content = await browse.content(connection, flow.flow_id)
                if content is not None and self.vault.differs(content, event.content()):
                    raise EventNotFound(NotFound.OTHER_CONTENT, flow)
                return event
            case Parsed():
                raise EventNotFound(NotFound.OTHER_EVENT, flow)
            case rejected:
                raise EventNotFound(NotFound.REJECTED, flow, rejected.sentence)

    async def _record(self, flow: Summary) -> Record | None:
        with kafka_errors(self.settings):
            (topic,) = await existing_topics(self.settings, [flow.topic], Access.READ)
            if flow.partition >= topic.partitions:
                return None
            async with reading(self.settings) as reader:
                return await reader.one(flow.topic, flow.partition, flow.offset)
