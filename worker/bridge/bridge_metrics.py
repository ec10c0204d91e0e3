"""What the bridge counts, beside what it shares with `run` (contract section 6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Gauge

from worker.bridge.signal_intake import KINDS
from worker.partner.socket_actions import EndReason
from worker.replies import Domain
from worker.telemetry.metrics import PREFIX, Metrics


@dataclass(slots=True)
class BridgeMetrics:
    """In the registry of `shared`."""

    shared: Metrics = field(default_factory=Metrics)
    connected: Gauge = field(init=False)
    bridged: Counter = field(init=False)
    signals: Counter = field(init=False)
    waiting: Gauge = field(init=False)
    last_frame: Gauge = field(init=False)
    catch_ups: Counter = field(init=False)
    reconnects: Counter = field(init=False)
    leader: Gauge = field(init=False)

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
            "bridge_last_frame_seconds", "Seconds since the domain's socket was last heard.", ("domain",), **make
        )
        self.catch_ups = Counter("bridge_catch_ups", "Fetches of signals, by result.", ("result",), **make)
        self.reconnects = Counter(
            "bridge_reconnects", "Connections that ended, by reason.", ("domain", "reason"), **make
        )
        self.leader = Gauge("bridge_leader", "1 on the bridge that works, 0 on a standby.", **make)
        for kind in KINDS:
            self.signals.labels(kind)
        for domain in Domain:
            self.connected.labels(domain).set(0)
            for reason in EndReason:
                self.reconnects.labels(domain, reason)
