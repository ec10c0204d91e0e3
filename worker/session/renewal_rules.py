"""What to do about the shared session: pure decisions, from what the ledger knows and the time.

Tradovate keeps two sessions of a user; a third login closes the oldest. So a token is renewed, which opens no session,
and a login is made only without a token that can be used. A session whose token never arrived is not in use: nothing
is lost when a later login closes it. From a login with an unknown result on, the former token is not used any more, for
its session may be the one that a later login closes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.backoff import Delays

RENEWALS_AN_HOUR = 12
"""The vendor's limit is 15 in a rolling hour, all counted."""
HOST_RENEWALS = 6
"""A renewal that only fetches the hosts is made while fewer than that were made in the last hour: it must not take the
renewals that the token needs."""
RENEW_BEFORE_END = timedelta(minutes=15)
"""The vendor's advice; a token whose life is shorter than half an hour is renewed at half its life."""
BACK_OFF = Delays((1.0, 5.0, 15.0, 60.0, 180.0))
"""Seconds after the first, second, ... login or renewal in a row without a result; the last one from then on. With a
call that hangs for a minute before it, the longest wait is within the five minutes of README, "What happens when"."""
UNREACHABLE_WAIT = 15.0
"""Seconds at most between two tries to reach a partner that cannot be reached."""
LONG = timedelta(minutes=5)
"""A login that is held back for longer leaves a doubtful token in use: it may be good, and there is no other."""
OTHERS_LOGINS = 3
"""Logins in an hour. From this number on, a token that was written with other settings or another SECRET_KEY is not
replaced at once: replicas with different settings would close each other's sessions for ever."""
OTHERS_WAIT = timedelta(minutes=5)
"""How long it is left alone then: enough for a roll-out to end."""


@dataclass(frozen=True, slots=True)
class Block:
    """Something that keeps a call back. `until` None: until an operator has acted."""

    until: datetime | None
    why: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What is known when the question comes up. `token`: there is one, and it is of the user of our settings."""

    token: bool = False
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    suspect: bool = False  # may have been closed from outside
    rejected: bool = False  # an ordinary call with it was answered 401
    renewal_failed: bool = False  # though suspect or rejected
    busy_until: datetime | None = None  # another replica renews or logs in
    everything: Block | None = None  # a lock-out, a pause
    renewal: Block | None = None  # a penalty on renewals
    login: Block | None = None  # a rejected login, a penalty on logins
    others: bool = False  # there is a token of other settings, or sealed with a key that we do not have
    renewals: int = 0  # in the last hour
    renewals_free_at: datetime | None = None
    logins: int = 0  # in the last hour, those that opened a session
    last_login_at: datetime | None = None
    renew_after: datetime | None = None
    login_after: datetime | None = None
    failure: str | None = None  # what the last renewal or login failed for
    ask_hosts: bool = False  # a renewal is due because a host may be the wrong one


@dataclass(frozen=True, slots=True)
class Use:
    """Go on with the token. `forget`: it was doubtful, and nothing can be done about that now."""

    forget: bool = False


@dataclass(frozen=True, slots=True)
class UseWithoutAsking:
    """Go on with the token; the renewal that would fetch the hosts can be made at `until` (None: nobody knows)."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class Renew:
    """Renew the token now."""


@dataclass(frozen=True, slots=True)
class LogIn:
    """Open a session now."""


@dataclass(frozen=True, slots=True)
class SessionWait:
    """No session, and none to be had before `until` (None: an operator has to act)."""

    until: datetime | None
    why: str
    scope: str


Decision = Use | UseWithoutAsking | Renew | LogIn | SessionWait


def renew_at(issued_at: datetime, expires_at: datetime) -> datetime:
    """When a token is due for renewal."""
    return expires_at - min(RENEW_BEFORE_END, (expires_at - issued_at) / 2)


def back_off(failures: int, *, sent: bool = True) -> timedelta:
    """The wait after the `failures`-th response in a row without a result, counted from 1.

    Not `sent`: the partner could not be reached, so that trying again costs it nothing.
    """
    wait = BACK_OFF.delay(failures)
    return timedelta(seconds=wait if sent else min(wait, UNREACHABLE_WAIT))


def decide(facts: SessionFacts, now: datetime) -> Decision:
    """What to do about the session now."""
    alive = facts.token and facts.expires_at is not None and now < facts.expires_at
    good = alive and not facts.rejected and not facts.suspect
    due = not good or now >= renew_at(facts.issued_at or now, facts.expires_at or now)
    if not due and not facts.ask_hosts:
        return Use()
    if block := _standing(facts.everything, now) or _busy(facts, now):
        return Use() if good else _wait(block)
    return (_renewing(facts, now, good=good, due=due) if alive else None) or _logging_in(facts, now, alive=alive)


def _renewing(facts: SessionFacts, now: datetime, *, good: bool, due: bool) -> Decision | None:
    """What a live token comes to; None when a login must follow."""
    if facts.renewal_failed and not good:
        return None
    block = _renewal_block(facts, now, RENEWALS_AN_HOUR if due else HOST_RENEWALS)
    if block is None:
        return Renew()
    if good:  # it lives on for a while, and the renewal comes when it may
        return UseWithoutAsking(block.until) if facts.ask_hosts else Use()
    if block.scope == "retry":
        return _wait(block)  # the partner could not be reached: the first call it gets is still the renewal
    return Use(forget=True) if block.scope == "renewals" and not facts.rejected else None


def _logging_in(facts: SessionFacts, now: datetime, *, alive: bool) -> Decision:
    block = _login_block(facts, now)
    if block is None:
        return LogIn()
    long = block.until is None or block.until - now > LONG
    return Use(forget=True) if alive and not facts.rejected and long else _wait(block)


def _busy(facts: SessionFacts, now: datetime) -> Block | None:
    if facts.busy_until is None or facts.busy_until <= now:
        return None
    return Block(facts.busy_until, "the session is being opened or renewed", "lease")


def _renewal_block(facts: SessionFacts, now: datetime, most: int) -> Block | None:
    if block := _standing(facts.renewal, now):
        return block
    if facts.renewals >= most:
        return Block(facts.renewals_free_at, f"{facts.renewals} renewals in the last hour", "renewals")
    return _standing(Block(facts.renew_after or now, _failed("renewal", facts), "retry"), now)


def _login_block(facts: SessionFacts, now: datetime) -> Block | None:
    if block := _standing(facts.login, now):
        return block
    if block := _standing(Block(facts.login_after or now, _failed("login", facts), "retry"), now):
        return block
    if not facts.others or facts.logins < OTHERS_LOGINS or facts.last_login_at is None:
        return None
    why = "replicas with other settings for Tradovate, or another SECRET_KEY, log in as well"
    return _standing(Block(facts.last_login_at + OTHERS_WAIT, why, "others"), now)


def _failed(what: str, facts: SessionFacts) -> str:
    return f"the last {what} failed: {facts.failure}" if facts.failure else f"the last {what} brought no token"


def _standing(block: Block | None, now: datetime) -> Block | None:
    return None if block is None or (block.until is not None and block.until <= now) else block


def _wait(block: Block) -> SessionWait:
    return SessionWait(block.until, block.why, block.scope)
