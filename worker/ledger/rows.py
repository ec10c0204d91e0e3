"""What the ledger hands to dispatch and to the outbox: calls that may be made, lanes, outcomes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from worker.engine.rows import Claimed
from worker.engine.states import StepState
from worker.ledger.holds import Hold


@dataclass(frozen=True, slots=True)
class Batch:
    """One call that has been written down and may now be made, within the lease."""

    call_id: int
    lease: uuid.UUID
    steps: list[Claimed]
    ticket: Hold | None = None  # sent with it, if the body is still the same to the byte
    begun: float = 0.0  # monotonic seconds, before the lease began


@dataclass(frozen=True, slots=True)
class Lane:
    """Steps of one operation in one state that could be claimed now, as a survey found them."""

    operation: str
    state: StepState
    batch_id: int | None
    ready: int  # at most the survey's limit
    oldest: datetime  # since when the first of them could have been claimed
    newest: datetime


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """An outcome that is leased to us to publish, for sure until `until` (monotonic seconds; `NOT_OURS`: an earlier
    outcome of its flow is still to be published, and the replica that publishes that one may claim this one next).
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


NOT_OURS = float("-inf")
