"""Programs that are broken on purpose in what they call and decide.

A break changes the worker's code in the processes of one run, and nowhere else.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from schemas.outcomes import Status
from worker.dispatch import caller, dispatcher
from worker.dispatch.choose import choose
from worker.dispatch.lone_calls import LoneCalls
from worker.engine.flows import locked, purchased
from worker.engine.flows.base import End, Planned
from worker.engine.flows.failed import Revocation
from worker.engine.rows import Claimed, Finish, Move
from worker.engine.steps import after_call
from worker.engine.steps.timing import StepRules, Timing
from worker.ledger import call_log, leases, ledger
from worker.ledger.budget import Budget
from worker.ledger.ledger import Ledger
from worker.partner import look_up
from worker.partner.lockout import LockOut
from worker.partner.operation import Item, Operation, Reader
from worker.results import NotExecuted, Rejected, Succeeded, Unknown
from worker.session import renewal_rules

_REVOKE = "revokeTradingPermissions"

_PUT: list[tuple[object, str, object]] = []
"""What was there before."""


def put(owner: object, name: str, value: object) -> None:
    """Puts something else in the place of a function of ours. Raises `AttributeError` when it has another name."""
    _PUT.append((owner, name, getattr(owner, name)))
    setattr(owner, name, value)


def mend() -> None:
    """Undoes every break of this process."""
    while _PUT:
        setattr(*_PUT.pop())


def skip_look_up() -> None:
    """What is unknown is sent again, whatever became of it."""
    real = look_up.look

    async def look(operation: Operation, reader: Reader, items: Sequence[Item], *, sent: bool = True) -> Any:
        return [NotExecuted() for _ in items] if sent else await real(operation, reader, items, sent=sent)

    put(caller, "look", look)


def retry_blindly() -> None:
    """An unknown result counts as not executed."""

    def after_unknown(timing: Timing, rules: StepRules, step: Claimed, seconds: float, result: Unknown) -> Move:
        return timing.again(rules, step, seconds, NotExecuted(result.text))

    put(after_call, "after_unknown", after_unknown)
    put(caller, "after_unknown", after_unknown)


def drop_lease_check() -> None:
    """A step is taken from the replica that works on it, whose lease has not run out."""
    real = leases.reap

    async def reap(connection: Any, settle: timedelta) -> int:
        await connection.execute(
            "update step set lease_until = clock_timestamp() - interval '1 s' where lease is not null"
        )
        return await real(connection, settle)

    put(ledger, "reap", reap)


def never_reap() -> None:
    """Nobody takes back what a dead replica was working on."""

    async def reap(_self: Ledger, _settle: timedelta) -> int:
        return 0

    put(Ledger, "reap", reap)


def forget_lock_out() -> None:
    """A 423 or 429 is a response like any other."""

    def received(_self: LockOut, _status: int) -> None:
        return

    async def lock_out(_connection: Any, _status: int, _lasts: timedelta) -> None:
        return

    put(LockOut, "received", received)
    put(call_log, "lock_out", lock_out)  # what the ledger writes of an answer


def no_budget() -> None:
    """Nobody counts the calls."""

    def limit(_self: Budget, *, reserve: bool) -> int:
        return 1_000_000 + reserve

    put(Budget, "limit", limit)
    put(Budget, "minute_limit", limit)


def log_in_often() -> None:
    """Each process may log in for itself in two seconds of every five."""
    decide = renewal_rules.decide

    def often(facts: Any, now: Any) -> Any:
        return renewal_rules.LogIn() if time.monotonic() % 5 < 2.0 else decide(facts, now)

    put(renewal_rules, "decide", often)


def forget_turns() -> None:
    """Nobody waits for an earlier event of the same account."""

    def held_up(_view: Any) -> None:
        return

    put(locked, "held_up", held_up)


def fail_unknown() -> None:
    """An unknown result counts as a rejection."""

    def after_unknown(_timing: Timing, rules: StepRules, _step: Claimed, _seconds: float, result: Unknown) -> Move:
        return Finish(Rejected(f"{rules.operation}: {result.text}"))

    put(after_call, "after_unknown", after_unknown)
    put(caller, "after_unknown", after_unknown)


def believe_unknown() -> None:
    """An unknown result counts as a success, where a flow needs nothing from it."""
    real = after_call.after_unknown

    def after_unknown(timing: Timing, rules: StepRules, step: Claimed, seconds: float, result: Unknown) -> Move:
        if rules.operation in ("resetDemoAccountState", "cancelEverything", "revokeTradingPermissions"):
            return Finish(Succeeded())
        return real(timing, rules, step, seconds, result)

    put(after_call, "after_unknown", after_unknown)
    put(caller, "after_unknown", after_unknown)


def fail_nobody() -> None:
    """A trader's failure ends well, and nothing is revoked."""

    def plan(_self: Revocation, view: Any, _rules: Any) -> Any:
        return Planned(End(Status.SUCCEEDED), view.facts)

    put(Revocation, "plan", plan)


def new_names() -> None:
    """An account's name does not follow from its order."""

    def by_chance(prefix: str, _order_id: str) -> str:
        return f"{prefix}{random.randrange(10**20):020d}"

    put(purchased, "account_name", by_chance)


def new_logins() -> None:
    """A user whose creation is unknown is asked for under another login name."""
    real = purchased.Purchased.item

    def item(self: purchased.Purchased, view: Any, operation: str, rules: Any) -> Item:
        found = real(self, view, operation, rules)
        return {**found, "name": f"{found['name']}{time.time_ns() % 1_000_000}"} if operation == _USERS else found

    put(purchased.Purchased, "item", item)


_USERS = "createEvaluationUsers"


def put_off_revocations() -> None:
    """Revocations go out in one second of every hundred."""
    real, real_note = choose, LoneCalls.note

    def lazy(lanes: Any, operations: Any, situation: Any) -> Any:
        busy = [each for each in lanes if each.operation != _REVOKE or time.monotonic() % 100 < 1]
        return real(busy, operations, situation)

    def note(self: LoneCalls, lanes: Any, situation: Any) -> None:
        real_note(self, lanes, situation)
        self._at_once -= {_REVOKE}

    put(dispatcher, "choose", lazy)
    put(LoneCalls, "note", note)
