"""The token as this process knows it, and what the shared row says of it: whether it is ours, and how long it lives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from worker.ledger import holds, sessions
from worker.ledger.crypto import Sealed, Vault
from worker.session import renewal_rules
from worker.session.host_changes import HostRules
from worker.session.identity import Identity, Token
from worker.session.token_recorder import LOGIN, RENEWAL

SCOPES = (
    holds.ALL,
    holds.PAUSE_ALL,
    holds.LOGIN,
    *(scope(name) for name in (LOGIN, RENEWAL) for scope in (holds.pause_scope, holds.endpoint_scope)),
)
"""Holds that keep back a renewal, a login, or both."""


@dataclass(slots=True)
class KnownToken:
    """The last token that was seen. `clock` is monotonic seconds."""

    vault: Vault
    identity: Identity
    host_rules: HostRules
    clock: Callable[[], float]
    _token: Token | None = None
    _usable_until: float = field(default=0.0)

    def current(self) -> Token | None:
        """The token, without I/O; None when it has ended, is doubtful, or was never seen."""
        return self._token if self.clock() < self._usable_until else None

    def drop(self, generation: int | None = None) -> None:
        """It is not used any more until the row is read again; with `generation` only if it is of that one."""
        if generation is None or (self._token is not None and self._token.generation == generation):
            self._usable_until = 0.0

    def open(self, state: sessions.SessionState) -> str | None:
        """The token of the row, if it is of our user and a key of ours opens it."""
        if state.token is None or not self.identity.owns(state.owner):
            return None
        if self._token is not None and self._token.generation == state.generation:
            return self._token.value
        try:
            return self.vault.open(state.token).decode()
        except Sealed:
            return None

    def remember(self, state: sessions.SessionState) -> Token | None:
        """Keeps the row's token for `current`, or nothing when it may not be used."""
        value = self.open(state)
        self._usable_until = 0.0
        if value is None or state.issued_at is None or state.expires_at is None:
            self._token = None
            return None
        hosts = self.host_rules.hosts(state.hosts)
        self._token = Token(value, state.generation, state.issued_at, state.expires_at, state.user_id, hosts)
        if state.suspect or state.rejected or state.expires_at <= state.now:
            return None
        # Life left is counted on our own monotonic clock from the database's time: no wall clock matters.
        self._usable_until = self.clock() + (state.expires_at - state.now).total_seconds()
        return self._token

    def use(self, state: sessions.SessionState) -> Token:
        """The row's token, which is used although it may be doubtful: it lives."""
        token = self.remember(replace(state, suspect=False))
        assert token is not None, "a token is used only while it lives"
        return token

    def facts(self, state: sessions.SessionState) -> renewal_rules.SessionFacts:
        """What the rules decide by."""
        # A rejected login keeps back only those who would try the same credentials again.
        held = [
            hold
            for hold in state.holds
            if hold.scope != holds.LOGIN or hold.fingerprint is None or self.identity.made(hold.fingerprint)
        ]
        token = self.open(state) is not None
        return renewal_rules.SessionFacts(
            token=token,
            issued_at=state.issued_at,
            expires_at=state.expires_at,
            suspect=state.suspect,
            rejected=state.rejected,
            renewal_failed=state.renewal_failed,
            busy_until=state.lease_until,
            everything=_worst(held, holds.ALL, holds.PAUSE_ALL),
            renewal=_worst(held, holds.pause_scope(RENEWAL), holds.endpoint_scope(RENEWAL)),
            login=_worst(held, holds.LOGIN, holds.pause_scope(LOGIN), holds.endpoint_scope(LOGIN)),
            others=not token and state.token is not None and (state.expires_at or state.now) > state.now,
            renewals=state.renewals,
            renewals_free_at=state.renewals_free_at,
            logins=state.logins,
            last_login_at=state.last_login_at,
            renew_after=state.renew_after,
            login_after=state.login_after,
            failure=state.failure,
            ask_hosts=any(row.asks(state.now) for row in state.hosts),
        )


def _worst(held: Sequence[holds.Hold], *scopes: str) -> renewal_rules.Block | None:
    """Of these holds the one that lasts longest."""
    hold = holds.longest([hold for hold in held if hold.scope in scopes])
    return None if hold is None else renewal_rules.Block(hold.until, hold.reason, hold.scope)
