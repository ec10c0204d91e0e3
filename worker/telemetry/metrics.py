"""Prometheus metrics (README, "Watch it"): what this replica counts, and what it reads from the ledger.

What is read from the ledger is the same on every replica; dashboards take its maximum. Each reading is asked for no
more often than a hundred times as long as it took, so that metrics never cost the database more than one per cent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from worker.ledger.differences import Kind
from worker.version import VERSION

PREFIX = "tradovate_worker"

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_OUTCOME_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)
"""From a lone purchase (tens of milliseconds) to a departure that waits for the end of the trading day."""
_ITEMS = (1, 2, 5, 10, 25, 50, 75, 99, 100)

_RESULTS = ("accepted", "known", "invalid")
_STATUSES = ("succeeded", "failed", "pending", "in_doubt")


@dataclass(slots=True)
class Metrics:
    """One registry a process."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    events: Counter = field(init=False)
    outcomes: Counter = field(init=False)
    outcome_seconds: Histogram = field(init=False)
    flows: Gauge = field(init=False)
    oldest: Gauge = field(init=False)
    calls: Counter = field(init=False)
    call_items: Histogram = field(init=False)
    call_seconds: Histogram = field(init=False)
    budget_used: Gauge = field(init=False)
    budget_left: Gauge = field(init=False)
    lockout: Gauge = field(init=False)
    token: Gauge = field(init=False)
    password: Gauge = field(init=False)
    differences: Gauge = field(init=False)
    compared: Gauge = field(init=False)
    month_end: Gauge = field(init=False)
    lag: Gauge = field(init=False)
    dead_letters: Counter = field(init=False)
    ready: Gauge = field(init=False)
    build: Gauge = field(init=False)

    def __post_init__(self) -> None:
        """Declares them all, so that each has its help text from the first scrape on."""
        make: Any = {"registry": self.registry, "namespace": PREFIX}
        self.events = Counter(
            "events", "Input records taken, by result: accepted, known, invalid.", ("topic", "result"), **make
        )
        self.outcomes = Counter("outcomes", "Outcomes published.", ("topic", "status"), **make)
        self.outcome_seconds = Histogram(
            "outcome_seconds",
            "Time from an event's acceptance to its published outcome; outcomes that are pending do not count.",
            ("topic",),
            buckets=_OUTCOME_SECONDS,
            **make,
        )
        self.flows = Gauge("flows", "Flows in the ledger, by state.", ("topic", "state"), **make)
        self.oldest = Gauge(
            "oldest_waiting_flow_seconds",
            "Age of the oldest flow that has not ended; 0 without one.",
            ("topic",),
            **make,
        )
        self.calls = Counter("calls", "Calls to Tradovate, by what came back.", ("operation", "result"), **make)
        self.call_items = Histogram("call_items", "Items in a call.", ("operation",), buckets=_ITEMS, **make)
        self.call_seconds = Histogram("call_seconds", "Time of a call.", ("operation",), buckets=_SECONDS, **make)
        self.budget_used = Gauge(
            "budget_used_calls", "Calls of the last hour, all replicas and bridges together.", **make
        )
        self.budget_left = Gauge("budget_left_calls", "Calls that the hourly budget has left.", **make)
        self.lockout = Gauge("lockout_seconds_left", "Time until a lock-out ends; 0 without one.", **make)
        self.token = Gauge("token_seconds_left", "Time until the shared token ends; 0 without one.", **make)
        self.password = Gauge(
            "password_seconds_left",
            "Time until the API user's password ends, negative after that; NaN if none is known.",
            **make,
        )
        self.password.set(math.nan)  # not read yet: Prometheus leaves it out of a maximum, and no alert fires
        self.differences = Gauge(
            "reconcile_differences",
            "Differences of ledger and Tradovate that the last run of `reconcile` found; NaN before the first.",
            ("kind",),
            **make,
        )
        self.compared = Gauge("reconcile_age_seconds", "Time since that run finished; NaN before the first.", **make)
        self.month_end = Gauge(
            "month_end_seconds_left",
            "Time until 19:00 America/Chicago on the last day of the month: what a user has then is billed again.",
            **make,
        )
        for gauge in (*(self.differences.labels(kind.value) for kind in Kind), self.compared, self.month_end):
            gauge.set(math.nan)
        self.lag = Gauge(
            "consumer_lag_records", "Records behind the end, of this replica's partitions.", ("topic",), **make
        )
        self.dead_letters = Counter("dead_letters", "Records put on a dead-letter topic.", ("topic", "reason"), **make)
        self.ready = Gauge(
            "ready", "The checks of /health/ready, one by one: 1 passes, 0 does not.", ("check",), **make
        )
        self.build = Gauge("build_info", "Always 1; the label is the version of this process.", ("version",), **make)
        self.build.labels(VERSION).set(1)
        ProcessCollector(registry=self.registry)  # memory, CPU time, open files, start: names without our prefix

    def expect(self, topics: Iterable[str], reasons: Iterable[str] = ()) -> None:
        """Shows every counter that will be from the first scrape on.

        A counter that appears with its first event has no rise that Prometheus could see, so the first dead letter in
        the life of a process would raise no alarm.
        """
        reasons = tuple(reasons)
        for topic in topics:
            for result in _RESULTS:
                self.events.labels(topic, result)
            for status in _STATUSES:
                self.outcomes.labels(topic, status)
            self.outcome_seconds.labels(topic)
            for reason in reasons:
                self.dead_letters.labels(topic, reason)

    def checked(self, checks: Mapping[str, str | None]) -> None:
        """Notes what /health/ready would say now: a check with why it fails, or None."""
        for name, why in checks.items():
            self.ready.labels(name).set(why is None)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


@dataclass(slots=True)
class Sparing:
    """A reading that is not repeated sooner than a hundred times its own duration, nor sooner than `least` seconds."""

    read: Callable[[], Awaitable[None]]
    least: float = 1.0
    _next: float = 0.0

    async def __call__(self) -> None:
        """Reads if it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self.least
        await self.read()
        self._next = max(self._next, time.monotonic() + 100 * (time.monotonic() - now))
