"""What the response to a login or a renewal says: a token, a rejection, or nothing that is known. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.cleaning import clean
from worker.partner.client import Exchange
from worker.replies import Answer, Misdirected, NotSent, Refusal, Silence, Ticket, Unauthorized, Unclear

ASSUMED_LIFE = timedelta(minutes=80)
"""The shorter of the two lives that the vendor's pages name, for a response that does not say."""
LONGEST_LIFE = timedelta(hours=24)
"""A token that claims to live longer is renewed as if it lived a day: the claim is a clock's mistake."""
FARTHEST = timedelta(days=36_500)
"""A password that ends later, or ended earlier, than a century away has no end that means anything."""

APPROVAL = (
    "Tradovate answered the login with neither a token nor an error: it waits for something that an operator must do."
    " Approve the new device (Tradovate sends an e-mail), complete or switch off MFA for the API user, and keep one"
    " fixed TRADOVATE_DEVICE_ID for all replicas"
)
"""Device approval and MFA have no published response; this is all that is known of it."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A token, how long it lives from the request on, the API user's id, and in how long the password ends."""

    token: str = field(repr=False)
    life: timedelta
    user_id: int | None
    password_ends_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """The credentials, or the token to be renewed, are not accepted. `text`: what Tradovate says, or what to do."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Neither granted nor denied. `sent`: bytes may have left."""

    why: str
    sent: bool = True


TokenResult = Granted | Denied | Failed


def read_renewal(exchange: Exchange, now: datetime) -> TokenResult:
    """What the response to a renewal says; `Denied` means that the session is known dead."""
    match exchange.reply:
        case Answer(body):
            return _granted(body, exchange.date or now) or Failed("a response without a token")
        case Refusal(text, status) if status in (200, 400):
            return Denied(text)
        case Unauthorized(text):
            return Denied(text or "401")
        case Unclear(status=408):
            return Denied("408")  # what the vendor documents for a session that was closed
        case other:
            return _failed(other)


def read_login(exchange: Exchange, now: datetime) -> TokenResult:
    """What the response to a login says; `Denied` stops all logins with these credentials (README, "What happens
    when").
    """
    match exchange.reply:
        case Answer(body):
            return _granted(body, exchange.date or now) or _without_token(body)
        case Refusal(text) | Unauthorized(text):
            return Denied(f"Tradovate rejected the login: {text or '401'}")
        case Unclear(why, status) if status in (400, 403):
            return Denied(f"Tradovate rejected the login: {why}")
        case other:
            return _failed(other)


def _without_token(body: Any) -> Denied | Failed:
    if not isinstance(body, dict) or body.get("accessToken") or any(str(key).startswith("p-") for key in body):
        return Failed("a response without a token")
    status = body.get("userStatus")
    if isinstance(status, str) and status not in ("", "Active"):
        return Denied(f"Tradovate rejected the login: userStatus {clean(status)}")
    return Denied(APPROVAL)


def _failed(reply: Refusal | Ticket | Silence | NotSent | Misdirected | Unclear) -> Failed:
    match reply:
        case NotSent(why):
            return Failed(why, sent=False)
        case Unclear(why=why) | Misdirected(why=why):
            return Failed(why)
        case Ticket():
            return Failed("a penalty ticket")
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
        _until(body.get("passwordExpirationTime"), answered_at),
    )


def _life(expiration: Any, answered_at: datetime) -> timedelta:
    life = _until(expiration, answered_at)
    return min(life, LONGEST_LIFE) if life is not None and life > timedelta(0) else ASSUMED_LIFE


def _until(moment: Any, answered_at: datetime) -> timedelta | None:
    """From the partner's clock to a moment that the partner names: a clock of ours that is wrong does no harm."""
    try:
        at = datetime.fromisoformat(moment)
        left = (at if at.tzinfo else at.replace(tzinfo=UTC)) - answered_at
    except (TypeError, ValueError, OverflowError):
        return None
    return left if -FARTHEST < left < FARTHEST else None
