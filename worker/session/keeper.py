"""The keeper of the one session that all replicas share: renews it, logs in again when nothing else helps.

The decisions are in `rules`, the shared row is in `ledger.sessions`; here is the driver around them. One
replica at a time renews or logs in (a lease in the row), each may.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from worker.ledger import holds, sessions
from worker.ledger.budget import Budget, Closed
from worker.ledger.call_log import BEGIN_LOCK, begin_calls
from worker.ledger.crypto import Sealed, Vault
from worker.ledger.database import Connection, Database, DatabaseError
from worker.ledger.host_table import DomainHost
from worker.partner.client import PartnerClient
from worker.partner.hosts import Source
from worker.replies import Domain
from worker.session import renewal_rules
from worker.session.host_changes import HostRules, InUse, Reached
from worker.session.identity import Credentials, Identity, NoSession, Token
from worker.session.login_request import LEASE_MARGIN, Sending, wanted
from worker.session.recording import LOGIN, RENEWAL, Job, Notes

__all__ = ["LOGIN", "RENEWAL", "Credentials", "NoSession", "SessionKeeper", "Token"]

_SCOPES = (
    holds.ALL,
    holds.PAUSE_ALL,
    holds.LOGIN,
    *(scope(name) for name in (LOGIN, RENEWAL) for scope in (holds.pause_scope, holds.endpoint_scope)),
)

LOOK_EVERY = 2.0
"""Seconds between two looks at the shared row: the most that a replica goes on with a token that another replaced."""
TOO_FAST = "the session changes faster than it can be used"
"""Why there is none, when other replicas have renewed it in between, again and again."""

OTHERS_WAIT = timedelta(seconds=0.5)
"""How soon to ask again while another replica is at it."""

log = structlog.get_logger(__name__)


class SessionKeeper:
    """The one session for all replicas. `clock` is monotonic seconds.

    Every method but `current` may raise `DatabaseError`.
    """

    def __init__(
        self,
        db: Database,
        client: PartnerClient,
        vault: Vault,
        credentials: Credentials,
        *,
        replica: str,
        budget: Budget,
        lockout_seconds: float,
        observe: Callable[[str, str, int, float], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._client = client
        self._vault = vault
        self._replica = replica
        self._budget = budget
        self._clock = clock
        self._identity = Identity(vault, credentials, client.addresses)
        self._places = HostRules(client.addresses, self._identity.places, self._identity.placed)
        self._notes = Notes(vault, credentials, self._identity, self._places, lockout_seconds)
        self._sending = Sending(
            db, client, credentials, self._places, self._notes, budget, replica, clock, observe=observe
        )
        self._one_at_a_time = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()
        self._token: Token | None = None
        self._usable_until = 0.0
        self._trouble: NoSession | None = None
        self._said: str | None = None  # why there is no session, as the log has it
        self._away: str | None = None  # why the ledger cannot be used, as the log has it

    @property
    def trouble(self) -> NoSession | None:
        """Why there was no session when last asked, for health; None while there is one."""
        return self._trouble

    def current(self) -> Token | None:
        """The token as last seen, without I/O; None when it has ended, is doubtful, was never seen, or in a lock-out
        that this process remembers and the ledger does not know yet.
        """
        return self._token if self._clock() < self._usable_until and self._locked_out is None else None

    def _check_lockout(self) -> None:
        if (why := self._locked_out) is not None:
            raise NoSession(None, why, holds.ALL)

    @property
    def _locked_out(self) -> str | None:
        lockout = self._client.lockout
        return None if lockout is None else lockout.why_silent

    def in_use(self, rows: Sequence[DomainHost]) -> Sequence[InUse]:
        """Where the calls go, for people: from the ledger's rows."""
        return self._places.in_use(rows)

    async def refresh(self) -> Token | None:
        """Reads the shared row; makes no call."""
        async with self._db.connection() as conn:
            state = await sessions.load(conn, _SCOPES, renewal=RENEWAL, login=LOGIN)
        return self._remember(state)

    async def ensure(self) -> Token:
        """A token that may be used now; renews or logs in if that is due and allowed. Raises `NoSession`."""
        async with self._one_at_a_time:
            try:
                self._check_lockout()
                token = await self._ensure()
            except NoSession as none:
                self._usable_until = 0.0
                if none.scope != "lease" and none.why != self._said:  # said on change, not at every look
                    log.warning("session.none", why=none.why, scope=none.scope, until=none.until)
                    self._said = none.why
                self._trouble = none
                raise
            if self._said is not None:
                log.info("session.usable")
            self._trouble = self._said = None
            return token

    async def reject(self, generation: int) -> bool:
        """An ordinary call with the token of this generation was answered 401 (or 403).

        True: the token is, or has been, replaced (`ensure` does it), so the call may be sent again with the next.
        False: the partner has just renewed that token or its predecessor, so what is missing is a permission.
        """
        async with self._db.transaction() as conn:
            again = await sessions.reject(conn, generation)
        if again and self._token is not None and self._token.generation == generation:
            self._usable_until = 0.0
        return again

    async def run(self) -> None:
        """Keeps the session alive until cancelled."""
        while True:
            try:
                wait = await self.run_once()
            except DatabaseError as error:
                if error.reason != self._away:
                    log.warning("session.ledger_away", error=error.reason)
                self._away = error.reason
                wait = LOOK_EVERY
            else:
                self._away = None
            await asyncio.sleep(wait)

    async def run_once(self) -> float:
        """Does what is due; seconds until the next look."""
        with contextlib.suppress(NoSession):  # `ensure` has said it, in log and health
            await self.ensure()
        return LOOK_EVERY

    async def aclose(self) -> None:
        """Waits for a renewal or login that is under way; the client's timeout bounds it."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._sending.aclose()

    async def _ensure(self) -> Token:
        until: datetime | None = None
        for _ in range(4):  # a renewal, a login when that fails, and a look at what each has left
            turn = await self._turn()
            if isinstance(turn, Token):
                return turn
            # What came back must be written down even if its caller is cancelled: a token that is lost
            # leaves a session behind that lives for an hour and counts.
            task = asyncio.create_task(self._sending.carry_out(turn))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
            await asyncio.shield(task)
            until = turn.began + OTHERS_WAIT
        raise NoSession(until, TOO_FAST, "retry")

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen: it is raised to the caller, who may have gone

    async def _turn(self) -> Token | Job:
        async with self._db.connection() as conn:
            state = await sessions.load(conn, _SCOPES, renewal=RENEWAL, login=LOGIN)
        self._db.clock.set(state.now)
        if renewal_rules.decide(self._facts(state), state.now) == renewal_rules.Use() and (
            token := self._remember(state)
        ):
            return token
        claimed = await self._db.atomically(self._claim)
        if isinstance(claimed, NoSession):
            raise claimed
        return claimed

    async def _claim(self, conn: Connection) -> Token | Job | NoSession:
        """Decides again under the lock, and writes down what is about to be done.

        Why there is no session is returned, not raised: what was written for the operator must be committed.
        """
        claimed_at = self._clock()
        await conn.execute("select pg_advisory_xact_lock($1)", BEGIN_LOCK)
        state = await sessions.load(conn, _SCOPES, renewal=RENEWAL, login=LOGIN, lock=True)
        if not self._client.addresses.follow and await self._notes.not_asked(conn, None):
            state = await sessions.load(conn, _SCOPES, renewal=RENEWAL, login=LOGIN)
        facts = self._facts(state)
        match renewal_rules.decide(facts, state.now):
            case renewal_rules.Use(forget):
                if forget:
                    await sessions.drop_suspicion(conn, state.generation)
                return self._use(state)
            case renewal_rules.UseWithoutAsking(until):
                return await self._use_without_asking(conn, state, until)
            case renewal_rules.SessionWait() as wait:
                return self._none(state, wait)
            case renewal_rules.Renew():
                operation = RENEWAL
            case renewal_rules.LogIn():
                operation = LOGIN
            case never:
                assert_never(never)
        opened = await begin_calls(conn, wanted(operation, self._replica), self._budget)
        if isinstance(opened, Closed):
            if operation == RENEWAL and not facts.suspect and not facts.rejected:
                # It lives on, and the renewal comes when it may.
                return await self._use_without_asking(conn, state, opened.until)
            return NoSession(opened.until, opened.why, opened.scope)
        lease = uuid.uuid4()
        await sessions.take_lease(conn, lease, self._sending.lease)
        host = self._places.hosts(state.hosts).get(Domain.LIVE)
        return Job(
            lease,
            opened.call_ids[0],
            state.now,
            claimed_at + LEASE_MARGIN,
            state,
            Reached(host, Source.SETTINGS),
            token=self._open(state) if operation == RENEWAL else None,
            ticket=await self._ticket(conn) if operation == LOGIN else None,
        )

    async def _use_without_asking(
        self, conn: Connection, state: sessions.SessionState, until: datetime | None
    ) -> Token:
        """The token, though the renewal that would fetch the hosts cannot be made before `until`."""
        if await self._notes.not_asked(conn, until):
            state = await sessions.load(conn, _SCOPES, renewal=RENEWAL, login=LOGIN)
        return self._use(state)

    async def _ticket(self, conn: Connection) -> str | None:
        """The penalty ticket that this login must carry, taken out of the ledger."""
        hold = await holds.ticket_at(conn, LOGIN)
        if hold is None or not await holds.spend_ticket(conn, hold.id):
            return None
        return hold.ticket if self._identity.made(hold.fingerprint) else None

    def _none(self, state: sessions.SessionState, wait: renewal_rules.SessionWait) -> NoSession:
        until = wait.until
        if wait.scope == "lease":
            until = min(until or state.now, state.now + OTHERS_WAIT)
        return NoSession(until, wait.why, wait.scope)

    def _facts(self, state: sessions.SessionState) -> renewal_rules.SessionFacts:
        # A rejected login keeps back only those who would try the same credentials again.
        held = [
            hold
            for hold in state.holds
            if hold.scope != holds.LOGIN or hold.fingerprint is None or self._identity.made(hold.fingerprint)
        ]
        token = self._open(state) is not None
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

    def _open(self, state: sessions.SessionState) -> str | None:
        """The token of the row, if it is of our user and a key of ours opens it."""
        if state.token is None or not self._identity.owns(state.owner):
            return None
        if self._token is not None and self._token.generation == state.generation:
            return self._token.value
        try:
            return self._vault.open(state.token).decode()
        except Sealed:
            return None

    def _remember(self, state: sessions.SessionState) -> Token | None:
        """Keeps the row's token for `current`, or nothing when it may not be used."""
        value = self._open(state)
        self._usable_until = 0.0
        if value is None or state.issued_at is None or state.expires_at is None:
            self._token = None
            return None
        hosts = self._places.hosts(state.hosts)
        self._token = Token(value, state.generation, state.issued_at, state.expires_at, state.user_id, hosts)
        if state.suspect or state.rejected or state.expires_at <= state.now:
            return None
        # Life left is counted on our own monotonic clock from the database's time: no wall clock matters.
        self._usable_until = self._clock() + (state.expires_at - state.now).total_seconds()
        return self._token

    def _use(self, state: sessions.SessionState) -> Token:
        token = self._remember(replace(state, suspect=False))
        assert token is not None, "a token is used only while it lives"
        return token


def _worst(held: Sequence[holds.Hold], *scopes: str) -> renewal_rules.Block | None:
    """Of these holds the one that lasts longest."""
    hold = holds.longest([hold for hold in held if hold.scope in scopes])
    return None if hold is None else renewal_rules.Block(hold.until, hold.reason, hold.scope)
