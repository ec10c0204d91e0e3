"""What the bridge counts, beside what it shares with `run` (README, "Watch it")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Gauge

from worker.bridge.risk_intake import RISK_KINDS
from worker.bridge.signal_intake import KINDS
from worker.partner.socket_actions import EndReason
from worker.replies import Domain
from worker.telemetry.metrics import PREFIX, Metrics


@dataclass(slots=True)
class BridgeMetrics:
    """In the registry of `shared`. `risk`: risk statuses are bridged."""

    risk: bool = False
    shared: Metrics = field(default_factory=Metrics)
    connected: Gauge = field(init=False)
    bridged: Counter = field(init=False)
    signals: Counter = field(init=False)
    waiting: Gauge = field(init=False)
    last_frame: Gauge = field(init=False)
    catch_ups: Counter = field(init=False)
    reconnects: Counter = field(init=False)
    leader: Gauge = field(init=False)
    risk_bridged: Counter = field(init=False)
    risk_statuses: Counter = field(init=False)
    risk_waiting: Gauge = field(init=False)
    risk_comes: Gauge = field(init=False)

    def __post_init__(self) -> None:
        """Declares them all."""
        make: dict[str, Any] = {"registry": self.shared.registry, "namespace": PREFIX}
        self.connected = Gauge(
            "bridge_connected", "1 while the domain's socket listens; 0 on a standby.", ("domain",), **make
        )
        self.bridged = Counter("signals_bridged", "Agreements that were put on md.signed.", **make)
        self.signals = Counter("bridge_signals", f"Signals, by kind: {', '.join(KINDS)}.", ("kind",), **make)
        self.waiting = Gauge("bridge_waiting_signals", "Signals that wait for Kafka.", **make)
        self.last_frame = Gauge(
            "bridge_last_frame_seconds", "Seconds since the domain's socket last received a frame.", ("domain",), **make
        )
        self.catch_ups = Counter("bridge_catch_ups", "Fetches of signals, by result.", ("result",), **make)
        self.reconnects = Counter(
            "bridge_reconnects", "Connections that ended, by reason.", ("domain", "reason"), **make
        )
        self.leader = Gauge("bridge_leader", "1 on the bridge that works, 0 on a standby.", **make)
        self.risk_bridged = Counter("risk_statuses_bridged", "Changes that were put on account.risk_status.", **make)
        kinds = ", ".join(RISK_KINDS)
        self.risk_statuses = Counter(
            "bridge_risk_statuses", f"Risk statuses received, by kind: {kinds}.", ("kind",), **make
        )
        self.risk_waiting = Gauge(
            "bridge_waiting_risk_statuses", "Risk statuses that wait for the ledger, and changes for Kafka.", **make
        )
        if self.risk:
            self.risk_comes = Gauge(
                "bridge_risk_statuses_come", "1 while Tradovate sends risk statuses; 0 on a standby.", **make
            )
        for kind in RISK_KINDS:
            self.risk_statuses.labels(kind)
        for kind in KINDS:
            self.signals.labels(kind)
        for domain in Domain:
            self.connected.labels(domain).set(0)
            for reason in EndReason:
                self.reconnects.labels(domain, reason)
