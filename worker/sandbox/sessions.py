"""Sessions and tokens: two sessions a user, a third closes the oldest, tokens end by time (authentication page)."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from worker.sandbox.config import SandboxConfig

__all__ = ["Session", "Sessions", "Token"]

Standing = Literal["valid", "unknown", "expired", "closed"]


@dataclass(slots=True)
class Session:
    """One login. It goes on through renewals until its last token ends or a younger session closes it."""

    number: int
    tokens: list[Token] = field(default_factory=list)
    closed: bool = False

    def lives(self, now: float) -> bool:
        return not self.closed and any(token.expires_at > now for token in self.tokens)


@dataclass(slots=True)
class Token:
    """One bearer token; `id` names it in the call log without telling it."""

    id: str
    value: str
    session: Session
    expires_at: float
    revoked: bool = False


class Sessions:
    """Every session of the organization's API user, and what the oracle says of them."""

    def __init__(self) -> None:
        self.tokens: dict[str, Token] = {}
        self.sessions: list[Session] = []
        self.counts: Counter[str] = Counter()
        self.most_at_once = 0
        self.evicted: list[tuple[int, float]] = []
        """Numbers of the sessions that a third login closed, and when (as in the call log)."""

    def living(self, now: float) -> list[Session]:
        return [session for session in self.sessions if session.lives(now)]

    def open(self, config: SandboxConfig, now: float) -> Token:
        """Open a session; beyond `max_sessions` the oldest living one is closed."""
        session = Session(number=self.counts["logins"] + 1)
        self.counts["logins"] += 1
        self.sessions = [old for old in self.sessions if old.lives(now)]
        self.sessions.append(session)
        token = self._issue(session, config, now)
        self.most_at_once = max(self.most_at_once, len(self.sessions))
        for oldest in self.sessions[: -config.max_sessions]:
            oldest.closed = True
            self.counts["evicted"] += 1
            self.evicted.append((oldest.number, now))
        return token

    def renew(self, token: Token, config: SandboxConfig, now: float) -> Token:
        """Give the session another token; whether the old one stays valid is a switch."""
        self.counts["renewals"] += 1
        if not config.old_token_after_renewal:
            token.revoked = True
        return self._issue(token.session, config, now)

    def standing(self, value: str, now: float) -> tuple[Standing, Token | None]:
        token = self.tokens.get(value)
        if token is None:
            return "unknown", None
        if token.session.closed:
            return "closed", token
        if token.revoked or token.expires_at <= now:
            return "expired", token
        return "valid", token

    def expire_all(self, now: float) -> int:
        """End every token by time, as if its life had passed."""
        living = [token for token in self.tokens.values() if token.expires_at > now]
        for token in living:
            token.expires_at = now
        return len(living)

    def close_all(self, now: float) -> int:
        """Close every session from outside, as logins on the partner's web sites do."""
        living = self.living(now)
        for session in living:
            session.closed = True
        return len(living)

    def _issue(self, session: Session, config: SandboxConfig, now: float) -> Token:
        token = Token(
            id=f"{session.number}.{len(session.tokens) + 1}",
            value=secrets.token_urlsafe(48),
            session=session,
            expires_at=now + config.token_seconds,
        )
        session.tokens.append(token)
        self.tokens[token.value] = token
        return token
