"""What must hold of calls, by the partner's own log of them: budgets, lock-outs, logins."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

from tests.torture.promises import Breach, Promise
from tests.torture.system import LOCKOUT, System
from worker.sandbox.recorded_calls import CallRecord

GRACE = 5.5
"""Seconds after the first 429 was sent in which calls may still arrive: those that had been begun in the ledger leave
within five seconds or not at all.
"""

ON_THE_WAY = 0.3
"""Seconds. A call that was begun before a login may reach the partner after it, one at a time."""


def calls(system: System) -> Iterator[Breach]:
    """Every breach of a budget, a lock-out or a session in use."""
    core = system.partner.sandbox.core
    times = [record.at for record in core.calls.records]
    for name, span, setting in (("hour", 3600.0, "HOURLY"), ("minute", 60.0, "MINUTE")):
        most = int(system.env[f"TRADOVATE_{setting}_BUDGET"])
        highest = _most_within(times, span)
        if highest > most:
            yield Breach(Promise.BUDGET, f"{highest} calls in a rolling {name}; the budget is {most}")
    yield from in_lock_outs(core.calls.records)
    yield from _closed_in_use(core.sessions.evicted, core.calls.records)


def _most_within(times: Iterable[float], span: float) -> int:
    window: deque[float] = deque()
    highest = 0
    for at in times:
        window.append(at)
        while window[0] <= at - span:
            window.popleft()
        highest = max(highest, len(window))
    return highest


def in_lock_outs(records: Iterable[CallRecord]) -> Iterator[Breach]:
    """Calls in the time without calls that a 429 begins: it lasts as long as the setting says, also where the partner
    answers again before.
    """
    every = list(records)
    for locked_out, some in itertools.groupby(every, key=lambda record: record.locked_out):
        refused = list(some) if locked_out else []
        while refused:
            since = refused[0].ended_at or refused[0].at
            first = [f"{record.path} {record.at - since:+.1f} s" for record in refused[:10]]
            # What is refused later is the first call after another lock-out, which began while nobody called.
            refused = [record for record in refused if record.at >= since + LOCKOUT]
            kept = [record for record in every if since + GRACE < record.at < since + LOCKOUT]
            late = [f"{record.path} {record.at - since:+.1f} s" for record in kept]
            if late:
                yield Breach(Promise.LOCK_OUT, f"{late}, after the first 429; the first ones: {first}")


def _closed_in_use(closed: Iterable[tuple[int, float]], records: Iterable[CallRecord]) -> Iterator[Breach]:
    """Sessions that a third login closed, and that went on being used. One that was given up, because it was doubtful
    and its renewal failed, is not in use; that is seen from outside by no further call.
    """
    of_session: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record.token_id is not None:
            of_session[record.token_id.partition(".")[0]].append(record.at)
    for number, at in closed:
        later = [began - at for began in of_session[str(number)] if began > at + ON_THE_WAY]
        if len(later) > 1:
            what = f"session {number} was closed by a third login; {len(later)} calls used it afterwards"
            yield Breach(Promise.LOGINS, f"{what}, the first {later[0]:.1f} s later")
