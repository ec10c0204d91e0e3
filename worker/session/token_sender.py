"""Sends a renewal or a login: to one host after another, until one of them answers as Tradovate does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from worker.backoff import Schedule
from worker.ledger import sessions
from worker.ledger.budget import Budget, Closed, Wanted
from worker.ledger.call_log import begin_calls, result_name
from worker.ledger.database import Connection, Database, DatabaseError
from worker.partner.client import Exchange, PartnerClient
from worker.replies import Domain, Misdirected, NotSent
from worker.session import renewal_rules
from worker.session.host_changes import HostRules, Reached
from worker.session.identity import Credentials
from worker.session.token_recorder import LOGIN, RENEWAL, TokenRecorder, TokenRequest
from worker.session.token_response import read_login, read_renewal

LEASE_MARGIN = 5.0
"""Seconds that a lease outlives its call: to claim before it, and to write down what came of it."""

log = structlog.get_logger(__name__)


def wanted(operation: str, replica: str) -> Wanted:
    """A renewal or a login, as a call that the budget knows."""
    per_hour = renewal_rules.RENEWALS_AN_HOUR if operation == RENEWAL else None
    return Wanted(operation, Domain.LIVE, "session", replica, reserve=True, per_hour=per_hour)


@dataclass(slots=True)
class TokenSender:
    """`observe` gets operation, result, items and seconds of each call; `clock` is monotonic seconds."""

    db: Database
    client: PartnerClient
    credentials: Credentials
    host_rules: HostRules
    recorder: TokenRecorder
    budget: Budget
    replica: str
    clock: Callable[[], float]
    observe: Callable[[str, str, int, float], None] = lambda *_: None
    _writing: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def lease(self) -> timedelta:
        """How long a replica may hold the session's row for one call."""
        return timedelta(seconds=self.client.timeout_seconds + LEASE_MARGIN)

    async def carry_out(self, request: TokenRequest) -> None:
        """Sends the request and records the result. Raises `DatabaseError` if that cannot be written now: it is then
        retried in the background, since a token that is lost leaves a session open.
        """
        while True:
            exchange = await self._exchange(request)
            elsewhere = self._elsewhere(request, exchange)
            again = None if elsewhere is None else await self._go_on(request, exchange, elsewhere)
            if again is None:
                break
            request = again

        answered = self.clock()

        async def work(conn: Connection) -> None:
            since = self.clock() - answered
            if request.token is None:
                await self.recorder.login(conn, request, exchange, read_login(exchange, request.began), since)
            else:
                await self.recorder.renewal(conn, request, exchange, read_renewal(exchange, request.began), since)

        try:
            await self.db.atomically(work)
        except DatabaseError as error:
            log.warning("session.not_noted", reason=error.reason)
            task = asyncio.create_task(self._insist(work))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
            raise

    async def aclose(self) -> None:
        """Cancels results that cannot be written."""
        for task in self._writing:
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _exchange(self, request: TokenRequest) -> Exchange:
        began = self.clock()
        if request.token is None:
            exchange = await self.client.exchange(
                "POST",
                Domain.LIVE,
                "/auth/accesstokenrequest",
                body=self.credentials.body(request.ticket),
                bearer=None,
                host=request.reached.host,
                send_before=request.send_before,
                reading=False,
            )
        else:
            exchange = await self.client.exchange(
                "GET",
                Domain.LIVE,
                "/auth/renewaccesstoken",
                bearer=request.token,
                host=request.reached.host,
                send_before=request.send_before,
                reading=False,
                locks_out=request.locks_out,
            )
        self.observe(request.operation, result_name(exchange.reply), 1, self.clock() - began)
        return exchange

    def _elsewhere(self, request: TokenRequest, exchange: Exchange) -> Reached | None:
        """Another host, if the request was certainly not executed; None: its result is final."""
        match exchange.reply:
            case Misdirected(leads_to=leads_to):
                return self.host_rules.elsewhere(leads_to, (*request.tried, request.reached.host))
            case NotSent(unreachable=True):
                return self.host_rules.elsewhere(None, (*request.tried, request.reached.host))
            case _:
                return None

    async def _go_on(self, request: TokenRequest, exchange: Exchange, reached: Reached) -> TokenRequest | None:
        """Ends one call in the log and begins the next; None: not now."""

        async def work(conn: Connection) -> TokenRequest | None:
            claimed_at = self.clock()
            opened = await begin_calls(conn, wanted(request.operation, self.replica), self.budget)
            await self.recorder.call(conn, request, exchange)
            if isinstance(opened, Closed) or not await sessions.keep_lease(conn, request.lease, self.lease):
                return None
            return replace(
                request,
                call_id=opened.call_ids[0],
                send_before=claimed_at + LEASE_MARGIN,
                reached=reached,
                tried=(*request.tried, request.reached.host),
            )

        try:
            return await self.db.atomically(work)
        except DatabaseError:
            return None

    async def _insist(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        pause = Schedule(base=0.2, cap=2.0, least=0.1)
        for attempt in range(1, 1_000_000):
            await asyncio.sleep(pause.delay(attempt))
            try:
                await self.db.atomically(work)
            except DatabaseError:
                continue
            log.info("session.noted")
            return


__all__ = ["LEASE_MARGIN", "LOGIN", "RENEWAL", "TokenSender", "wanted"]
