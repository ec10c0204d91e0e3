"""Events of open flows, kept in memory by the replica that will probably call for them next."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.events import Event
from worker.engine.flows.base import Names
from worker.engine.rows import FlowRow

MOST_KEPT = 3000
"""Events: 15 MB of purchases."""

LARGEST = 16 * 1024
"""Bytes, encrypted. A larger event has documents, and is decrypted again: two thousand would take two gigabytes."""

KEPT_FOR = 30.0
"""Seconds after which an event gives way to another: its flow waits, or is worked on by another replica."""


class EventInMemory(NamedTuple):
    """An event, the round of its flow that it belongs to, and whom and what it names."""

    round: int
    event: Event
    named: Names | None


@dataclass(slots=True)
class KeptEvents:
    """Keeps events in memory, so that most are never decrypted.

    A flow that an operator has started again (another round) may have another event: the round is kept with it.
    """

    _kept: OrderedDict[uuid.UUID, tuple[float, EventInMemory]] = field(default_factory=OrderedDict)  # since when

    def keep(self, flows: Iterable[FlowRow]) -> None:
        """Keeps the events of flows that are open, as far as there is room."""
        now = time.monotonic()
        for flow in flows:
            if flow.state != "open" or flow.size > LARGEST:
                continue
            if len(self._kept) >= MOST_KEPT:
                oldest, (since, _) = next(iter(self._kept.items()))
                if since > now - KEPT_FOR:
                    return  # the oldest are called for first, so these are not pushed out by newer ones
                del self._kept[oldest]
            self._kept[flow.id] = now, EventInMemory(flow.round, flow.event, flow.named)

    def take(self, flow_ids: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, EventInMemory]:
        """Of these flows' events, those that were kept. They are kept no longer."""
        return {flow_id: self._kept.pop(flow_id)[1] for flow_id in flow_ids if flow_id in self._kept}
