"""One call from claim to record: build, send, settle, write. And one look-up, likewise."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

import orjson
import structlog

from worker.backoff import Schedule
from worker.dispatch.reader import LookUpReader, with_ticket
from worker.dispatch.settle import NOTHING, Settler
from worker.flows import FLOWS
from worker.flows.base import Rules, TraderView, View
from worker.ledger import holds
from worker.ledger.budget import BEGUN_WITHIN
from worker.ledger.calls import finish_read, result_name
from worker.ledger.claims import Claims
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, DatabaseError
from worker.ledger.holds import Hold
from worker.ledger.ledger import Ledger
from worker.ledger.recording import record
from worker.ledger.rows import Batch, Claimed, Company, Later, Move, OutcomeRow, StepState
from worker.ops.tracing import Traced, Tracing
from worker.replies import Absent, NotSent, Reply, Ticket, Unauthorized, Unclear, Unknown
from worker.session import NoSession, SessionKeeper, Token
from worker.tradovate.client import PartnerClient
from worker.tradovate.operation import CannotLook, Item, Operation, Unreadable

log = structlog.get_logger()

CANNOT_LOOK = timedelta(seconds=1)
"""How long steps rest whose look-up could not be made, twice as long after each further time in a row. What holds back
all look-ups is found before steps are claimed (`Claims.looks`); this is a penalty at what they read, or a lost race."""

CANNOT_LOOK_MOST = timedelta(seconds=32)
"""A penalty with a captcha lasts an hour: a thousand steps are not claimed and released every second of it."""


WRITING = 4
"""Results that are written at the same time. Of six ordinary connections of a replica two are left, so that events are
accepted and outcomes published however slow that is."""

T = TypeVar("T")


@dataclass(slots=True)
class Caller:
    """Makes calls for the dispatcher."""

    ledger: Ledger
    claims: Claims
    client: PartnerClient
    session: SessionKeeper
    vault: Vault
    rules: Rules
    schedule: Schedule
    settle: timedelta
    observe: Callable[[str, str, int, float], None] = lambda *_: None
    tracing: Tracing = field(default_factory=Tracing)
    crash: Callable[[str], None] = lambda _point: None
    feeding: Counter[str] = field(default_factory=Counter)  # by operation: calls in flight that bring steps of it
    _waiting: dict[int, str] = field(default_factory=dict)  # by call: why its result is not written yet
    _writing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WRITING))
    cannot_look: Counter[str] = field(default_factory=Counter)  # by operation: look-ups in a row that were not made

    @property
    def trouble(self) -> str | None:
        """Why results of calls cannot be written, or None."""
        return next(iter(self._waiting.values()), None)

    async def send(self, operation: Operation, batch: Batch, token: Token) -> Sequence[OutcomeRow]:
        """Sends a batch that has been claimed and records what came of it."""
        steps = list(batch.steps)
        if batch.ticket is not None:
            steps.sort(key=lambda step: step.context.get("place", 0))
        pairs = [(step, self._item(step, operation)) for step in steps]
        body = orjson.dumps(operation.request([item for _, item in pairs]))
        sent = self._with_ticket(body, batch.ticket)
        started = time.monotonic()
        self.crash("before_call")
        self.feeding.update(operation.feeds)
        try:
            try:
                reply = await self.client.post(
                    operation.domain,
                    operation.path,
                    sent,
                    token=token,
                    send_before=batch.begun + BEGUN_WITHIN,
                )
            except asyncio.CancelledError:
                reply = Unclear("the worker was stopped")
            seconds = time.monotonic() - started
            self.crash("after_call")
            if isinstance(reply, NotSent):  # that was no attempt
                steps = [replace(step, attempts=step.attempts - 1) for step in steps]
                pairs = [(step, item) for step, (_, item) in zip(steps, pairs, strict=True)]
            self.observe(operation.vendor, result_name(reply), len(pairs), seconds)
            self._trace(operation, "send", steps, result_name(reply), seconds)
            denied = isinstance(reply, Unauthorized) and await self._denied(token)
            settler = Settler(self.schedule, self.settle, random.random())
            moves = settler.call(operation, reply, pairs, seconds=seconds, call_id=batch.call_id, denied=denied)
            held = self._keep_ticket(operation, reply, batch, body)
            self.crash("before_record")
            outcomes = await self._record(batch, list(zip(steps, moves, strict=True)), (batch.call_id, reply), held)
            self.crash("after_record")
            return outcomes
        finally:
            self.feeding.subtract(operation.feeds)

    def _trace(self, operation: Operation, kind: str, steps: Sequence[Claimed], result: str, seconds: float) -> None:
        if not self.tracing.on:
            return
        flows = [
            Traced(step.flow.trace, str(step.flow.id), step.flow.topic, step.flow.created_at, not step.flow.facts)
            for step in steps
        ]
        self.tracing.call(operation.vendor, kind, flows, result, seconds)

    async def _denied(self, token: Token) -> bool:
        """Whether a 401 under this token means a missing permission, which no other token would cure."""
        try:
            return not await self.session.reject(token.generation)
        except DatabaseError as error:
            log.warning("dispatch.reject_waits", error=error.reason)
            return False  # it goes again, and the next 401 tells

    def _with_ticket(self, body: bytes, ticket: Hold | None) -> bytes:
        """The same body goes again with its ticket, to the byte; one that has changed (a step of it was cancelled)
        cannot use the ticket and goes without.
        """
        if ticket is None or ticket.ticket is None or ticket.body_digest is None:
            return body
        return with_ticket(body, ticket.ticket) if self.vault.same(ticket.body_digest, body) else body

    def _item(self, step: Claimed, operation: Operation) -> Item:
        flow = step.flow
        view = View(
            flow.id,
            flow.event,
            flow.facts,
            TraderView(flow.trader_id),
            None,
            (),
            flow.created_at,
            self.ledger.clock.now(),
        )
        return FLOWS[flow.topic].item(view, operation.name, self.rules)

    def _keep_ticket(
        self, operation: Operation, reply: Reply, batch: Batch, body: bytes
    ) -> Callable[[Connection], Awaitable[None]] | None:
        """What the record must write besides: a ticket, and by what to tell the body that goes again with it."""
        if not isinstance(reply, Ticket) or reply.captcha:
            return None

        async def write(connection: Connection) -> None:
            await holds.put_ticket(
                connection,
                operation.name,
                reply.wait,
                reply.ticket,
                body_digest=self.vault.digest(body),
                company=Company.TICKET.of(batch.call_id),
            )

        return write

    async def _record(
        self,
        batch: Batch,
        moves: Sequence[tuple[Claimed, Move]],
        call: tuple[int, Reply] | None,
        held: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> Sequence[OutcomeRow]:
        answered = time.monotonic()
        return await self._until_written(
            batch.call_id,
            lambda: record(self.ledger, batch.lease, moves, call, held, time.monotonic() - answered),
        )

    async def _finish_read(self, call_id: int, reply: Reply, endpoint: str, asked: bytes) -> None:
        answered = time.monotonic()

        async def work(connection: Connection) -> None:
            left = max(0.0, self.ledger.lockout - (time.monotonic() - answered))
            await finish_read(connection, self.vault, call_id, reply, endpoint, asked, lockout_seconds=left)

        await self._until_written(call_id, lambda: self.ledger.database.atomically(work))

    async def _until_written(self, call_id: int, write: Callable[[], Awaitable[T]]) -> T:
        """Writes, however long the database is unavailable: what is known of a call must not be forgotten."""
        pause = Schedule(base=0.2, cap=5.0)
        waits: str | None = None
        for attempt in range(1, 1_000_000):
            try:
                async with self._writing:
                    written = await write()
                self._waiting.pop(call_id, None)
            except DatabaseError as error:
                if error.reason != waits:
                    waits = self._waiting[call_id] = error.reason
                    log.warning("dispatch.record_waits", call_id=call_id, error=waits)
                await asyncio.sleep(pause.delay(attempt, random.random) + 0.05)
            else:
                if waits is not None:
                    log.info("dispatch.recorded", call_id=call_id, attempts=attempt)
                return written
        raise AssertionError("unreachable")

    async def look_up(self, operation: Operation, batch: Batch) -> Sequence[OutcomeRow]:
        """Finds out what became of steps whose fate is unknown."""
        steps = batch.steps
        if operation.look_up is None:
            # Whoever sent it died before it could write down what came of it, and nobody can look.
            settler = Settler(self.schedule, self.settle, random.random())
            why = "its sender ended in the middle of the call"
            parked = [(step, settler.unknown(operation, step, 0.0, NOTHING, why)) for step in steps]
            return await self._record(batch, parked, None)
        items = [self._item(step, operation) for step in steps]
        reader = LookUpReader(
            self.claims,
            self.client,
            self.session,
            operation.name,
            batch.lease,
            operation.rank,
            operation.reserve,
            self._finish_read,
            self.observe,
        )
        started = time.monotonic()
        self.crash("before_look")
        try:
            with self.ledger.giving_up([batch.lease]):
                findings = await operation.look_up(reader, items)
        except Unreadable as unreadable:
            findings = [Unknown(str(unreadable))] * len(steps)
        except DatabaseError as error:
            log.warning("dispatch.look_up_waits", operation=operation.name, error=error.reason)
            return ()
        except (CannotLook, NoSession) as cannot:
            log.info("dispatch.cannot_look", operation=operation.name, why=cannot.why)
            rests = min(CANNOT_LOOK * 2 ** self.cannot_look[operation.name], CANNOT_LOOK_MOST)
            self.cannot_look[operation.name] = min(self.cannot_look[operation.name] + 1, 5)
            moves: list[Move] = [
                Later(StepState.UNKNOWN, rests, step.spent, step.context, step.company) for step in steps
            ]
            return await self._record(batch, list(zip(steps, moves, strict=True)), None)
        self.cannot_look.pop(operation.name, None)
        seconds = time.monotonic() - started
        self._trace(operation, "look_up", steps, "answer", seconds)
        self.crash("after_look")
        settler = Settler(self.schedule, self.settle, random.random())
        nothing = all(isinstance(finding, Absent) for finding in findings)
        moves = [
            settler.found(operation, finding, step, seconds, nothing_found=nothing)
            for step, finding in zip(steps, findings, strict=True)
        ]
        return await self._record(batch, list(zip(steps, moves, strict=True)), None)
