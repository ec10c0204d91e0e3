"""Programs that are broken on purpose, one promise each: the torture must find every one of them.

A break changes the worker's code in the processes of one run, and nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog

from tests.torture.moments import Moment
from worker.bridge.catch_up import CatchUp
from worker.dispatch import caller
from worker.engine.flows import locked, risk
from worker.engine.rows import Claimed, Move
from worker.engine.steps import after_call
from worker.engine.steps.timing import StepRules, Timing
from worker.intake.accept import EventIntake
from worker.intake.subscriber import Subscriber
from worker.ledger import call_log, leases, ledger, signals
from worker.ledger.budget import Budget
from worker.ledger.ledger import Ledger
from worker.outbox import publisher, record_batches
from worker.partner import look_up
from worker.partner.lockout import LockOut
from worker.partner.operation import Item, Operation, Reader
from worker.results import NotExecuted, Unknown
from worker.session import renewal_rules

log = structlog.get_logger()


@dataclass(frozen=True)
class Break:
    """`apply` changes the code of this process. `switches`: of the partner, so that it can be seen. `weights`,
    `moments`: of the misfortunes, and of the moments of kills, that show it, in place of their usual ones.
    `settings`: of the members. `blows`: kills and freezes a second, where many would excuse what it does.
    """

    apply: Callable[[], None]
    switches: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    moments: Mapping[Moment, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    blows: float | None = None


def _put(owner: object, name: str, value: object) -> None:
    """Puts something else in the place of a function of ours. Raises `AttributeError` when it has another name."""
    getattr(owner, name)
    setattr(owner, name, value)


def _skip_look_up() -> None:
    """What is unknown is sent again, whatever became of it."""
    real = look_up.look

    async def look(operation: Operation, reader: Reader, items: Sequence[Item], *, sent: bool = True) -> Any:
        return [NotExecuted() for _ in items] if sent else await real(operation, reader, items, sent=sent)

    _put(caller, "look", look)


def _retry_blindly() -> None:
    """An unknown result counts as not executed."""

    def after_unknown(timing: Timing, rules: StepRules, step: Claimed, seconds: float, result: Unknown) -> Move:
        return timing.again(rules, step, seconds, NotExecuted(result.text))

    _put(after_call, "after_unknown", after_unknown)
    _put(caller, "after_unknown", after_unknown)


def _drop_lease_check() -> None:
    """A step is taken from the replica that works on it, whose lease has not run out."""
    real = leases.reap

    async def reap(connection: Any, settle: timedelta) -> int:
        await connection.execute(
            "update step set lease_until = clock_timestamp() - interval '1 s' where lease is not null"
        )
        return await real(connection, settle)

    _put(ledger, "reap", reap)


def _commit_before_ledger() -> None:
    """Offsets are committed when records have been read."""
    take = EventIntake.take

    async def handle(self: Subscriber, message: Any) -> None:
        poll = self.poll
        assert poll is not None
        await self._commit(poll, len(message.raw_message))
        await take(self._intake, [self._raw(record) for record in message.raw_message], self._stopping)

    _put(Subscriber, "_handle", handle)


def _forget_lock_out() -> None:
    """A 423 or 429 is a response like any other."""

    def received(_self: LockOut, _status: int) -> None:
        return

    async def lock_out(_connection: Any, _status: int, _lasts: timedelta) -> None:
        return

    _put(LockOut, "received", received)
    _put(call_log, "lock_out", lock_out)  # what the ledger writes of an answer


def _lose_outcomes() -> None:
    """An outcome counts as published once it is handed to the producer, whatever becomes of it."""
    send = record_batches.send_in_order

    async def hopeful(producer: Any, topic: str, rows: Any, ours: Any, sent: Any) -> None:
        for row in rows:
            sent(row, 0, 0.0)
        task = asyncio.create_task(send(producer, topic, rows, lambda _row: True, lambda *_: None))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    _put(publisher, "send_in_order", hopeful)


def _no_budget() -> None:
    """Nobody counts the calls."""

    def limit(_self: Budget, *, reserve: bool) -> int:
        return 1_000_000 + reserve

    _put(Budget, "limit", limit)
    _put(Budget, "minute_limit", limit)


def _log_events() -> None:
    """The log shows what was received."""
    take = EventIntake.take

    async def chatty(self: EventIntake, records: Any, stopping: asyncio.Event) -> bool:
        for record in records:
            log.info("intake.received", value=(record.value or b"").decode(errors="replace"))
        return await take(self, records, stopping)

    _put(EventIntake, "take", chatty)


def _never_catch_up() -> None:
    """A bridge reads no signals that came while it was not connected."""

    async def run_once(self: CatchUp) -> None:
        for line in self.lines:
            line.caught_up = True

    _put(CatchUp, "run_once", run_once)


def _forget_signals() -> None:
    """A bridge does not write down what it has published."""

    async def note(_connection: Any, _topic: str, _ids: Sequence[int]) -> None:
        return

    _put(signals, "note", note)


def _never_reap() -> None:
    """Nobody takes back what a dead replica was working on."""

    async def reap(_self: Ledger, _settle: timedelta) -> int:
        return 0

    _put(Ledger, "reap", reap)


def _log_in_often() -> None:
    """Each process may log in for itself in half a second of every five."""
    decide = renewal_rules.decide

    def often(facts: Any, now: Any) -> Any:
        return renewal_rules.LogIn() if time.monotonic() % 5 < 0.5 else decide(facts, now)

    _put(renewal_rules, "decide", often)


def _forget_turns() -> None:
    """Nobody waits for an earlier event of the same account."""

    def held_up(_view: Any) -> None:
        return

    _put(locked, "held_up", held_up)
    _put(risk, "held_up", held_up)


_TWICE = {"account_names_unique": False, "emails_unique": False, "same_permission_again": "second"}
"""A partner that takes a second one without a word."""

_UNKNOWN = {"partner status": 80, "partner cut": 80, "partner late": 60}
"""Results that are unknown."""

NOT_BROKEN = "nothing"
"""The program as it is, in a run for a broken one: it must not be found."""

_NO_EXCUSE = {"stop": 0, "database crash": 0, "link cut": 0, "link slow": 0, "link reset": 0}
"""What lets a bridge publish a signal again is left out."""

_MOSTLY = 200
"""A weight above all others together."""

BREAKS: Mapping[str, Break] = {
    "skip-look-up": Break(_skip_look_up, _TWICE, _UNKNOWN, {Moment.ANSWERED: _MOSTLY}),
    "retry-blindly": Break(_retry_blindly, _TWICE, _UNKNOWN, {Moment.ANSWERED: _MOSTLY}),
    "drop-lease-check": Break(_drop_lease_check, {**_TWICE, "partner_ms": 1_000.0}),
    "commit-before-ledger": Break(_commit_before_ledger, {}, {"database crash": 100}, {Moment.OFFSETS: _MOSTLY}),
    "forget-lock-out": Break(_forget_lock_out, {}, {"lock-out": 100}),
    "lose-outcomes": Break(_lose_outcomes, {"partner_ms": 500.0}, {"broker killed": 30}, {Moment.PUBLISHING: _MOSTLY}),
    "no-budget": Break(_no_budget, settings={"TRADOVATE_MINUTE_BUDGET": "40"}),
    "log-events": Break(_log_events),
    "never-catch-up": Break(_never_catch_up, {}, {"sockets dropped": 100}),
    "forget-signals": Break(_forget_signals, {}, {**_NO_EXCUSE, "sockets dropped": 100}, blows=0.0),
    "never-reap": Break(_never_reap, {}, {}, {Moment.CALL_SENT: _MOSTLY}),
    "log-in-often": Break(_log_in_often),
    "forget-turns": Break(_forget_turns),
}
