"""One call from claim to record: build, send, settle, write. And the same for one look-up."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

import orjson
import structlog

from worker.backoff import Schedule
from worker.dispatch.look_up_reader import LookUpReader, with_ticket
from worker.dispatch.look_up_sizes import LookUpSizes
from worker.dispatch.operation_rules import rules_of, sent_steps
from worker.dispatch.result_writer import Writer
from worker.engine.event_flow import item_of
from worker.engine.flows.base import Rules
from worker.engine.rows import Claimed, Found, Later, Move
from worker.engine.states import SharedBatch, StepState
from worker.engine.steps.after_call import after_call, after_unknown
from worker.engine.steps.after_look_up import after_look_up, as_looked_for, checks_needs, sent_if_absent
from worker.engine.steps.splitting import NO_SIGNS, failed_before
from worker.engine.steps.timing import Timing
from worker.ledger import holds
from worker.ledger.budget import BEGUN_WITHIN
from worker.ledger.call_log import EndedCall, result_name
from worker.ledger.claims import Claims
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, DatabaseError
from worker.ledger.holds import Hold
from worker.ledger.ledger import Ledger
from worker.ledger.next_call import NextCall
from worker.ledger.rows import Batch, OutcomeRow
from worker.partner.batch_call import send_batch
from worker.partner.client import PartnerClient
from worker.partner.look_up import look, look_for_needed, unread
from worker.partner.observed_forms import ObservedForms
from worker.partner.operation import Item, Operation, Reader
from worker.partner.read_errors import CannotLook, HostDoubted, Unreadable
from worker.replies import NotSent, Reply, Ticket
from worker.results import Result, Unknown
from worker.session import NoSession, SessionKeeper, Token
from worker.telemetry.log_on_change import LastReported
from worker.telemetry.tracing import Traced, Tracing

log = structlog.get_logger()

CANNOT_LOOK = Schedule(base=1.0, cap=32.0, jitter=0.0)
"""Before a look-up that could not be made is tried again. What holds back all look-ups is found before steps are
claimed (`Claims.look_ups`); this is a penalty at what they read, or a lost race. A penalty with a captcha lasts an
hour: a thousand steps are not claimed and released every second of it."""


Look = Callable[[Operation, Reader, Sequence[Item]], Awaitable[Sequence[Result]]]


@dataclass(frozen=True, slots=True)
class Following:
    """Calls that are begun in the transaction that records the result of another, and the token to send them with."""

    next_call: NextCall
    token: Token


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
    following: Callable[[int, Sequence[str]], Following | None] = lambda *_: None  # see `LoneCalls.after`
    begun: Callable[[Following], None] = lambda _following: None
    feeding: Counter[str] = field(default_factory=Counter)  # by operation: calls in flight that bring steps of it
    _cannot_look: Counter[str] = field(default_factory=Counter)  # by operation: look-ups in a row that were not made
    _said: LastReported = field(default_factory=LastReported)
    seen: ObservedForms = field(default_factory=ObservedForms)
    look_up_sizes: LookUpSizes = field(default_factory=LookUpSizes)
    writer: Writer = field(init=False)

    def __post_init__(self) -> None:
        self.writer = Writer(self.ledger)

    @property
    def trouble(self) -> str | None:
        """Why results of calls cannot be written, or None."""
        return self.writer.trouble

    async def send(
        self, operation: Operation, batch: Batch, token: Token, on_sent: Callable[[], None] = lambda: None
    ) -> Sequence[OutcomeRow]:
        """Sends a batch that has been claimed and records what came of it. `on_sent`: see `PartnerClient.post`."""
        steps = list(batch.steps)
        if batch.ticket is not None:
            steps.sort(key=lambda step: 0 if step.memory.ticket is None else step.memory.ticket.place)
        items = [self._item(step, operation) for step in steps]
        body = orjson.dumps(operation.request(items))
        sent = self._with_ticket(body, batch.ticket)
        started = time.monotonic()
        self.crash("before_call")
        self.feeding.update(operation.batching.feeds)
        try:
            with self.tracing.calling(operation.vendor, "send", self._traced(steps)) as calling:
                reply, result = await send_batch(
                    self.client,
                    operation,
                    items,
                    sent,
                    token,
                    send_before=batch.begun + BEGUN_WITHIN,
                    denied=partial(self._denied, token),
                    on_sent=on_sent,
                )
                calling.result = result_name(reply)
            seconds = time.monotonic() - started
            self.crash("after_call")
            if isinstance(reply, NotSent):  # that was no attempt
                steps = [replace(step, attempts=step.attempts - 1) for step in steps]
            self.observe(operation.vendor, result_name(reply), len(items), seconds)
            moves = after_call(
                await self._timing(operation, steps),
                rules_of(operation),
                result,
                sent_steps(operation, steps, items),
                seconds=seconds,
                call_id=batch.call_id,
            )
            ended = EndedCall(batch.call_id, reply, put_ticket=self._keep_ticket(operation, reply, batch, body))
            self.crash("before_record")
            following = self.following(len(steps), operation.batching.feeds)
            next_call = following.next_call if following is not None else None
            outcomes = await self.writer.record(
                operation, batch, list(zip(steps, moves, strict=True)), ended, next_call
            )
            self.crash("after_record")
            if following is not None:
                self.begun(following)
            return outcomes
        finally:
            self.feeding.subtract(operation.batching.feeds)

    def _traced(self, steps: Sequence[Claimed]) -> Sequence[Traced]:
        """The flows of a call, before it."""
        if not self.tracing.on:
            return ()
        now = self.ledger.clock.now()
        first = [step.attempts == 1 and step.flow.attempts == 0 for step in steps]
        return [
            Traced(step.flow.trace, str(step.flow.id), step.flow.topic, now - step.flow.created_at if begins else None)
            for step, begins in zip(steps, first, strict=True)
        ]

    async def _denied(self, token: Token) -> bool:
        """Whether a 401 under this token means a missing permission, which no other token would cure."""
        try:
            return not await self.session.reject(token.generation)
        except DatabaseError as error:
            log.warning("dispatch.reject_waits", error=error.reason)
            return False  # it is sent again, and the next 401 decides

    def _with_ticket(self, body: bytes, ticket: Hold | None) -> bytes:
        """The same body is sent again with its ticket, byte for byte; one that has changed (a step of it was cancelled)
        cannot use the ticket and goes without.
        """
        if ticket is None or ticket.ticket is None or ticket.body_digest is None:
            return body
        return with_ticket(body, ticket.ticket) if self.vault.same(ticket.body_digest, body) else body

    def _item(self, step: Claimed, operation: Operation) -> Item:
        return item_of(step.flow, operation.name, self.rules, self.ledger.clock.now())

    def _keep_ticket(
        self, operation: Operation, reply: Reply, batch: Batch, body: bytes
    ) -> Callable[[Connection], Awaitable[None]] | None:
        """What the record must write besides: a ticket, and what identifies the body that is sent again with it."""
        if not isinstance(reply, Ticket) or reply.captcha:
            return None

        async def write(connection: Connection) -> None:
            await holds.put_ticket(
                connection,
                operation.name,
                reply.wait,
                reply.ticket,
                body_digest=self.vault.digest(body),
                batch_id=SharedBatch.TICKET.of(batch.call_id),
            )

        return write

    async def look_up(self, operation: Operation, batch: Batch) -> Sequence[OutcomeRow]:
        """Finds out what became of steps whose result is unknown, or whether what they need is there."""
        needed = [step for step in batch.steps if checks_needs(step)]
        unknown = [step for step in batch.steps if not checks_needs(step)]
        outcomes: Sequence[OutcomeRow] = ()
        if operation.recovery.look_up is None and unknown:
            # The replica that sent it died before it could record the result, and no look-up can find it.
            timing, rules = await self._timing(operation, unknown), rules_of(operation)
            why = Unknown("its sender ended in the middle of the call")
            parked = [(step, after_unknown(timing, rules, step, 0.0, why)) for step in unknown]
            outcomes, unknown = await self.writer.record(operation, batch, parked), []
        return [
            *outcomes,
            *(await self._look(operation, batch, needed, unknown) if needed or unknown else ()),
        ]

    async def _look(
        self, operation: Operation, batch: Batch, needed: Sequence[Claimed], unknown: Sequence[Claimed]
    ) -> Sequence[OutcomeRow]:
        steps = [*needed, *unknown]
        reader = LookUpReader(
            self.claims,
            self.client,
            self.session,
            operation.name,
            batch.lease,
            operation.limits.rank,
            operation.limits.reserve,
            partial(self.writer.finish_read, operation),
            self.seen,
            self.observe,
        )
        started = time.monotonic()
        self.crash("before_look")
        results: list[Result] = []
        try:
            with (
                self.ledger.giving_up([batch.lease]),
                self.tracing.calling(operation.vendor, "look_up", self._traced(steps)) as calling,
            ):
                sent = any(sent_if_absent(step) for step in unknown)
                for some, ask in ((needed, look_for_needed), (unknown, partial(look, sent=sent))):
                    results += await self._results(operation, reader, some, ask) if some else ()
                calling.result = "answer"
        except DatabaseError as error:
            if self._said.changed(operation.name, error.reason):
                log.warning("dispatch.look_up_waits", operation=operation.name, error=error.reason)
            return ()
        except (CannotLook, NoSession) as cannot:
            if self._said.changed(operation.name, cannot.why):
                log.info("dispatch.cannot_look", operation=operation.name, why=cannot.why)
            self.look_up_sizes.not_ended(operation.name, len(steps), reader.reads)
            rests = self._look_up_delay(operation)
            moves: Sequence[Move] = [
                Later(StepState.UNKNOWN, rests, step.spent, step.memory, step.batch_id, found=Found.NOT_MADE)
                for step in steps
            ]
            return await self.writer.record(operation, batch, list(zip(steps, moves, strict=True)))
        self._cannot_look.pop(operation.name, None)
        self.look_up_sizes.ended(operation.name, len(steps), reader.reads)
        if self._said.ended(operation.name):
            log.info("dispatch.looks_again", operation=operation.name)
        seconds = time.monotonic() - started
        self.crash("after_look")
        timing = await self._timing(operation, steps)
        found = list(zip(steps, results, strict=True))
        moves = after_look_up(timing, rules_of(operation), found, seconds)
        return await self.writer.record(operation, batch, list(zip(steps, moves, strict=True)))

    def _look_up_delay(self, operation: Operation) -> timedelta:
        """The delay after a look-up that could not be made. It doubles with each further one in a row, but for what is
        urgent.
        """
        times = 1
        if not operation.limits.reserve:
            times = self._cannot_look[operation.name] = self._cannot_look[operation.name] + 1
        return timedelta(seconds=CANNOT_LOOK.delay(times))

    async def _results(
        self, operation: Operation, reader: LookUpReader, steps: Sequence[Claimed], ask: Look
    ) -> Sequence[Result]:
        items = [as_looked_for(step, self._item(step, operation)) for step in steps]
        try:
            return await ask(operation, reader, items)
        except HostDoubted as doubted:
            log.warning("dispatch.host_doubted", domain=doubted.domain, operation=operation.name)
            await reader.doubt(doubted)
            return unread(doubted, items)
        except Unreadable as unreadable:
            return unread(unreadable, items)

    async def _timing(self, operation: Operation, steps: Sequence[Claimed]) -> Timing:
        """The times, with what the ledger knows of the operation's other calls if some of these have failed before."""
        since = failed_before(steps)
        signs = NO_SIGNS
        if since is not None:
            try:
                signs = await self.claims.signs_since(operation.name, since)
            except DatabaseError as error:
                log.warning("dispatch.record_waits", operation=operation.name, error=error.reason)
        return Timing(self.schedule, self.settle, random.random(), signs)
