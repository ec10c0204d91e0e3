"""The loop of a replica: what could go now, what goes first, a task for each call, and its results into the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog

from worker.dispatch.caller import Caller, Following
from worker.dispatch.choose import IN_FLIGHT, Situation, Start, choose, slots
from worker.dispatch.held_lanes import HeldLanes
from worker.dispatch.lone_calls import LONE, LoneCalls
from worker.dispatch.maintenance import window_end
from worker.dispatch.operation_rules import kind_of
from worker.dispatch.pacing import FULL, SAMPLE, BudgetLeft, Pace, Stream
from worker.dispatch.wake_up import WakeUp
from worker.engine.states import PLAN, SharedBatch, StepState
from worker.ledger.budget import SESSION_SCOPE, Closed
from worker.ledger.claims import Claims
from worker.ledger.database import DatabaseError
from worker.ledger.ledger import SURVEYED, Ledger
from worker.ledger.pacing_figures import Traffic, traffic
from worker.ledger.rows import Batch, Lane, OutcomeRow
from worker.partner.operation import Operation
from worker.session import NoSession, SessionKeeper, Token
from worker.telemetry.log_on_change import LastReported

log = structlog.get_logger()

SURVEY_AGAIN = 0.5
"""Seconds after which the ledger is looked at even if nothing has happened here: another replica's work, an operator's
`resume` or `retry` must show within 2 s."""

SEEN_LONG_AGO = 0.1
"""Seconds. What has been surveyed is not acted upon for longer: when the ledger is slow, something more urgent may have
come meanwhile."""

REAP_EVERY = 1.0
"""Seconds between looks for leases that ran out; part of the 15 s within which work goes on elsewhere."""

ASIDE_SECONDS = 0.2
"""The longest wait of the loop for planning and reaping, which take some ten milliseconds."""


@dataclass(slots=True)
class Dispatcher:
    """Takes due steps out of the ledger and brings their results back. `run` is the loop, `run_once` its body.

    What is due, and for how long a step has lingered, follows from the database's clock (`ledger.clock`); everything
    that is measured in this process by the monotonic one.
    """

    ledger: Ledger
    claims: Claims
    caller: Caller
    session: SessionKeeper
    operations: Mapping[str, Operation]
    pace: Pace
    settle: timedelta
    publish: Callable[[Sequence[OutcomeRow]], None]
    maintenance: bool = True
    coming: Callable[[], bool] = lambda: False  # more events are seen to be coming
    alone: Callable[[], bool] = lambda: False  # those that are being accepted have come alone
    wake: WakeUp = field(default_factory=WakeUp)
    lone_calls: LoneCalls = field(init=False)
    progress: float = field(default_factory=time.monotonic)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _held: HeldLanes = field(default_factory=HeldLanes)
    _said: LastReported = field(default_factory=LastReported)
    _beside: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _reaped: float = 0.0
    _queues_empty: bool = False  # as the last look has found them
    _no_look: set[asyncio.Task[Any] | None] = field(default_factory=set)  # tasks whose transaction left nothing in them

    def __post_init__(self) -> None:
        """The caller begins what follows a call."""
        self.lone_calls = LoneCalls(
            self.claims,
            self.session,
            self.operations,
            self.caller.feeding,
            lambda: len(self._tasks),
            self.coming,
            self.alone,
            self._send_begun,
        )
        self.caller.following, self.caller.begun = self.lone_calls.after, self.lone_calls.send

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set; then begins nothing more and returns (see `drain`)."""
        while not stopping.is_set():
            self.wake.clear()
            try:
                seconds = await self.run_once()
            except DatabaseError as error:
                seconds = SURVEY_AGAIN
                if self._said.changed("database", error.reason):
                    log.warning("dispatch.database_away", error=error.reason)
            self.progress = time.monotonic()
            await self.wake.wait(min(max(seconds, 0.0005), SURVEY_AGAIN))

    @property
    def trouble(self) -> str | None:
        """Why the ledger does not let this loop, or a call that has ended, go on; None when it does."""
        said = (self._said.current(name) for name in ("database", "reap", "replan"))
        return self.caller.trouble or next((str(why) for why in said if why is not None), None)

    async def run_once(self) -> float:
        """One look at the ledger; begins what may begin. Returns the seconds until the next look at the latest."""
        if time.monotonic() - self._reaped >= REAP_EVERY:
            self._reaped = time.monotonic()
            await self._aside("reap", self._reap)
        # Read side by side: the traffic is not needed every time, but when it is, a lone event waits for it.
        (lanes, next_due), seen = await asyncio.gather(self._survey(), self._traffic())
        if self._said.ended("database"):
            log.info("dispatch.database_back")
        planned = any(lane.operation == PLAN for lane in lanes)
        if planned:
            await self._aside("replan", self._replan)
            lanes, next_due = await self._survey()
        self._queues_empty = not lanes
        # Calls are begun in every round: ten thousand flows that wake up together must not hold up a revocation.
        ready = [lane for lane in lanes if lane.operation != PLAN]
        if ready:
            wait = await self._begin_ready(ready, seen)
        else:
            wait = SURVEY_AGAIN
            self.lone_calls.note((), self._situation(seen))
        if planned and "replan" not in self._beside:
            return 0.0
        return wait if next_due is None else min(wait, self._seconds_until(next_due))

    async def _aside(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Waits for this work, but not for long: what waits for a row that another transaction holds must not hold up
        calls. It goes on by itself then, once at a time.
        """
        task = self._beside.get(name)
        if task is None:
            task = self._beside[name] = asyncio.create_task(self._noted(name, work), name=name)
        await asyncio.wait({task}, timeout=ASIDE_SECONDS)

    async def _noted(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except DatabaseError as error:
            if self._said.changed(name, error.reason):
                log.warning("dispatch.waits", work=name, error=error.reason)
            await asyncio.sleep(SURVEY_AGAIN)  # it is not begun again before
        else:
            self._said.ended(name)
            self.wake.set()
        finally:
            del self._beside[name]

    async def _reap(self) -> None:
        await self.ledger.reap(self.settle)

    async def _replan(self) -> None:
        self.publish(await self.ledger.replan() or ())

    async def _survey(self) -> tuple[Sequence[Lane], datetime | None]:
        return await self.ledger.survey(list(self.operations))

    async def _traffic(self) -> Traffic:
        lingering = [each.name for each in self.operations.values() if each.batching.lingers]
        budget = self.claims.budget
        return await traffic(self.ledger.database, lingering, budget, full=FULL, sample=SAMPLE)

    def _seconds_until(self, at: datetime) -> float:
        return max(0.0, (at - self.ledger.clock.now()).total_seconds())

    async def _begin_ready(self, lanes: Sequence[Lane], seen: Traffic) -> float:
        """Begins calls; the seconds until the next look at the latest."""
        try:
            token = self.session.current() or await self.session.ensure()
            wait = await self._begin_all(lanes, seen, token)
        except NoSession as none:
            if self._said.changed("session", none.why):
                log.info("dispatch.no_session", why=none.why)
            return SURVEY_AGAIN if none.until is None else self._seconds_until(none.until)
        self._said.ended("session")
        return wait

    async def _begin_all(self, lanes: Sequence[Lane], seen: Traffic, token: Token) -> float:
        surveyed = time.monotonic()
        situation = self._situation(seen)
        self.lone_calls.note(lanes, situation)
        starts, again = choose(lanes, self.operations, situation)
        look_again = False
        for start in starts:
            operation, now = self.operations[start.lane.operation], time.monotonic()
            if now - surveyed > SEEN_LONG_AGO:
                return 0.0
            # Calls that have ended meanwhile, and what the lanes before have taken, are counted.
            free = slots(IN_FLIGHT - len(self._tasks), operation)
            if not free:
                break
            if self._held.until(operation, start.lane, now) is not None:
                continue  # by what has come of an earlier start
            calls = min(start.calls, free)
            begun = await self._begin(operation, start, calls, token)
            if begun is None:
                return 0.0  # the token has been replaced, or must be renewed first
            # What a lane leaves free is for the others; and of a long one the survey has seen the beginning only.
            look_again |= self._held.until(operation, start.lane, now) is not None or start.lane.ready >= SURVEYED
        if look_again:
            return 0.0
        return SURVEY_AGAIN if again is None else self._seconds_until(again)

    def _send_begun(self, following: Following) -> None:
        """Sends the calls that a transaction of this task has begun."""
        if following.next_call.all_begun and self._queues_empty:
            self._no_look.add(asyncio.current_task())
        for name, batch in following.next_call.batches:
            operation = self.operations[name]
            self._held.begun(operation, StepState.DUE, time.monotonic())
            self._spawn(self.caller.send(operation, batch, following.token, self.wake.sent))
            self.wake.quiet()

    def look_soon(self, task: asyncio.Task[Any] | None) -> None:
        """What `task` has written is looked for, unless all of it has been begun."""
        if task in self._no_look:
            self._no_look.discard(task)
        else:
            self.wake.soon()

    def _situation(self, seen: Traffic) -> Situation:
        now, here = self.ledger.clock.now(), time.monotonic()
        streams = {
            name: Stream(sent.items, sent.quickest, sent.calls - sent.items / FULL, sent.part_filled)
            for name, sent in seen.sent.items()
        }
        budget = self.claims.budget
        left = BudgetLeft(
            budget.limit(reserve=False) - seen.used, budget.minute_limit(reserve=False) - seen.minute_used
        )
        closing = window_end(now) if self.maintenance else None
        arriving = self.coming()

        def held(lane: Lane) -> datetime | None:
            operation = self.operations[lane.operation]
            if operation.limits.maintenance and closing is not None and lane.state is StepState.DUE:
                return closing
            until = self._held.until(operation, lane, here)
            return None if until is None else now + timedelta(seconds=until - here)

        return Situation(
            now=now,
            free=IN_FLIGHT - len(self._tasks),
            held=held,
            linger=lambda name: self.pace.linger(left, streams, name),
            shortest=self.pace.shortest,
            coming=lambda name: arriving or self.caller.feeding[name] > 0,
        )

    async def _begin(self, operation: Operation, start: Start, calls: int, token: Token) -> int | None:
        """Claims and sends; how many calls have begun, or None when the session must be looked at first."""
        lane, items = start.lane, start.items
        if lane.state is StepState.UNKNOWN:
            rejected = SharedBatch.LOOKED_UP.made(lane.batch_id)
            items = min(items, self.caller.look_up_sizes.of(operation.name, rejected_batch=rejected))
        batches = await self._claimed(operation, lane, items, calls, token)
        if isinstance(batches, Closed):
            if batches.scope == SESSION_SCOPE:
                await self.session.ensure()
                return None
            self._held.closed(operation, lane.state, batches, time.monotonic())
            return 0
        for batch in batches:
            if lane.state is StepState.UNKNOWN:
                self._spawn(self.caller.look_up(operation, batch))
            elif batch.steps:
                self._spawn(self.caller.send(operation, batch, token))
        if batches:
            self._held.begun(operation, lane.state, time.monotonic())
        if len(batches) < calls and sum(len(batch.steps) for batch in batches) < items:
            self._held.blocked(lane, time.monotonic())
        return len(batches)

    async def _claimed(
        self, operation: Operation, lane: Lane, items: int, calls: int, token: Token
    ) -> Sequence[Batch] | Closed:
        kind = kind_of(operation, self.claims.budget)
        if lane.state is StepState.UNKNOWN:
            return await self.claims.look_ups(kind, lane, items, token.generation)
        return await self.claims.sends(kind, lane, items, token.generation, calls)

    def _spawn(self, work: Awaitable[Sequence[OutcomeRow]]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _guarded(self, work: Awaitable[Sequence[OutcomeRow]]) -> None:
        outcomes = await work
        self.publish(outcomes)
        if 0 < len(outcomes) <= LONE:
            self.wake.quiet()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._held.unblocked()
        self.look_soon(task)
        if not task.cancelled() and task.exception() is not None:
            # The lease runs out and the steps are looked up: nothing is lost, but this should be seen.
            log.error("dispatch.call_failed", exc_info=task.exception())

    @property
    def in_flight(self) -> int:
        """Calls in flight."""
        return len(self._tasks)

    async def drain(self, seconds: float) -> None:
        """Waits for calls in flight; the results of those that last longer are left unknown, for another replica."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = [*self._tasks, *self._beside.values()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=2)
