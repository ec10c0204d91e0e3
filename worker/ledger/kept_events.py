"""Events of open flows, kept in memory by the replica that will probably call for them next."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.events import Event
from worker.engine.rows import FlowRow

MOST_KEPT = 2000
"""Events: 10 MB of purchases."""

KEPT_FOR = 30.0
"""Seconds after which an event gives way to another: its flow waits, or is worked on by another replica."""


@dataclass(slots=True)
class KeptEvents:
    """Most events are so not decrypted once in their lives.

    A flow that an operator has started again (another round) may have another event: the round is kept with it.
    """

    _kept: OrderedDict[uuid.UUID, tuple[float, int, Event]] = field(default_factory=OrderedDict)  # since, round, event

    def keep(self, flows: Iterable[FlowRow]) -> None:
        """Keeps the events of flows that are open, as far as there is room."""
        now = time.monotonic()
        for flow in flows:
            if flow.state != "open":
                continue
            if len(self._kept) >= MOST_KEPT:
                oldest, (since, _, _) = next(iter(self._kept.items()))
                if since > now - KEPT_FOR:
                    return  # the oldest are called for first, so these are not pushed out by newer ones
                del self._kept[oldest]
            self._kept[flow.id] = now, flow.round, flow.event

    def take(self, flow_ids: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, tuple[int, Event]]:
        """Of these flows' events, those that were kept, each with its round. They are kept no longer."""
        kept = ((flow_id, self._kept.pop(flow_id, None)) for flow_id in flow_ids)
        return {flow_id: (found[1], found[2]) for flow_id, found in kept if found is not None}
