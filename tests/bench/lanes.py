"""The lanes of one worker on a virtual clock: purchases become users, users become accounts.

Which calls begin, and when, is decided by the worker's own pure code (`choose`, `Pace`); modelled here is only what
surrounds it: steps that queue, calls that take a while, the call log of the rolling hour.
"""

from __future__ import annotations

import heapq
import itertools
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from worker.dispatch.choose import IN_FLIGHT, Situation, choose
from worker.dispatch.pacing import FULL, HOUR, MINUTE, SAMPLE, WINDOW, BudgetLeft, Pace, Stream
from worker.engine.states import StepState
from worker.ledger.budget import Budget
from worker.ledger.rows import Lane
from worker.partner.operations import OPERATIONS

USERS, ACCOUNTS = "createEvaluationUsers", "createEvaluationAccounts"

_SURVEYED = 500
"""Steps of a lane that the worker's survey reads."""

_EPOCH = datetime(2026, 11, 20, tzinfo=UTC)


@dataclass(slots=True)
class Measured:
    """One lane's sends in the window, as `worker.ledger.pacing_figures` reads them from the call log."""

    sends: deque[tuple[float, int]] = field(default_factory=deque)
    items: int = 0
    minute: deque[float] = field(default_factory=deque)  # part-filled calls of the last minute
    sample: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SAMPLE + 1))
    paces: deque[tuple[float, float]] = field(default_factory=deque)  # falling, so that the first is the quickest

    def sent(self, now: float, items: int) -> None:
        """A call begins."""
        self.sends.append((now, items))
        self.items += items
        if items >= FULL:
            return
        self.minute.append(now)
        self.sample.append((now, items))
        if len(self.sample) > SAMPLE:
            carried = sum(each for _, each in itertools.islice(self.sample, 1, None))
            pace = carried / max(now - self.sample[0][0], 0.001)
            while self.paces and self.paces[-1][1] <= pace:
                self.paces.pop()
            self.paces.append((now, pace))

    def stream(self, now: float) -> Stream:
        """The window that ends now."""
        while self.sends and self.sends[0][0] <= now - WINDOW:
            self.items -= self.sends.popleft()[1]
        while self.minute and self.minute[0] <= now - MINUTE:
            self.minute.popleft()
        while self.sample and self.sample[0][0] <= now - WINDOW:
            self.sample.popleft()
        while self.paces and self.paces[0][0] <= now - WINDOW:
            self.paces.popleft()
        return Stream(
            self.items,
            self.paces[0][1] if self.paces else 0.0,
            len(self.sends) - self.items / FULL,
            len(self.minute),
        )


@dataclass(slots=True)
class Report:
    """What came of a run. Latencies in seconds, in the order in which purchases ended."""

    calls: int = 0
    busiest: int = 0  # most calls in any rolling hour, sessions included
    dry: int = 0  # looks at which a call could have gone and the budget had none left
    dry_since: float | None = None
    minute_dry: int = 0  # the same of the rolling minute's budget
    busiest_minute: int = 0
    latencies: array[float] = field(default_factory=lambda: array("d"))

    def quantile(self, part: float) -> float:
        """The latency below which `part` of the purchases stayed."""
        ordered = sorted(self.latencies)
        return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0.0


@dataclass(slots=True)
class Lanes:
    """A worker with so many calls an hour and a minute. `call`: seconds of a call from claim to record."""

    hourly: int = 4500
    minute: int = 600
    shortest: float = 0.005
    longest: float = 60.0
    call: float = 0.06
    report: Report = field(default_factory=Report)
    _waiting: dict[str, deque[tuple[float, float]]] = field(default_factory=lambda: {USERS: deque(), ACCOUNTS: deque()})
    _measured: dict[str, Measured] = field(default_factory=lambda: {USERS: Measured(), ACCOUNTS: Measured()})
    _in_flight: list[tuple[float, int, str, list[tuple[float, float]]]] = field(default_factory=list)
    _spent: deque[float] = field(default_factory=deque)  # ends of the calls that the rolling hour still counts
    _recent: deque[float] = field(default_factory=deque)  # the same for the rolling minute
    _number: int = 0
    _arrived: float = -HOUR

    def run(self, purchases: Iterable[float], *, until: float) -> Report:
        """Lets purchases come in at these times (rising, seconds) and goes on until all are done, or `until`."""
        budget = Budget(self.hourly, self.minute)
        pace = Pace(self.shortest, self.longest, budget.minute_limit(reserve=False))
        arrivals = iter(purchases)
        coming = next(arrivals, None)
        again: float | None = None
        users = self._waiting[USERS]
        session = 0.0  # the login, and a renewal 15 minutes before each end of a token of 80
        while True:
            times = [
                time for time in (coming, again, self._in_flight[0][0] if self._in_flight else None) if time is not None
            ]
            if not times or min(times) >= until:
                return self.report
            now = min(times)
            look = again is not None and now >= again
            while session <= now:
                self._spent.append(session)
                self._recent.append(session)
                session += 65 * 60
            while self._in_flight and self._in_flight[0][0] <= now:
                self._end(*heapq.heappop(self._in_flight))
                look = True
            while coming is not None and coming <= now:
                # What comes in while a lane waits changes nothing until a call is full.
                look = look or not users or (len(users) + 1) % FULL == 0
                users.append((coming, coming))
                self._arrived = coming
                coming = next(arrivals, None)
            if look:
                again = self._look(now, pace, budget)

    def _end(self, now: float, _: int, lane: str, steps: list[tuple[float, float]]) -> None:
        if lane == USERS:
            self._waiting[ACCOUNTS].extend((now, born) for _, born in steps)
        else:
            self.report.latencies.extend(now - born for _, born in steps)

    def _used(self, now: float) -> int:
        while self._spent and self._spent[0] <= now - HOUR:
            self._spent.popleft()
        return len(self._spent)

    def _used_in_minute(self, now: float) -> int:
        while self._recent and self._recent[0] <= now - MINUTE:
            self._recent.popleft()
        return len(self._recent)

    def _look(self, now: float, pace: Pace, budget: Budget) -> float | None:
        """One turn of the dispatcher's loop; when to look again at the latest."""
        lanes = [
            Lane(name, StepState.DUE, None, min(len(steps), _SURVEYED), _time(steps[0][0]), _time(self._newest(steps)))
            for name, steps in self._waiting.items()
            if steps
        ]
        if not lanes:
            return None
        used = self._used(now)
        left = budget.limit(reserve=False) - used
        minute_left = budget.minute_limit(reserve=False) - self._used_in_minute(now)
        calls_left = BudgetLeft(left, minute_left)
        coming = bool(self._in_flight) or now - self._arrived < self.shortest
        streams = {name: seen.stream(now) for name, seen in self._measured.items()}
        situation = Situation(
            now=_time(now),
            free=IN_FLIGHT - len(self._in_flight),
            held=lambda _lane: None,
            linger=lambda name: pace.linger(calls_left, streams, name),
            shortest=self.shortest,
            coming=lambda _name: coming,
        )
        starts, at = choose(lanes, OPERATIONS, situation)
        for start in starts:
            items = start.items
            while items > 0:
                if left <= 0:
                    self.report.dry += 1
                    if self.report.dry_since is None:
                        self.report.dry_since = now
                    return self._spent[0] + HOUR + 0.001
                if minute_left <= 0:
                    self.report.minute_dry += 1
                    return self._recent[0] + MINUTE + 0.001
                size = min(items, FULL)
                self._begin(now, start.lane.operation, size)
                items -= size
                left -= 1
                minute_left -= 1
        self.report.busiest = max(self.report.busiest, self._used(now))
        self.report.busiest_minute = max(self.report.busiest_minute, self._used_in_minute(now))
        if starts:
            return now + 0.001
        return None if at is None else max((at - _EPOCH).total_seconds(), now + 0.0005)

    def _newest(self, steps: deque[tuple[float, float]]) -> float:
        return steps[min(len(steps), _SURVEYED) - 1][0]

    def _begin(self, now: float, lane: str, items: int) -> None:
        steps = [self._waiting[lane].popleft() for _ in range(items)]
        self._measured[lane].sent(now, items)
        self._number += 1
        self.report.calls += 1
        self._spent.append(now + self.call)  # it counts from its answer on
        self._recent.append(now + self.call)
        heapq.heappush(self._in_flight, (now + self.call, self._number, lane, steps))


def _time(seconds: float) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)
