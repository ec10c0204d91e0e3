"""`import --from-outcomes`: a lost ledger out of the outcome topics, read from their beginning to their end of now."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from schemas.cleaning import cleaned
from schemas.outcomes import Outcome
from worker.engine.rebuilt import TOPICS, PastOutcome
from worker.kafka.admin import existing_topics
from worker.kafka.errors import Access, kafka_errors
from worker.kafka.read import Record, reading
from worker.kafka.topics import outcome_topic
from worker.ledger.rebuilding import Rebuilds
from worker.partner.single_reads import is_id
from worker.settings import KafkaSettings

BLOCK = 500
"""Events that are written in one transaction."""


@dataclass(slots=True)
class OutcomesRead:
    """What the outcome topics said. `pending`: events without a final outcome, by topic and id."""

    outcomes: int = 0
    events: int = 0  # that the ledger did not have
    others: int = 0  # records that are no outcome of an accepted event
    pending: dict[tuple[str, str], None] = field(default_factory=dict)


@dataclass(slots=True)
class Rebuild:
    """Reads without a consumer group: nothing is committed. Without `rebuilds` nothing is written either."""

    settings: KafkaSettings
    rebuilds: Rebuilds | None
    found: OutcomesRead = field(default_factory=OutcomesRead)
    _block: dict[tuple[str, str], PastOutcome] = field(default_factory=dict)

    async def run(self, done: Callable[[int], None]) -> OutcomesRead:
        """Raises `KafkaUnavailable`, `TopicsMissing`, `TopicsForbidden`, `DatabaseError`. `done`: called with how many
        records more.
        """
        with kafka_errors(self.settings):
            topics = {state.topic: state for state in await existing_topics(self.settings, _OUTCOMES, Access.READ)}
            async with reading(self.settings) as reader:
                for state in (topics[name] for name in _OUTCOMES if name in topics):
                    await self._read(reader.scan(state.topic, state.partitions), done)
        return self.found

    async def _read(self, records: AsyncIterator[Record], done: Callable[[int], None]) -> None:
        async for record in records:
            done(1)
            past = past_outcome(record)
            if past is None:
                self.found.others += 1
                continue
            self._collect(past)
            if len(self._block) == BLOCK:
                await self._write()
        await self._write()

    def _collect(self, past: PastOutcome) -> None:
        """Of an event's outcomes in a block the last one counts. The same event has the same key, and one partition."""
        self.found.outcomes += 1
        key = past.outcome.topic, past.outcome.event_id
        before = self._block.pop(key, None)
        if before is not None and before.outcome.occurred_at > past.outcome.occurred_at:
            past, before = before, past
        if before is not None and before.final and before.outcome.outcome_id != past.outcome.outcome_id:
            past = replace(past, finals=before.finals + past.final)
        self._block[key] = past
        if past.final:
            self.found.pending.pop(key, None)
        else:
            self.found.pending[key] = None

    async def _write(self) -> None:
        block, self._block = list(self._block.values()), {}
        if block and self.rebuilds is not None:
            self.found.events += await self.rebuilds.write(block)


_OUTCOMES = [outcome_topic(topic) for topic in TOPICS]


def past_outcome(record: Record) -> PastOutcome | None:
    """The outcome in a record; None when it is none of this program's, or of a record that became no flow."""
    try:
        outcome = Outcome.model_validate_json(record.value or b"")
        flow_id = uuid.UUID(outcome.flow_id or "")
    except (ValidationError, ValueError):
        return None
    if outcome_topic(outcome.topic) != record.topic or outcome.topic not in TOPICS or not _fits(outcome):
        return None
    return PastOutcome(outcome, flow_id, record.key, record.value or b"")


def _fits(outcome: Outcome) -> bool:
    """Whether the ledger can hold it. One record that it refuses would end every run: others may write to the topic."""
    ids = (
        outcome.user_id,
        outcome.account_id,
        outcome.trading_permission_id,
        outcome.request_id,
        outcome.entitlement_id,
        *outcome.trading_permission_ids,
    )
    names = outcome.outcome_id, outcome.event_id, outcome.order_id, outcome.trader_id
    values = outcome.model_dump(mode="json", exclude={"occurred_at"})
    return (
        all(each is None or is_id(each) for each in ids)
        and all(each is None or 0 < len(each) <= _LONGEST_ID for each in names)
        and outcome.attempts < _MOST_ATTEMPTS
        and _YEARS[0] <= outcome.occurred_at.year <= _YEARS[1]
        and cleaned(values) == values
    )


_LONGEST_ID = 256
"""Characters; those of events have 128, and an index takes some 2,700 bytes."""

_MOST_ATTEMPTS = 2**31
"""The ledger's column is a 32-bit number."""

_YEARS = (2000, 9000)
"""Neither end becomes a year that Python does not know when it is converted to another zone."""
