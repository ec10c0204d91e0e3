"""Flows out of the ledger's rows, with their events decrypted, or still in hand from when this replica had them."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import ValidationError

from schemas.events import EVENTS, Event
from worker.ledger.crypto import Sealed, Vault
from worker.ledger.rows import Claimed, FlowRow, StepState

log = structlog.get_logger()

FLOW_COLUMNS = (
    'f.id as flow_id, f.topic, f.event_id, f.record_key, f.partition, f."offset", f.trace, f.trader_id, f.user_id,'
    " f.order_id, f.account_id, f.created_at, f.asked_at, f.facts, f.state as flow_state, f.round,"
    " f.attempts as flow_attempts, f.error_code, f.error_text"
)
"""What a flow is read from; `body` beside it is for whoever has not got the event."""


def flow_of(row: Any, event: Event) -> FlowRow:
    """The flow in a row with `FLOW_COLUMNS`. Under way, its ids are facts: columns follow when it ends."""
    facts = row["facts"]
    user_id, account_id = row["user_id"], row["account_id"]
    return FlowRow(
        row["flow_id"],
        row["topic"],
        event,
        row["event_id"],
        row["record_key"],
        row["partition"],
        row["offset"],
        row["trace"],
        row["trader_id"] or facts.get("traderId"),
        facts.get("userId") if user_id is None else user_id,
        row["order_id"],
        facts.get("accountId") if account_id is None else account_id,
        row["created_at"],
        row["asked_at"],
        facts,
        row["flow_state"],
        row["round"],
        row["flow_attempts"],
        row["error_code"],
        row["error_text"],
    )


def claimed(row: Any, flow: FlowRow) -> Claimed:
    """A step under our lease, with its flow."""
    return Claimed(
        row["id"],
        row["operation"],
        StepState(row["state"]),
        row["attempts"],
        row["spent"],
        row["context"],
        row["company"],
        flow,
    )


def opened(row: Any, vault: Vault) -> Event | None:
    """The event in a row's `body`; None when it is gone, or cannot be read: SECRET_KEY has lost the key that wrote it.

    The flow is left out then: its lease runs out and it is tried again, which costs the others nothing.
    """
    if row["body"] is None:
        return None  # the flow has ended meanwhile
    try:
        return EVENTS[row["topic"]].restore(vault.open(row["body"]))
    except (Sealed, ValidationError) as error:
        log.error("ledger.unreadable_flow", flow_id=str(row["flow_id"]), error=type(error).__name__)  # noqa: TRY400
        return None


MOST_IN_HAND = 2000
"""Events: 10 MB of purchases."""

IN_HAND_FOR = 30.0
"""Seconds after which an event gives way to another: its flow waits, or went on elsewhere."""


@dataclass(slots=True)
class InHand:
    """Events of flows that this replica will probably call for next: most are not decrypted once in their lives.

    A flow that a person has sent into another round has another event.
    """

    _kept: OrderedDict[uuid.UUID, tuple[float, int, Event]] = field(default_factory=OrderedDict)  # since, round, event

    def keep(self, flows: Iterable[FlowRow]) -> None:
        """Keeps the events of flows that are under way, as far as there is room."""
        now = time.monotonic()
        for flow in flows:
            if flow.state != "open":
                continue
            if len(self._kept) >= MOST_IN_HAND:
                oldest, (since, _, _) = next(iter(self._kept.items()))
                if since > now - IN_HAND_FOR:
                    return  # the oldest are called for first, so these are not pushed out by newer ones
                del self._kept[oldest]
            self._kept[flow.id] = now, flow.round, flow.event

    def take(self, flow_ids: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, tuple[int, Event]]:
        """Of these flows' events, those that were in hand, each with its round. They are in hand no longer."""
        kept = ((flow_id, self._kept.pop(flow_id, None)) for flow_id in flow_ids)
        return {flow_id: (found[1], found[2]) for flow_id, found in kept if found is not None}
