"""The call log, and what can be read from it: overlaps, the rolling hour, calls that broke a lock-out's silence."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["CallLog", "CallRecord"]

KEEP_CALLS = 100_000
"""Calls that are kept to be looked at; counts go on beyond it."""

KEEP_OVERLAPS = 1_000


@dataclass(slots=True)
class CallRecord:
    """One call. `in_flight` is how many others were under way when it came. Times are epoch seconds."""

    number: int
    at: float
    domain: str
    path: str
    via: str
    items: int
    token_id: str | None
    in_flight: int
    locked_out: bool = False
    status: int | None = None
    ended_at: float | None = None
    faults: list[str] = field(default_factory=list)
    writes: bool = False
    traders: frozenset[str] = frozenset()

    def public(self) -> dict[str, Any]:
        return {**asdict(self), "traders": sorted(self.traders)}


class CallLog:
    """Every call since the start or the last reset."""

    def __init__(self) -> None:
        self.records: deque[CallRecord] = deque(maxlen=KEEP_CALLS)
        self.total = 0
        self.in_flight: dict[int, CallRecord] = {}
        self.most_in_flight = 0
        self.during_lockout = 0
        self.wrong_host: Counter[str] = Counter()
        self.by_path: Counter[str] = Counter()
        self.items_by_path: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.same_trader_overlaps = 0
        self.same_trader_write_overlaps = 0
        self.overlaps: deque[dict[str, Any]] = deque(maxlen=KEEP_OVERLAPS)
        self._busy: dict[str, list[CallRecord]] = {}

    def begin(self, record: CallRecord) -> None:
        """Note that a call came, and every trader whom another call under way names too."""
        self.total += 1
        self.by_path[record.path] += 1
        self.items_by_path[record.path] += record.items
        self.during_lockout += record.locked_out
        clashes: dict[int, tuple[CallRecord, str]] = {}
        for trader in record.traders:
            others = self._busy.setdefault(trader, [])
            for other in others:
                clashes.setdefault(other.number, (other, trader))
            others.append(record)
        for other, trader in clashes.values():
            self.same_trader_overlaps += 1
            self.same_trader_write_overlaps += record.writes and other.writes
            self.overlaps.append(
                {"trader": trader, "first": other.path, "second": record.path, "calls": [other.number, record.number]}
            )
        self.in_flight[record.number] = record
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        self.records.append(record)

    def leave(self, record: CallRecord) -> None:
        """Note that nobody waits for the call any more: it was answered, or the caller hung up."""
        if self.in_flight.pop(record.number, None) is None:
            return
        for trader in record.traders:
            others = self._busy[trader]
            others.remove(record)
            if not others:
                del self._busy[trader]

    def end(self, record: CallRecord, status: int, now: float) -> None:
        """Note the answer; status 0 is a connection that ended without one."""
        self.leave(record)
        record.status = status
        record.ended_at = now
        self.by_status[status] += 1
