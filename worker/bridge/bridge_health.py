"""Is this bridge alive, and can it work? A standby that could take over is ready, and says that it stands by."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.bridge.domain_socket import CATCHING_UP
from worker.kafka.topics import ACCOUNT_RISK_STATUS
from worker.replies import Domain
from worker.telemetry.health import HANGS_AFTER
from worker.telemetry.http_server import Probes
from worker.version import VERSION

if TYPE_CHECKING:
    from worker.bridge.bridge import Bridge


@dataclass(slots=True)
class BridgeHealth:
    """The checks of `bridge`."""

    bridge: Bridge

    def probes(self) -> Probes:
        """For the HTTP pages."""
        return Probes(self.live, self.ready, self.scrape, self.details)

    def live(self) -> str | None:
        """Why the process makes no progress, or None."""
        bridge, now = self.bridge, time.monotonic()
        if not bridge.started or bridge.stopping.is_set():
            return None
        turns = {"lead": bridge.leadership.progress}
        if bridge.tasks is not None:
            turns |= {f"publish {each.topic}": each.progress for each in bridge.tasks.publishers}
            if bridge.tasks.risk is not None:
                turns["record risk statuses"] = bridge.tasks.risk.recorder.progress
                turns[f"publish {ACCOUNT_RISK_STATUS}"] = bridge.tasks.risk.publisher.progress
        for name, progress in turns.items():
            if now - progress > HANGS_AFTER:
                return f"the {name} loop has not turned for {int(now - progress)} s"
        return None

    async def ready(self) -> Mapping[str, str | None]:
        """Each check with why it fails, or None. The sockets are the leader's: a standby connects nowhere."""
        bridge = self.bridge
        checks: dict[str, str | None] = {
            "stopping": "stopping" if bridge.stopping.is_set() else None,
            "started": None if bridge.started else "waiting for the database, its schema, Kafka or its topics",
            **await bridge.reach.checks(),
        }
        # A part of the ledger may be refused that the look at it above does not need.
        checks["lead"] = bridge.leadership.away if bridge.started else None
        lines = {line.domain: line.trouble for line in bridge.tasks.lines} if bridge.tasks is not None else {}
        fetching = bridge.tasks.catch_up.fetch.trouble if bridge.tasks is not None else None
        for domain in Domain:
            checks[f"socket_{domain}"] = lines.get(domain)
            if checks[f"socket_{domain}"] == CATCHING_UP and fetching is not None:
                checks[f"socket_{domain}"] = f"{CATCHING_UP} ({fetching})"
        publishers = bridge.tasks.publishers if bridge.tasks is not None else ()
        failing = {each.topic: each.trouble for each in publishers}
        if bridge.tasks is not None and bridge.tasks.risk is not None:
            failing[ACCOUNT_RISK_STATUS] = bridge.tasks.risk.trouble
        for topic in bridge.topics.topics:
            checks[topic] = bridge.topics.trouble(topic) or failing.get(topic)
        return checks

    def details(self) -> Mapping[str, Any]:
        """What readiness tells besides."""
        bridge = self.bridge
        body: dict[str, Any] = {"replica": bridge.name, "role": "bridge", "version": VERSION, "state": "standby"}
        body |= bridge.reach.partner
        if bridge.tasks is not None:
            body["state"] = "leader"
            body["waitingSignals"] = bridge.tasks.waiting
            body["unreadableAlerts"] = bridge.tasks.catch_up.missed.waiting
            if (risk := bridge.tasks.risk) is not None:
                body["riskStatuses"] = {
                    "come": risk.feed.comes,
                    "waiting": len(risk.feed.intake),
                    "changesWaiting": risk.publisher.waiting,
                }
            body["lastFrameSeconds"] = {
                line.domain: None if line.last_frame_seconds is None else round(line.last_frame_seconds, 1)
                for line in bridge.tasks.lines
            }
        return body

    async def scrape(self) -> None:
        """Brings the gauges up to date; what cannot be read keeps its last value."""
        bridge, metrics = self.bridge, self.bridge.metrics
        await bridge.reach.gauge(metrics.shared)
        tasks = bridge.tasks
        metrics.leader.set(tasks is not None)
        metrics.waiting.set(0 if tasks is None else tasks.waiting)
        risk = None if tasks is None else tasks.risk
        if bridge.settings.bridge_risk_status:
            metrics.risk_comes.set(risk is not None and risk.feed.comes)
        metrics.risk_waiting.set(0 if risk is None else risk.feed.intake.fresh + risk.publisher.waiting)
        for domain in Domain:
            line = None if tasks is None else next(line for line in tasks.lines if line.domain is domain)
            metrics.connected.labels(domain).set(line is not None and line.is_listening)
            seconds = None if line is None else line.last_frame_seconds
            if seconds is None:
                metrics.last_frame.remove(domain)
            else:
                metrics.last_frame.labels(domain).set(seconds)
