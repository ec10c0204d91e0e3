"""The bridge's calls, each within the budget that all replicas share: requests over a socket, and a few over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog

from worker.ledger import holds, host_table
from worker.ledger.budget import SESSION_SCOPE, Budget, Closed, Kind, Wanted
from worker.ledger.call_log import begin_calls, finish_call, result_name
from worker.ledger.database import Connection, Database, DatabaseError
from worker.partner.client import PartnerClient
from worker.partner.lockout import LockOut
from worker.partner.socket_calls import HeldBack, Permit
from worker.partner.socket_protocol import SYNC
from worker.partner.token import Token
from worker.replies import Domain, Misdirected, Reply, Ticket, Unauthorized
from worker.session import NoSession, SessionKeeper

log = structlog.get_logger()

LOOK_EVERY = 2.0
"""Seconds between looks at the ledger while something keeps calls back. Looks cost the partner nothing, and whatever
it is - a pause, a hold, an empty budget - an operator may end it at any time."""

SOON = 0.5
"""Seconds until the next look while another replica renews the session."""

SYNCS_AN_HOUR = 300
"""The vendor's limit, all counted: a server that takes the token and then cuts us is not tried more often."""

SIGNALS, FIND = "adminAlertSignal/deps", "adminAlert/find"

ALERT_NAME = "custapp:nonpro-signed"
"""The vendor's name for the alert of the Market Data Agreement, in both of its environments."""


@dataclass(slots=True)
class CountedCalls:
    """Shared by both sockets and the catch-up. `lasts`: of a lock-out. `observe` gets an operation, its result, its
    seconds.
    """

    database: Database
    session: SessionKeeper
    client: PartnerClient
    budget: Budget
    replica: str
    lockout: LockOut
    lasts: timedelta
    observe: Callable[[str, str, float], None] = lambda _operation, _result, _seconds: None
    _why: str | None = None

    async def begin(
        self, operation: str, domain: Domain, kind: Kind, per_hour: int | None = None, body: bytes = b""
    ) -> Permit:
        """Writes a call down before it leaves. Raises `HeldBack`, or `DatabaseError`. `body`: see `Permit`."""
        if (why := self.lockout.why_silent) is not None:
            raise self._held_back(why, LOOK_EVERY)
        for _ in range(3):  # the token may be replaced between the two looks
            try:
                token = await self.session.ensure()
            except NoSession as none:
                raise self._held_back(none.why, SOON if none.scope in ("lease", "retry") else LOOK_EVERY) from None
            opened = await self.database.atomically(
                partial(self._open, operation, domain, kind, per_hour, token.generation, body)
            )
            if not isinstance(opened, Closed):
                self._why = None
                return Permit(opened[0], operation, token, opened[1], body)
            if opened.scope != SESSION_SCOPE:
                raise self._held_back(opened.why, LOOK_EVERY)
        raise self._held_back("the session changes", SOON)

    async def finish(self, permit: Permit, reply: Reply, seconds: float = 0.0, *, finds_out: bool = False) -> None:
        """Notes what came back, and what it means for all replicas. `finds_out`: see `get`."""
        self.observe(permit.operation, result_name(reply), seconds)

        async def work(connection: Connection) -> None:
            await finish_call(connection, permit.call_id, reply, lockout_seconds=self.lasts.total_seconds())
            if finds_out and isinstance(reply, Misdirected) and reply.status in (404, 405):
                await host_table.doubt_of_call(connection, permit.call_id, reply.why)
            if isinstance(reply, Ticket) and not reply.captcha:
                await _keep_ticket(connection, permit, reply)

        await _insist(lambda: self.database.atomically(work))
        if isinstance(reply, Unauthorized):
            await _insist(lambda: self.session.reject(permit.token.generation))

    async def get(
        self, domain: Domain, operation: str, query: Mapping[str, str | int], *, finds_out: bool = False
    ) -> Reply:
        """One GET over HTTP of the path that stands before an `@` in `operation`. Raises as `begin` does.

        `finds_out`: what is asked for exists wherever the domain is, so that an empty 404 comes from a wrong host.
        """
        permit = await self.begin(operation, domain, "look_up")
        began = time.monotonic()
        reply = await self.client.get(domain, f"/{operation.partition('@')[0]}", query, token=permit.token)
        await self.finish(permit, reply, time.monotonic() - began, finds_out=finds_out)
        return reply

    async def find_alert(self, domain: Domain, *, finds_out: bool = True) -> Reply:
        """Asks for the alert of the Market Data Agreement by its name: a small read that any right host answers."""
        return await self.get(domain, FIND, {"name": ALERT_NAME}, finds_out=finds_out)

    async def _open(
        self,
        operation: str,
        domain: Domain,
        kind: Kind,
        per_hour: int | None,
        generation: int,
        body: bytes,
        connection: Connection,
    ) -> Closed | tuple[int, str | None]:
        wanted = Wanted(operation, domain, kind, self.replica, per_hour=per_hour, generation=generation)
        opened = await begin_calls(connection, wanted, self.budget)
        if isinstance(opened, Closed):
            return opened
        hold = await holds.ticket_at(connection, operation, _digest(body)) if operation == SYNC else None
        spent = hold is not None and await holds.spend_ticket(connection, hold.id)
        return opened.call_ids[0], hold.ticket if hold is not None and spent else None

    def _held_back(self, why: str, wait: float) -> HeldBack:
        if why != self._why:
            log.warning("bridge.held_back", why=why)
            self._why = why
        return HeldBack(wait, why)


@dataclass(slots=True)
class SocketCalls:
    """The requests of one domain's socket."""

    calls: CountedCalls
    domain: Domain
    _began: dict[int, float] = field(default_factory=dict)

    async def begin(self, operation: str, body: bytes = b"") -> Permit:
        """See `socket_calls.Calls`."""
        per_hour = SYNCS_AN_HOUR if operation == SYNC else None
        permit = await self.calls.begin(operation, self.domain, "socket", per_hour, body)
        self._began[permit.call_id] = time.monotonic()
        return permit

    @property
    def lockout(self) -> LockOut:
        """What this process knows of lock-outs."""
        return self.calls.lockout

    @property
    def token(self) -> Token | None:
        """The token and its hosts as last seen."""
        return self.calls.session.current()

    async def ask(self) -> None:
        """One small read over HTTP, for what its response says of the domain's host."""
        with suppress(HeldBack, DatabaseError):
            await self.calls.find_alert(self.domain)

    async def finish(self, permit: Permit, reply: Reply) -> None:
        """See `socket_calls.Calls`."""
        now = time.monotonic()
        await self.calls.finish(permit, reply, now - self._began.pop(permit.call_id, now))


async def _keep_ticket(connection: Connection, permit: Permit, ticket: Ticket) -> None:
    """A ticket of the sync request serves any connection of any bridge whose request has the same body.

    How a GET would carry a ticket is not documented: it waits, and is sent again without one.
    """
    if permit.operation == SYNC:
        digest = _digest(permit.body)
        await holds.put_ticket(connection, SYNC, ticket.wait, ticket.ticket, body_digest=digest, batch_id=None)
    else:
        await holds.put(connection, holds.endpoint_scope(permit.operation), "a penalty ticket", lasts=ticket.wait)


def _digest(body: bytes) -> bytes:
    """Of a sync request's body, which holds nothing secret."""
    return hashlib.sha256(body).digest()


async def _insist(work: Callable[[], Awaitable[object]]) -> None:
    """What came back must be written down: a lock-out that is not known is started again by the next call."""
    for left in range(4, -1, -1):
        try:
            await work()
        except DatabaseError as error:
            if not left:
                log.warning("bridge.call_not_noted", error=error.reason)
                return
            await asyncio.sleep(0.3)
        else:
            return
