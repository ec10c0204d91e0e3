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
from worker.session.recording import LOGIN, RENEWAL, Job, Notes
from worker.session.token_response import read_login, read_renewal

LEASE_MARGIN = 5.0
"""Seconds that a lease outlives its call: to claim before it, and to write down what came of it."""

log = structlog.get_logger(__name__)


def wanted(operation: str, replica: str) -> Wanted:
    """A renewal or a login, as a call that the budget knows."""
    per_hour = renewal_rules.RENEWALS_AN_HOUR if operation == RENEWAL else None
    return Wanted(operation, Domain.LIVE, "session", replica, reserve=True, per_hour=per_hour)


@dataclass(slots=True)
class Sending:
    """`observe` gets operation, result, items and seconds of each call; `clock` is monotonic seconds."""

    db: Database
    client: PartnerClient
    credentials: Credentials
    places: HostRules
    notes: Notes
    budget: Budget
    replica: str
    clock: Callable[[], float]
    observe: Callable[[str, str, int, float], None] = lambda *_: None
    _writing: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def lease(self) -> timedelta:
        """How long a replica may hold the session's row for one call."""
        return timedelta(seconds=self.client.timeout_seconds + LEASE_MARGIN)

    async def carry_out(self, job: Job) -> None:
        """Sends the job and writes down what came of it. Raises `DatabaseError` when that cannot be written now: it is
        then tried again in the background, for a token that is lost leaves a session behind.
        """
        while True:
            exchange = await self._exchange(job)
            elsewhere = self._elsewhere(job, exchange)
            again = None if elsewhere is None else await self._go_on(job, exchange, elsewhere)
            if again is None:
                break
            job = again

        answered = self.clock()

        async def work(conn: Connection) -> None:
            since = self.clock() - answered
            if job.token is None:
                await self.notes.login(conn, job, exchange, read_login(exchange, job.began), since)
            else:
                await self.notes.renewal(conn, job, exchange, read_renewal(exchange, job.began), since)

        try:
            await self.db.atomically(work)
        except DatabaseError as error:
            log.warning("session.not_noted", reason=error.reason)
            task = asyncio.create_task(self._insist(work))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
            raise

    async def aclose(self) -> None:
        """Ends what cannot be written down."""
        for task in self._writing:
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _exchange(self, job: Job) -> Exchange:
        began = self.clock()
        if job.token is None:
            exchange = await self.client.exchange(
                "POST",
                Domain.LIVE,
                "/auth/accesstokenrequest",
                body=self.credentials.body(job.ticket),
                bearer=None,
                host=job.reached.host,
                send_before=job.send_before,
                reading=False,
            )
        else:
            exchange = await self.client.exchange(
                "GET",
                Domain.LIVE,
                "/auth/renewaccesstoken",
                bearer=job.token,
                host=job.reached.host,
                send_before=job.send_before,
                reading=False,
                locks_out=job.locks_out,
            )
        self.observe(job.operation, result_name(exchange.reply), 1, self.clock() - began)
        return exchange

    def _elsewhere(self, job: Job, exchange: Exchange) -> Reached | None:
        """Another host for a job that was surely not executed; None: what came back stands."""
        match exchange.reply:
            case Misdirected(leads_to=leads_to):
                return self.places.elsewhere(leads_to, (*job.tried, job.reached.host))
            case NotSent(unreachable=True):
                return self.places.elsewhere(None, (*job.tried, job.reached.host))
            case _:
                return None

    async def _go_on(self, job: Job, exchange: Exchange, reached: Reached) -> Job | None:
        """Writes one call down as over and the next as begun; None: not now."""

        async def work(conn: Connection) -> Job | None:
            claimed_at = self.clock()
            opened = await begin_calls(conn, wanted(job.operation, self.replica), self.budget)
            await self.notes.call(conn, job, exchange)
            if isinstance(opened, Closed) or not await sessions.keep_lease(conn, job.lease, self.lease):
                return None
            return replace(
                job,
                call_id=opened.call_ids[0],
                send_before=claimed_at + LEASE_MARGIN,
                reached=reached,
                tried=(*job.tried, job.reached.host),
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


__all__ = ["LEASE_MARGIN", "LOGIN", "RENEWAL", "Sending", "wanted"]
