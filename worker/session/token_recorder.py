"""Records the result of a renewal or a login: the call, the shared row, the hosts, the holds, in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from worker.ledger import holds, host_table, sessions
from worker.ledger.call_log import finish_call
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection
from worker.partner.client import Exchange
from worker.partner.hosts import Source
from worker.replies import Answer, Domain, Silence, Ticket
from worker.session.host_changes import HostRules, Reached
from worker.session.identity import Credentials, Identity
from worker.session.renewal_rules import back_off
from worker.session.token_response import Denied, Failed, Granted, TokenResult

LOGIN = "accessTokenRequest"
RENEWAL = "renewAccessToken"

log = structlog.get_logger("worker.session")


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A renewal or a login that is in the call log and is sent now, to `reached`.

    `token`: the one to be renewed; None: a login. `tried`: the hosts that this request was sent to before.
    """

    lease: uuid.UUID
    call_id: int
    began: datetime
    send_before: float
    state: sessions.SessionState
    reached: Reached
    token: str | None = field(default=None, repr=False)
    ticket: str | None = field(default=None, repr=False)
    tried: Sequence[str | None] = ()

    @property
    def operation(self) -> str:
        """The endpoint's name."""
        return LOGIN if self.token is None else RENEWAL

    @property
    def locks_out(self) -> bool:
        """Whether a 423 or 429 is a lock-out. A session that was closed from outside may answer like that: for
        its renewal it only means that a login must follow (README, "What happens when").
        """
        return self.token is None or not self.state.suspect


class TokenRecorder:
    """Records responses. `lockout_seconds`: how long a lock-out lasts."""

    def __init__(
        self, vault: Vault, credentials: Credentials, identity: Identity, host_rules: HostRules, lockout_seconds: float
    ) -> None:
        self._vault = vault
        self._credentials = credentials
        self._identity = identity
        self._host_rules = host_rules
        self._lockout_seconds = lockout_seconds

    async def call(self, conn: Connection, request: TokenRequest, exchange: Exchange, since: float = 0.0) -> None:
        """The call alone, of a request that is sent to another host next. `since`: seconds since the answer came, which
        is when a lock-out begins.
        """
        lockout = max(0.0, self._lockout_seconds - since)
        await finish_call(conn, request.call_id, exchange.reply, lockout_seconds=lockout, locks_out=request.locks_out)

    async def renewal(
        self, conn: Connection, request: TokenRequest, exchange: Exchange, result: TokenResult, since: float
    ) -> None:
        """The result of a renewal, which came `since` seconds ago."""
        await self.call(conn, request, exchange, since)
        match result:
            case Granted(token, life):
                generation = await sessions.store_renewal(
                    conn,
                    request.lease,
                    token=self._vault.seal(token.encode()),
                    issued_at=request.began,
                    expires_at=request.began + life,
                    password_expires_at=_moment(request, result),
                )
                await self._hosts(conn, request, exchange, Source.RENEWAL, generation)
                log.info("session.renewed", life_seconds=int(life.total_seconds()), stored=generation is not None)
            case Denied(text):
                await sessions.end_session(conn, request.lease)
                log.warning("session.renewal_denied", text=self._credentials.scrub(text))
            case Failed(why, sent):
                if isinstance(exchange.reply, Ticket) and not exchange.reply.captcha:
                    scope = holds.endpoint_scope(RENEWAL)  # how a GET would carry a ticket is not documented
                    await holds.put(conn, scope, "a penalty ticket", lasts=exchange.reply.wait)
                again_in = back_off(request.state.renew_failures + 1, sent=sent)
                await sessions.note_renewal_failure(
                    conn,
                    request.lease,
                    why=self._credentials.scrub(why),
                    again_in=again_in,
                    final=sent and not (isinstance(exchange.reply, Silence) and request.locks_out),
                )
                await self.not_asked(conn, request.began + again_in)
                log.warning("session.renewal_failed", why=why)
            case never:
                assert_never(never)
        await sessions.give_back(conn, request.lease)

    async def login(
        self, conn: Connection, request: TokenRequest, exchange: Exchange, result: TokenResult, since: float
    ) -> None:
        """The result of a login, which came `since` seconds ago."""
        await self.call(conn, request, exchange, since)
        match result:
            case Granted(token, life, user_id):
                generation = await sessions.store_login(
                    conn,
                    request.lease,
                    token=self._vault.seal(token.encode()),
                    owner=self._identity.owner,
                    issued_at=request.began,
                    expires_at=request.began + life,
                    user_id=user_id,
                    password_expires_at=_moment(request, result),
                )
                await self._hosts(conn, request, exchange, Source.LOGIN, generation)
                await holds.end(conn, holds.LOGIN, "a login was accepted")
                log.info("session.opened", life_seconds=int(life.total_seconds()), stored=generation is not None)
            case Denied(text):
                said = self._credentials.scrub(text)
                await holds.put(conn, holds.LOGIN, said, lasts=None, fingerprint=self._identity.fingerprint)
                log.error("session.login_rejected", text=said)
            case Failed(why, sent):
                if isinstance(exchange.reply, Ticket):
                    await self._keep_ticket(conn, exchange.reply)
                elif not isinstance(exchange.reply, Silence):
                    wait = back_off(request.state.login_failures + 1, sent=sent)
                    await sessions.note_login_failure(
                        conn, request.lease, why=self._credentials.scrub(why), again_in=wait
                    )
                log.warning("session.login_failed", why=why)
            case never:
                assert_never(never)
        await sessions.give_back(conn, request.lease)

    async def not_asked(self, conn: Connection, until: datetime | None) -> bool:
        """The hosts could not be fetched, and cannot be before `until`; whether that changed anything."""
        rows, now = await host_table.load(conn), await host_table.now(conn)
        moves = any(row.asks(now) and self._host_rules.redirect(row) is not None for row in rows)
        # With another host the token stays the same, but every replica must read it again before its next call.
        generation = await sessions.next_generation(conn) if moves else 0
        await self._save(conn, rows, self._host_rules.not_asked(rows, until, generation, now))
        return any(row.asks(now) for row in rows)

    async def _hosts(
        self, conn: Connection, request: TokenRequest, exchange: Exchange, source: Source, generation: int | None
    ) -> None:
        if generation is None or not isinstance(exchange.reply, Answer):
            return  # another replica has taken over: what it writes is newer
        offer = self._host_rules.addresses.offered(exchange.reply.body)
        rows, now = await host_table.load(conn), await host_table.now(conn)
        await self._save(conn, rows, self._host_rules.answered(rows, offer, request.reached, source, generation, now))

    async def _save(
        self, conn: Connection, before: Sequence[host_table.DomainHost], after: Sequence[host_table.DomainHost]
    ) -> None:
        for old, new in zip(before, after, strict=True):
            if new == old:
                continue
            await host_table.save(conn, new)
            shown = self._host_rules.addresses.shown
            domain = Domain(new.domain)
            if shown(domain, new.host) != shown(domain, old.host):
                log.warning("session.host_changed", domain=domain, host=shown(domain, new.host), source=new.source)
            if new.ignored is not None and new.ignored != old.ignored:
                log.warning("session.host_ignored", domain=domain, value=new.ignored, why=new.ignored_why)
            if new.asked_at is not None and new.asked_at != old.asked_at:
                log.warning("session.host_doubted", domain=domain, why=new.doubt, leads_to=new.leads_to)

    async def _keep_ticket(self, conn: Connection, ticket: Ticket) -> None:
        if not ticket.captcha:  # with a captcha the endpoint is held for an hour: `finish_call` has written that hold
            fingerprint = self._identity.fingerprint
            await holds.put_ticket(
                conn, LOGIN, ticket.wait, ticket.ticket, body_digest=None, batch_id=None, fingerprint=fingerprint
            )


def _moment(request: TokenRequest, granted: Granted) -> datetime | None:
    ends_in: timedelta | None = granted.password_ends_in
    return None if ends_in is None else request.began + ends_in
