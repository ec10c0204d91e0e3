"""Writes down what a renewal or a login brought: the call, the shared row, and the holds, in one transaction."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

import structlog

from worker.ledger import holds, sessions
from worker.ledger.calls import finish_call
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection
from worker.replies import Silence, Ticket
from worker.session import rules
from worker.session.identity import Credentials, Identity
from worker.tradovate.client import Exchange

LOGIN = "accessTokenRequest"
RENEWAL = "renewAccessToken"

log = structlog.get_logger("worker.session")


@dataclass(frozen=True, slots=True)
class Job:
    """A renewal or a login that has been written down and goes out now."""

    lease: uuid.UUID
    call_id: int
    began: datetime
    send_before: float
    state: sessions.SessionState
    token: str | None = field(default=None, repr=False)  # to be renewed
    login_id: int | None = None
    ticket: str | None = field(default=None, repr=False)


class Notes:
    """Notes of what came back. `lockout_seconds`: the silence after a 423 or 429."""

    def __init__(self, vault: Vault, credentials: Credentials, identity: Identity, lockout_seconds: float) -> None:
        self._vault = vault
        self._credentials = credentials
        self._identity = identity
        self._lockout_seconds = lockout_seconds

    async def renewal(self, conn: Connection, job: Job, exchange: Exchange, verdict: rules.Verdict) -> None:
        await finish_call(conn, job.call_id, exchange.reply, lockout_seconds=self._lockout_seconds)
        match verdict:
            case rules.Granted(token, life):
                stored = await sessions.store_renewal(
                    conn,
                    job.lease,
                    token=self._vault.seal(token.encode()),
                    issued_at=job.began,
                    expires_at=job.began + life,
                )
                log.info("session.renewed", life_seconds=int(life.total_seconds()), stored=stored)
            case rules.Denied(text):
                await sessions.end_session(conn, job.lease)
                log.warning("session.renewal_denied", text=self._credentials.scrub(text))
            case rules.Failed(why, _, sent):
                if isinstance(exchange.reply, Ticket) and not exchange.reply.captcha:
                    scope = holds.endpoint_scope(RENEWAL)  # how a GET would carry a ticket, nobody knows
                    await holds.put(conn, scope, "a penalty ticket", lasts=exchange.reply.wait)
                await sessions.note_renewal_failure(
                    conn,
                    job.lease,
                    again_in=rules.back_off(job.state.renew_failures + 1, sent=sent),
                    final=sent and not isinstance(exchange.reply, Silence),
                )
                log.warning("session.renewal_failed", why=why)
            case never:
                assert_never(never)
        await sessions.give_back(conn, job.lease)

    async def login(
        self, conn: Connection, job: Job, login_id: int, exchange: Exchange, verdict: rules.Verdict
    ) -> None:
        await finish_call(conn, job.call_id, exchange.reply, lockout_seconds=self._lockout_seconds)
        match verdict:
            case rules.Granted(token, life, user_id):
                await sessions.store_login(
                    conn,
                    job.lease,
                    login_id,
                    token=self._vault.seal(token.encode()),
                    owner=self._identity.owner,
                    issued_at=job.began,
                    expires_at=job.began + life,
                    user_id=user_id,
                )
                for scope in (holds.LOGIN, holds.SESSIONS):
                    await holds.end(conn, scope, "a login was accepted")
                log.info("session.opened", life_seconds=int(life.total_seconds()))
            case rules.Denied(text):
                said = self._credentials.scrub(text)
                await sessions.end_login(conn, login_id)
                await holds.put(
                    conn,
                    holds.LOGIN,
                    f"Tradovate rejected the login: {said}",
                    lasts=None,
                    fingerprint=self._identity.fingerprint,
                )
                log.error("session.login_rejected", text=said)
            case rules.Failed(why, opened, sent):
                if not opened:
                    await sessions.end_login(conn, login_id)
                if isinstance(exchange.reply, Ticket):
                    await self._keep_ticket(conn, exchange.reply)
                elif not isinstance(exchange.reply, Silence):
                    wait = rules.back_off(job.state.login_failures + 1, sent=sent)
                    await sessions.note_login_failure(conn, job.lease, again_in=wait)
                log.warning("session.login_failed", why=why, may_have_opened=opened)
            case never:
                assert_never(never)
        await sessions.give_back(conn, job.lease)

    async def _keep_ticket(self, conn: Connection, ticket: Ticket) -> None:
        if not ticket.captcha:  # with a captcha the endpoint rests for an hour: `finish_call` has seen to it
            fingerprint = self._identity.fingerprint
            await holds.put_ticket(
                conn, LOGIN, ticket.wait, ticket.ticket, body_digest=None, company=None, fingerprint=fingerprint
            )
