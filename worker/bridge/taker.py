"""Takes signals as they come - from either socket, or from the catch-up - and puts them into the inbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from worker.bridge.inbox import Inbox, Offer
from worker.bridge.signals import CREATED, outgoing
from worker.tradovate.acts import Alert

log = structlog.get_logger()


@dataclass(slots=True)
class SignalTaker:
    """`counted` gets `signed`, `alert`, `repeat`, `update` or `unusable` for each signal."""

    inbox: Inbox
    mda_alert_id: int
    counted: Callable[[str], None] = lambda _kind: None

    def heard(self, alert: Alert) -> bool:
        """Takes an alert of a socket; false when there is no room."""
        if alert.event_type.lower() != CREATED.lower():
            self.counted("update")
            return True
        return self.take(alert.signal) is not Offer.FULL

    def take(self, signal: Mapping[str, Any]) -> Offer:
        """Takes a signal. What has no id can neither be published once nor be caught up: it counts as taken."""
        record = outgoing(signal, self.mda_alert_id)
        if record is None:
            self.counted("unusable")
            log.warning("bridge.signal_unusable", why="it has no id")
            return Offer.TAKEN
        offer = self.inbox.offer(record)
        if offer is Offer.TAKEN:
            self.counted(record.kind)
            log.info("bridge.signal", signal_id=record.signal_id, kind=record.kind)
            if record.kind == "alert" and signal.get("adminAlertId") == self.mda_alert_id:
                log.warning("bridge.signal_unusable", signal_id=record.signal_id, why="an agreement without a user")
        elif offer is Offer.REPEAT:
            self.counted("repeat")
        return offer
