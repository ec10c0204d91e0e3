"""The keeper of the one session that all replicas share: renews it, logs in again when nothing else helps.

The decisions are in `renewal_rules.py`, the shared row is in `ledger/sessions.py`, what it says of the token in
`known_token.py`; here is the driver around them. One replica at a time renews or logs in (a lease in the row).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from worker.ledger import holds, sessions
from worker.ledger.budget import Budget, Closed
from worker.ledger.call_log import begin_calls, begin_lock
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, Database, DatabaseError
from worker.ledger.host_table import DomainHost
from worker.partner.client import PartnerClient
from worker.partner.hosts import Source
from worker.replies import Domain
from worker.session import renewal_rules
from worker.session.host_changes import HostRules, InUse, Reached
from worker.session.identity import Credentials, Identity, NoSession, Token
from worker.session.known_token import SCOPES, KnownToken
from worker.session.token_recorder import LOGIN, RENEWAL, TokenRecorder, TokenRequest
from worker.session.token_sender import LEASE_MARGIN, TokenSender, wanted

__all__ = ["LOGIN", "RENEWAL", "Credentials", "NoSession", "SessionKeeper", "Token"]

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
        self._replica = replica
        self._budget = budget
        self._clock = clock
        self._identity = Identity(vault, credentials, client.addresses)
        self._host_rules = HostRules(client.addresses, self._identity.addresses_digest, self._identity.has_addresses)
        self._recorder = TokenRecorder(vault, credentials, self._identity, self._host_rules, lockout_seconds)
        self._sender = TokenSender(
            db, client, credentials, self._host_rules, self._recorder, budget, replica, clock, observe=observe
        )
        self._one_at_a_time = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()
        self._known = KnownToken(vault, self._identity, self._host_rules, clock)
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
        return self._known.current() if self._locked_out is None else None

    def _check_lockout(self) -> None:
        if (why := self._locked_out) is not None:
            raise NoSession(None, why, holds.ALL)

    @property
    def _locked_out(self) -> str | None:
        lockout = self._client.lockout
        return None if lockout is None else lockout.why_silent

    def in_use(self, rows: Sequence[DomainHost]) -> Sequence[InUse]:
        """Where the calls go, for people: from the ledger's rows."""
        return self._host_rules.in_use(rows)

    async def refresh(self) -> Token | None:
        """Reads the shared row; makes no call."""
        async with self._db.connection() as conn:
            state = await sessions.load(conn, SCOPES, renewal=RENEWAL, login=LOGIN)
        return self._known.remember(state)

    async def ensure(self) -> Token:
        """A token that may be used now; renews or logs in if that is due and allowed. Raises `NoSession`."""
        async with self._one_at_a_time:
            try:
                self._check_lockout()
                token = await self._ensure()
            except NoSession as none:
                self._known.drop()
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
        if again:
            self._known.drop(generation)
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
        await self._sender.aclose()

    async def _ensure(self) -> Token:
        until: datetime | None = None
        for _ in range(4):  # a renewal, a login when that fails, and a look at what each has left
            claimed = await self._token_or_request()
            if isinstance(claimed, Token):
                return claimed
            # What came back must be written down even if its caller is cancelled: a token that is lost
            # leaves a session behind that lives for an hour and counts.
            task = asyncio.create_task(self._sender.carry_out(claimed))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
            await asyncio.shield(task)
            until = claimed.began + OTHERS_WAIT
        raise NoSession(until, TOO_FAST, "retry")

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen: it is raised to the caller, who may have gone

    async def _token_or_request(self) -> Token | TokenRequest:
        async with self._db.connection() as conn:
            state = await sessions.load(conn, SCOPES, renewal=RENEWAL, login=LOGIN)
        self._db.clock.set(state.now)
        if renewal_rules.decide(self._known.facts(state), state.now) == renewal_rules.Use() and (
            token := self._known.remember(state)
        ):
            return token
        claimed = await self._db.atomically(self._claim)
        if isinstance(claimed, NoSession):
            raise claimed
        return claimed

    async def _claim(self, conn: Connection) -> Token | TokenRequest | NoSession:
        """Decides again under the lock, and writes down what is about to be done.

        Why there is no session is returned, not raised: what was written for the operator must be committed.
        """
        claimed_at = self._clock()
        await begin_lock(conn)
        state = await sessions.load(conn, SCOPES, renewal=RENEWAL, login=LOGIN, lock=True)
        if not self._client.addresses.follow and await self._recorder.not_asked(conn, None):
            state = await sessions.load(conn, SCOPES, renewal=RENEWAL, login=LOGIN)
        facts = self._known.facts(state)
        match renewal_rules.decide(facts, state.now):
            case renewal_rules.Use(forget):
                if forget:
                    await sessions.drop_suspicion(conn, state.generation)
                return self._known.use(state)
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
                # The session is still valid: it is renewed as soon as the budget allows.
                return await self._use_without_asking(conn, state, opened.until)
            return NoSession(opened.until, opened.why, opened.scope)
        lease = uuid.uuid4()
        await sessions.take_lease(conn, lease, self._sender.lease)
        host = self._host_rules.hosts(state.hosts).get(Domain.LIVE)
        return TokenRequest(
            lease,
            opened.call_ids[0],
            state.now,
            claimed_at + LEASE_MARGIN,
            state,
            Reached(host, Source.SETTINGS),
            token=self._known.open(state) if operation == RENEWAL else None,
            ticket=await self._ticket(conn) if operation == LOGIN else None,
        )

    async def _use_without_asking(
        self, conn: Connection, state: sessions.SessionState, until: datetime | None
    ) -> Token:
        """The token, though the renewal that would fetch the hosts cannot be made before `until`."""
        if await self._recorder.not_asked(conn, until):
            state = await sessions.load(conn, SCOPES, renewal=RENEWAL, login=LOGIN)
        return self._known.use(state)

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
