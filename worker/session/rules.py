"""What to do about the shared session: pure decisions, from what the ledger knows and the time.

Tradovate keeps two sessions a user; a third login closes the oldest without a word to whoever uses it. So a token is
renewed, which opens no session, and a login comes only when renewing is out of the question.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.replies import Answer, NotExecuted, NotSent, Refusal, Silence, Ticket, Unauthorized, Unclear
from worker.tradovate._classify import clean
from worker.tradovate.client import Exchange

RENEWALS_AN_HOUR = 12
"""The vendor's limit is 15 in a rolling hour, all counted."""
RENEW_BEFORE_END = timedelta(minutes=15)
"""The vendor's advice; a token whose life is shorter than half an hour is renewed at half its life."""
SESSIONS_AT_ONCE = 2
"""The vendor's limit a user: a third closes the oldest."""
ASSUMED_LIFE = timedelta(minutes=80)
"""The shorter of the two lives that the vendor's pages name, for an answer that does not say."""
LONGEST_LIFE = timedelta(hours=24)
"""A token that claims to live longer is renewed as if it lived a day: the claim is a clock's mistake."""
BACK_OFF = (1.0, 5.0, 15.0, 60.0, 300.0)
"""Seconds after the first, second, ... unclear login or renewal in a row; the last one from then on."""

UNREACHABLE_WAIT = 15.0
"""Seconds at most between two tries to reach a partner that cannot be reached."""


@dataclass(frozen=True, slots=True)
class Block:
    """Something that keeps a call back. `until` None: until a person has acted."""

    until: datetime | None
    why: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
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
    renewals: int = 0  # in the last hour
    renewals_free_at: datetime | None = None
    renew_after: datetime | None = None
    login_after: datetime | None = None
    living: tuple[datetime, ...] = ()  # until when each session of ours may live


@dataclass(frozen=True, slots=True)
class Use:
    """Go on with the token. `forget`: it was doubtful, and nothing can be done about that now."""

    forget: bool = False


@dataclass(frozen=True, slots=True)
class Renew:
    """Renew the token now."""


@dataclass(frozen=True, slots=True)
class LogIn:
    """Open a session now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """No session, and none to be had before `until` (None: a person has to act)."""

    until: datetime | None
    why: str
    scope: str


Decision = Use | Renew | LogIn | Wait


def renew_at(issued_at: datetime, expires_at: datetime) -> datetime:
    """When a token is due for renewal."""
    return expires_at - min(RENEW_BEFORE_END, (expires_at - issued_at) / 2)


def back_off(failures: int, *, sent: bool = True) -> timedelta:
    """The wait after the `failures`-th unclear answer in a row, counted from 1.

    Not `sent`: the partner could not be reached, so that trying again costs it nothing.
    """
    wait = BACK_OFF[min(max(failures, 1), len(BACK_OFF)) - 1]
    return timedelta(seconds=wait if sent else min(wait, UNREACHABLE_WAIT))


def decide(facts: Facts, now: datetime) -> Decision:
    """What to do about the session now."""
    alive = facts.token and facts.expires_at is not None and now < facts.expires_at
    good = alive and not facts.rejected and not facts.suspect
    if good and now < renew_at(facts.issued_at or now, facts.expires_at or now):
        return Use()
    if block := _standing(facts.everything, now) or _busy(facts, now):
        return Use() if good else _wait(block)
    return (_renewing(facts, now, good=good) if alive else None) or _logging_in(facts, now, alive=alive)


def _renewing(facts: Facts, now: datetime, *, good: bool) -> Decision | None:
    """What a live token comes to; None when a login must follow."""
    if facts.renewal_failed:
        return None
    block = _renewal_block(facts, now)
    if block is None:
        return Renew()
    if good:
        return Use()  # it lives on for a while, and the renewal comes when it may
    if block.scope == "retry":
        return _wait(block)  # the partner could not be reached: the first call it gets is still the renewal
    return Use(forget=True) if block.scope == "renewals" and not facts.rejected else None


def _logging_in(facts: Facts, now: datetime, *, alive: bool) -> Decision:
    block = _login_block(facts, now)
    if block is None:
        return LogIn()
    return Use(forget=True) if alive and not facts.rejected else _wait(block)


def _busy(facts: Facts, now: datetime) -> Block | None:
    if facts.busy_until is None or facts.busy_until <= now:
        return None
    return Block(facts.busy_until, "the session is being opened or renewed", "lease")


def _renewal_block(facts: Facts, now: datetime) -> Block | None:
    if block := _standing(facts.renewal, now):
        return block
    if facts.renewals >= RENEWALS_AN_HOUR:
        return Block(facts.renewals_free_at, f"{facts.renewals} renewals in the last hour", "renewals")
    return _standing(Block(facts.renew_after or now, "the last renewal brought nothing", "retry"), now)


def _login_block(facts: Facts, now: datetime) -> Block | None:
    if block := _standing(facts.login, now):
        return block
    if block := _standing(Block(facts.login_after or now, "the last login brought nothing", "retry"), now):
        return block
    living = sorted(until for until in facts.living if until > now)
    if len(living) < SESSIONS_AT_ONCE:
        return None
    free = living[len(living) - SESSIONS_AT_ONCE]
    return Block(free, f"{len(living)} sessions of ours may live, and a third would close one", "sessions")


def _standing(block: Block | None, now: datetime) -> Block | None:
    return None if block is None or (block.until is not None and block.until <= now) else block


def _wait(block: Block) -> Wait:
    return Wait(block.until, block.why, block.scope)


@dataclass(frozen=True, slots=True)
class Granted:
    """A token, how long it lives from the request on, and the API user's id."""

    token: str = field(repr=False)
    life: timedelta
    user_id: int | None


@dataclass(frozen=True, slots=True)
class Denied:
    """The credentials, or the token to be renewed, are not accepted. `text` is the partner's."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Neither granted nor denied. `opened`: a session may have been opened; `sent`: bytes may have left."""

    why: str
    opened: bool = False
    sent: bool = True


Verdict = Granted | Denied | Failed


def read_renewal(exchange: Exchange, now: datetime) -> Verdict:
    """What the answer to a renewal says; `Denied` means that the session is known dead."""
    match exchange.reply:
        case Answer(body):
            return _granted(body, exchange.date or now) or Failed("an answer without a token")
        case Refusal(text, status) if status in (200, 400):
            return Denied(text)
        case Unauthorized(text):
            return Denied(text or "401")
        case Unclear(status=408):
            return Denied("408")  # what the vendor documents for a session that was closed
        case other:
            return _failed(other)


def read_login(exchange: Exchange, now: datetime) -> Verdict:
    """What the answer to a login says; `Denied` stops all logins with these credentials."""
    match exchange.reply:
        case Answer(body):
            if granted := _granted(body, exchange.date or now):
                return granted
            status = body.get("userStatus") if isinstance(body, dict) else None
            if isinstance(status, str) and status not in ("", "Active"):
                return Denied(f"userStatus {clean(status)}")
            return Failed("an answer without a token", opened=True)
        case Refusal(text) | Unauthorized(text):
            return Denied(text or "401")
        case other:
            return _failed(other)


def _failed(reply: Refusal | Ticket | Silence | NotSent | NotExecuted | Unclear) -> Failed:
    match reply:
        case NotSent(why):
            return Failed(why, sent=False)
        case Unclear(why, status):
            # A 503 says that nothing was done; a timeout, a cut, another 5xx, what cannot be read may hide a session.
            return Failed(why, opened=status is None or status == 408 or (status // 100 in (2, 5) and status != 503))
        case Ticket():
            return Failed("a penalty ticket")
        case NotExecuted(why=why):
            return Failed(why)
        case Silence(status) | Refusal(status=status):
            return Failed(f"HTTP {status}")


def _granted(body: Any, answered_at: datetime) -> Granted | None:
    token = body.get("accessToken") if isinstance(body, dict) else None
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        return None
    user_id = body.get("userId")
    return Granted(
        token,
        _life(body.get("expirationTime"), answered_at),
        user_id if isinstance(user_id, int) and not isinstance(user_id, bool) and 0 < user_id < 2**63 else None,
    )


def _life(expiration: Any, answered_at: datetime) -> timedelta:
    """From the partner's clock to the partner's `expirationTime`: a clock of ours that is wrong does no harm."""
    try:
        expires_at = datetime.fromisoformat(expiration)
        life = (expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=UTC)) - answered_at
    except (TypeError, ValueError, OverflowError):
        return ASSUMED_LIFE
    return min(life, LONGEST_LIFE) if life > timedelta(0) else ASSUMED_LIFE
