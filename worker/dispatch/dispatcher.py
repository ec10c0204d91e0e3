"""The loop of a replica: what could go now, what goes first, one task a call, and what came of it into the ledger."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from worker.backoff import Schedule
from worker.dispatch.calls import Caller
from worker.dispatch.choose import Coming, Situation, Start, choose
from worker.dispatch.maintenance import window_end
from worker.dispatch.pacing import FULL, SAMPLE, Pace, Stream
from worker.ledger.calls import SESSION_SCOPE, Closed
from worker.ledger.claims import CallKind, Claims
from worker.ledger.database import DatabaseError
from worker.ledger.ledger import Ledger
from worker.ledger.pace import Traffic, traffic
from worker.ledger.rows import PLAN, Lane, OutcomeRow, StepState
from worker.session import NoSession, SessionKeeper, Token
from worker.tradovate.operation import Operation

log = structlog.get_logger()

IN_FLIGHT = 16
"""Calls that one replica has in flight: at 50 ms a call some 300 calls a second, far beyond any budget; what it bounds
is memory, and how much is in doubt when a replica dies."""

URGENT_ONLY = 4
"""Of these, kept free for what may use the reserve: a revocation never waits for a slow call to end."""

LOOK_AGAIN = 0.5
"""Seconds after which the ledger is looked at even if nothing has happened here: another replica's work, a person's
`resume` or `retry` must show within 2 s."""

REAP_EVERY = 1.0
"""Seconds between looks for leases that ran out; part of the 15 s within which work goes on elsewhere."""


@dataclass(slots=True)
class Dispatcher:
    """Takes due steps out of the ledger and brings their results back. `run` is the loop, `run_once` its body."""

    ledger: Ledger
    claims: Claims
    caller: Caller
    session: SessionKeeper
    operations: Mapping[str, Operation]
    pace: Pace
    settle: timedelta
    publish: Callable[[Sequence[OutcomeRow]], None]
    maintenance: bool = True
    arriving: Callable[[], bool] = lambda: False  # records are being taken, or wait to be
    arrived: Callable[[], bool] = lambda: False  # something came in within the shortest wait
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _held: dict[str, datetime] = field(default_factory=dict)
    _reaped: float = 0.0
    _empty: int = 0
    progress: float = field(default_factory=time.monotonic)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set; then begins nothing more and returns (see `drain`)."""
        pause = Schedule(base=0.2, cap=5.0)
        failures = 0
        while not stopping.is_set():
            self.wake.clear()
            try:
                again = await self.run_once()
                failures = 0
            except DatabaseError as error:
                failures += 1
                seconds = pause.delay(failures, random.random) + 0.1
                log.warning("dispatch.database_away", error=error.reason, retry_in_seconds=round(seconds, 2))
                again = self.clock() + timedelta(seconds=seconds)
            self.progress = time.monotonic()
            await self._sleep(again)

    async def _sleep(self, again: datetime | None) -> None:
        seconds = LOOK_AGAIN
        if again is not None:
            seconds = min(max((again - self.clock()).total_seconds(), 0.0005), LOOK_AGAIN)
        try:
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        except TimeoutError:
            return

    async def run_once(self) -> datetime | None:
        """One look at the ledger; begins what may begin. Returns when to look again at the latest."""
        if time.monotonic() - self._reaped >= REAP_EVERY:
            self._reaped = time.monotonic()
            await self.ledger.reap(self.settle)
        # Read side by side: the traffic is not needed every time, but when it is, a lone event waits for it.
        (lanes, next_due), seen = await asyncio.gather(self.ledger.survey(list(self.operations)), self._traffic())
        if any(lane.operation == PLAN for lane in lanes):
            self.publish(await self.ledger.replan() or ())
            return self.clock()
        if not lanes:
            return next_due
        try:
            token = self.session.current() or await self.session.ensure()
            return await self._begin_all(lanes, seen, token, next_due)
        except NoSession as none:
            log.info("dispatch.no_session", why=none.why)
            return none.until

    async def _traffic(self) -> Traffic:
        lingering = [each.name for each in self.operations.values() if each.lingers]
        return await traffic(self.ledger.database, lingering, full=FULL, sample=SAMPLE)

    async def _begin_all(
        self, lanes: Sequence[Lane], seen: Traffic, token: Token, next_due: datetime | None
    ) -> datetime | None:
        starts, again = choose(lanes, self.operations, self._situation(lanes, seen))
        begun = 0
        for start in starts:
            count = await self._begin(start, token)
            if count is None:
                return self.clock()  # the token has been replaced, or must be renewed first
            begun += count
        if starts and not begun:
            # What is ready is held up by a call that names the same trader: the end of that call wakes the loop.
            self._empty = min(self._empty + 1, 8)
            return self.clock() + timedelta(milliseconds=2**self._empty)
        self._empty = 0
        return min((time for time in (again, next_due) if time is not None), default=None)

    def _situation(self, lanes: Sequence[Lane], seen: Traffic) -> Situation:
        now = self.clock()
        streams = {
            name: Stream(sent.items, sent.quickest, sent.calls - sent.items / FULL) for name, sent in seen.sent.items()
        }
        left = self.pace.budget - seen.used
        closing = window_end(now) if self.maintenance else None

        def held(operation: Operation, state: StepState) -> datetime | None:
            if operation.maintenance and closing is not None and state is StepState.DUE:
                return closing
            blocked = self._held if state is StepState.DUE else self.caller.cannot_look_until
            until = blocked.get(operation.name)
            return until if until is not None and until > now else None

        urgent = any(self.operations[lane.operation].reserve for lane in lanes)
        free = IN_FLIGHT - len(self._tasks) - (0 if urgent else URGENT_ONLY)
        return Situation(
            now=now,
            free=free,
            held=held,
            wait=lambda name: self.pace.wait(left, streams, name),
            shortest=self.pace.shortest,
            coming=self._coming(),
        )

    def _coming(self) -> Coming:
        if self.arriving():
            return Coming.SURELY
        return Coming.PERHAPS if self.arrived() or self.caller.feeding else Coming.NOTHING

    async def _begin(self, start: Start, token: Token) -> int | None:
        """Claims and sends; how many calls have begun, or None when the session must be looked at first."""
        operation = self.operations[start.lane.operation]
        if start.lane.state is StepState.UNKNOWN:
            batch = await self.claims.looks(start.lane, start.items)
            if batch is None:
                return 0
            self._spawn(self.caller.look_up(operation, batch))
            return 1
        kind = CallKind(
            operation.name,
            operation.domain,
            operation.most,
            operation.reserve,
            operation.limit(self.claims.budget.hourly),
            operation.joined,
        )
        begun = time.monotonic()
        batches = await self.claims.sends(kind, start.lane, start.items, token.generation, start.calls)
        if isinstance(batches, Closed) and batches.scope == SESSION_SCOPE:
            await self.session.ensure()
            return None
        if isinstance(batches, Closed):
            # A person may lift the hold at any time, so it is asked again soon; it costs one short query.
            until = min(batches.until or self.clock() + timedelta(seconds=1), self.clock() + timedelta(seconds=1))
            self._held[operation.name] = until
            log.info("dispatch.held", operation=operation.name, why=batches.why)
            return 0
        for batch in batches:
            if batch.steps:
                self._spawn(self.caller.send(operation, batch, token, begun))
        return len(batches)

    def _spawn(self, work: Awaitable[Sequence[OutcomeRow]]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _guarded(self, work: Awaitable[Sequence[OutcomeRow]]) -> None:
        self.publish(await work)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.wake.set()
        if not task.cancelled() and task.exception() is not None:
            # The lease runs out and the steps are looked up: nothing is lost, but this should be seen.
            log.error("dispatch.call_failed", exc_info=task.exception())

    @property
    def in_flight(self) -> int:
        """Calls in flight."""
        return len(self._tasks)

    async def drain(self, seconds: float) -> None:
        """Waits for calls in flight; what is not over after `seconds` is left in doubt, for whoever is next."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
