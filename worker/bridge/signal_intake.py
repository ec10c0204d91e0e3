"""Takes signals as they come, from either socket or from a fetch, and puts them into the inbox of their topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from worker.bridge.signal_record import SIGNED, Outgoing, outgoing
from worker.bridge.topic_inbox import Inbox, Offer
from worker.partner.socket_actions import Alert
from worker.telemetry.log_on_change import LastReported

log = structlog.get_logger()

KINDS = ("signed", "alert", "repeat", "update", "unreadable", "dropped")
"""What a signal may count as."""


@dataclass(slots=True)
class SignalIntake:
    """`counted` gets one of `KINDS` for each signal; `missed` is called for what may be an agreement and cannot be
    read: only the partner can say whether it is one.
    """

    signed: Inbox
    alerts: Inbox
    mda_alert_id: int
    counted: Callable[[str], None] = lambda _kind: None
    missed: Callable[[], None] = lambda: None
    _said: LastReported = field(default_factory=LastReported)

    def received(self, alert: Alert) -> bool:
        """Takes an alert of a socket; false when there is no room."""
        record = outgoing(alert.signal, self.mda_alert_id)
        if record is None:
            self.unreadable("an alert without a usable id, or an agreement without a user")
            return True
        return self.offer(record) is not Offer.FULL

    def updated(self) -> None:
        """An alert of a socket that was raised before: nothing is published for it."""
        self.counted("update")

    def unreadable(self, why: str) -> None:
        """Something of a socket that may be an agreement."""
        self.counted("unreadable")
        if self._said.changed(("unreadable", why)):
            log.warning("bridge.alert_unreadable", why=why)
        self.missed()

    def fetched(self, signal: Any) -> Outgoing | None:
        """The record of a signal that was asked for; None when it cannot be read, as at any later read."""
        record = outgoing(signal, self.mda_alert_id, self.mda_alert_id) if isinstance(signal, Mapping) else None
        if record is None:
            self.counted("unreadable")
            name = signal.get("id") if isinstance(signal, Mapping) else signal
            # The same one comes with every fetch of its week.
            if self._said.changed(("fetched", name if isinstance(name, str | int) else None)):
                log.error("bridge.signal_unreadable", fix="find the alert at Tradovate, and send its md.signed")
        return record

    def offer(self, record: Outgoing) -> Offer:
        """Takes a record. An alert that finds no room is dropped: it must not keep out the agreements."""
        agreement = record.topic == SIGNED
        offer = (self.signed if agreement else self.alerts).offer(record)
        if offer is Offer.TAKEN:
            if len(self.alerts) == 1:  # all others have been published
                self._said.ended("dropped")
            self.counted("signed" if agreement else "alert")
            log.info("bridge.signal", signal_id=record.signal_id, topic=record.topic)
        elif offer is Offer.REPEAT:
            self.counted("repeat")
        elif not agreement:
            self.counted("dropped")
            if self._said.changed("dropped"):
                log.error("bridge.alerts_dropped", waiting=len(self.alerts))
            return Offer.TAKEN
        return offer
