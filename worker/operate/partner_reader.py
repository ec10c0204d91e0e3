"""Bulk reads at Tradovate from a command (`import`, `reconcile`): through the shared session, out of the shared budget.

They are the least urgent calls of all. Each one waits until no step of the worker could be sent, and takes only what
the worker's own steps leave of the hour and the minute (`Budget.for_steps`). Lock-outs, penalties, pauses and moved
hosts are respected as the worker does; each call is in the call log, under the command's name. A wait that ends by
itself is reported. A read may be interrupted at any time, since it changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import orjson

from schemas.times import utc_text
from worker.backoff import Schedule
from worker.ledger import holds
from worker.ledger.budget import SESSION_SCOPE, Budget, Closed, Wanted
from worker.ledger.call_log import Opened, begin_read, finish_read, steps_wait
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, Database
from worker.ledger.host_table import Sign, doubt
from worker.operate.reads_ended import TRIES, ReadsEnd, ReadsEnded
from worker.partner import bulk_reads
from worker.partner.client import PartnerClient
from worker.partner.look_up import proven
from worker.partner.observed_forms import ObservedForms
from worker.partner.operation import Reader
from worker.partner.operations import OPERATIONS
from worker.partner.permission_classes import access_of
from worker.partner.read_errors import CannotLook, HostDoubted, LookObstacle, NotPermitted, ReadFault, Unreadable
from worker.partner.single_reads import No, Row, page
from worker.replies import Domain, Misdirected, NotSent, Query, Reply, Silence, Ticket, Unauthorized, Unclear
from worker.session import NoSession, SessionKeeper, Token
from worker.session.lockouts import write_lockout

__all__ = ["ById", "ByName", "Dependents", "PartnerReader", "Row", "Unreadable"]

T = TypeVar("T")

ById = bulk_reads.ById
ByName = bulk_reads.ByName
Dependents = Mapping[int, list[Row] | Unreadable]
"""What each user has, or why that could not be read."""

DELAYS = Schedule(base=1.0, cap=60.0)
"""Between two tries of a read without a result."""

ASK_AGAIN = 0.5
"""Seconds: how soon a wait sees that its reason has ended; `pause` and `resume` must show within 2 s."""

STEPS_FIRST = 2.0
"""Seconds that a read waits at most for steps that could be sent. A step is sent within milliseconds while the budget
lasts; one that is there for longer lingers, or is held back by something else."""

LOOK_FOR_STEPS = 0.05
"""Seconds between two looks at whether a step waits."""

SESSION_LOOK = 2.0
"""Seconds for which a token is used without asking whether it is to be renewed, as a replica does."""


@dataclass(slots=True)
class PartnerReader:
    """One for each run of a command. `operation`: its name in the call log, for example `import`; `name`: who makes the
    calls, in the place of a replica.

    `report`: called with why a read waits, and with None when it goes on. `calls`: how many were made. `may_list`:
    whether the whole organization may be listed.
    """

    database: Database
    vault: Vault
    client: PartnerClient
    session: SessionKeeper
    budget: Budget
    operation: str
    name: str
    lockout_seconds: float
    report: Callable[[str | None], None] = lambda _why: None
    delays: Schedule = DELAYS
    seen: ObservedForms = field(default_factory=ObservedForms)
    calls: int = 0
    may_list: bool = False
    _looked: float = field(default=-SESSION_LOOK)
    _generations: set[int] = field(default_factory=set)
    _waits: str | None = None

    # What commands ask

    async def users_by_name(self, names: Iterable[str]) -> ByName:
        """Users of LIVE by `single_reads.folded` name; a name that nobody has is left out. A hundred a call."""
        wanted = [name.strip() for name in names]
        return await self.read(lambda reader: bulk_reads.by_names(reader, Domain.LIVE, "user", wanted))

    async def accounts_by_name(self, names: Iterable[str]) -> ByName:
        """Accounts of DEMO by `single_reads.folded` name. A hundred a call."""
        wanted = [name.strip() for name in names]
        return await self.read(lambda reader: bulk_reads.by_names(reader, Domain.DEMO, "account", wanted))

    async def by_id(self, domain: Domain, entity: str, ids: Iterable[int]) -> ById:
        """Entities by their ids; what is not there is left out. Ten a call, and one for each that is not there."""
        wanted = list(ids)
        return await self.read(lambda reader: bulk_reads.by_id(reader, domain, entity, wanted))

    async def of_users(self, domain: Domain, entity: str, users: Iterable[int]) -> Dependents:
        """What each user has of a kind (`tradingPermission` on DEMO; `tradovateSubscription`, `marketDataSubscription`,
        `userPlugin` on LIVE), a hundred users a call. A user who has none may be one whom Tradovate does not know.

        Where Tradovate has no such bulk read, all are listed in one call if that is allowed, else it is a call a user.
        """
        wanted = list(users)
        if self.may_list and len(wanted) > bulk_reads.FEW and self.one_by_one:
            listed = await self.read(
                lambda reader: bulk_reads.listed_dependents(reader, domain, entity, wanted), wanted
            )
            if listed is not None:
                return listed
        return await self.read(lambda reader: bulk_reads.dependents(reader, domain, entity, wanted), wanted)

    @property
    def one_by_one(self) -> bool:
        """Whether it has been seen that Tradovate does not read what several users have at once."""
        return any(path.endswith("/ldeps") for path in self.seen.broken)

    async def listed(self, domain: Domain, entity: str) -> Sequence[Row]:
        """All entities of the organization, in one call without pages: only when an operator asks for it."""

        async def whole(reader: Reader) -> Sequence[Row]:
            rows = await page(reader, domain, f"/{entity}/list")
            if isinstance(rows, No):
                raise Unreadable(ReadFault.NOT_LISTED, f"{entity}/list", rows.value)
            return rows

        return await self.read(whole)

    async def read(self, work: Callable[[Reader], Awaitable[T]], users: Sequence[int] = ()) -> T:
        """What `work` reads from one host of each domain, as `look_up.proven` believes it. Raises `ReadsEnded`."""
        for attempt in range(1, TRIES + 1):
            self._generations.clear()
            try:
                return await proven(self, work, users)
            except CannotLook:
                continue  # another token, and perhaps another host: what one says is not there, the other may have
            except HostDoubted as doubted:
                await self._doubt(doubted)
                await self._wait(self.delays.delay(attempt), doubted.sentence)
            except Unreadable as error:
                raise ReadsEnded(ReadsEnd.UNREADABLE, error.sentence) from error
        raise ReadsEnded(ReadsEnd.CHANGES)

    # What bulk reads use: see `partner.operation.Reader`

    def now(self) -> datetime:
        """The database's time."""
        return self.database.clock.now()

    async def get(self, domain: Domain, path: str, **query: Query) -> Reply:
        """One GET."""
        return await self._answered(domain, path, query, None)

    async def post(self, domain: Domain, path: str, body: Mapping[str, Any]) -> Reply:
        """One POST of a reading endpoint."""
        return await self._answered(domain, path, {}, orjson.dumps(body))

    async def _answered(self, domain: Domain, path: str, query: Mapping[str, Query], body: bytes | None) -> Reply:
        """A reply that says something of what was asked."""
        for attempt in range(1, TRIES + 1):
            reply, generation = await self._sent(domain, path, query, body)
            match reply:
                case Unauthorized(text=text):
                    if not await self.session.reject(generation):
                        raise NotPermitted(path, access_of(path), text)
                    why = "the token was not accepted"
                case Silence() | Ticket():
                    continue  # the gate is closed until that has ended
                case NotSent(why=why):
                    pass
                case Misdirected(why=why, status=status) if status not in (404, 405):
                    pass
                case Unclear(why=why, status=status) if status is None or status == 408 or status >= 500:
                    pass
                case _:
                    return reply
            await self._wait(self.delays.delay(attempt), f"{path.strip('/')}: {why}")
        raise ReadsEnded(ReadsEnd.NO_ANSWER, path.strip("/"))

    async def _sent(
        self, domain: Domain, path: str, query: Mapping[str, Query], body: bytes | None
    ) -> tuple[Reply, int]:
        """One call, as soon as one may be made; and the generation of its token."""
        endpoint, asked = path.strip("/"), body or orjson.dumps(query, option=orjson.OPT_SORT_KEYS)
        await self._let_steps_first()
        while True:
            token = await self._token()
            wanted = Wanted(
                self.operation, domain, "look_up", self.name, reads=endpoint, generation=token.generation, spare=True
            )
            opened, ticket = await self._begin(wanted, asked)
            if isinstance(opened, Opened):
                break
            if opened.scope == SESSION_SCOPE:
                self._looked = -SESSION_LOOK  # the session is looked at first
                continue
            await self._wait_until(opened.until, opened.now, opened.why)
        self._goes_on()
        self.calls += 1
        extra = {} if ticket is None else {"p-ticket": ticket}
        if body is None:
            # How a GET carries a ticket is not documented; a parameter that is not known does no harm.
            reply = await self.client.get(domain, path, {**query, **extra}, token=token)
        else:
            sent = body if ticket is None else body[:-1] + b"," + orjson.dumps(extra)[1:]
            reply = await self.client.post(domain, path, sent, token=token, reading=True)
        await self._finish(opened.call_ids[0], reply, endpoint, asked)
        return reply, token.generation

    async def _token(self) -> Token:
        """The shared session's token. Raises `ReadsEnded` when only an operator can open a session."""
        while True:
            current = self.session.current() if time.monotonic() - self._looked < SESSION_LOOK else None
            try:
                token = current or await self.session.ensure()
            except NoSession as none:
                if none.scope == holds.LOGIN:
                    raise ReadsEnded(ReadsEnd.NO_SESSION, none.why) from None
                await self._wait_until(none.until, self.now(), none.why)
                continue
            if current is None:
                self._looked = time.monotonic()
            self._generations.add(token.generation)
            if len(self._generations) > 1:
                raise CannotLook(LookObstacle.OTHER_SESSION)
            if token.user_id is not None:
                self.seen.user_id = token.user_id
            return token

    async def _begin(self, wanted: Wanted, asked: bytes) -> tuple[Opened | Closed, str | None]:
        async def work(connection: Connection) -> tuple[Opened | Closed, str | None]:
            return await begin_read(connection, self.vault, wanted, self.budget, asked)

        return await self.database.atomically(work)

    async def _finish(self, call_id: int, reply: Reply, endpoint: str, asked: bytes) -> None:
        """Writes down what came back, and a lock-out before anything else is done."""

        async def work(connection: Connection) -> None:
            seconds = self.lockout_seconds
            await finish_read(connection, self.vault, call_id, reply, endpoint, asked, lockout_seconds=seconds)

        await self.database.atomically(work)
        if isinstance(reply, Silence) and self.client.lockout is not None:
            await write_lockout(self.client.lockout, self.database)

    async def _doubt(self, doubted: HostDoubted) -> None:
        generation = max(self._generations)

        async def work(connection: Connection) -> None:
            now = await self.database.clock.read(connection)
            await doubt(connection, doubted.domain, generation, Sign(str(doubted), strong=False, begun_at=now))

        await self.database.atomically(work)

    # Waiting

    async def _let_steps_first(self) -> None:
        until = time.monotonic() + STEPS_FIRST
        while time.monotonic() < until:
            async with self.database.connection() as connection:
                if not await steps_wait(connection, list(OPERATIONS), timedelta(seconds=STEPS_FIRST)):
                    return
            await asyncio.sleep(LOOK_FOR_STEPS)

    async def _wait_until(self, until: datetime | None, now: datetime, why: str) -> None:
        """Waits for a while: the caller looks again, for an operator may have ended it meanwhile."""
        left = ASK_AGAIN if until is None else (until - now).total_seconds()
        shown = why if until is None else f"{why}, until {utc_text(until)}"
        await self._wait(min(max(left, 0.01), ASK_AGAIN), shown)

    async def _wait(self, seconds: float, why: str) -> None:
        if why != self._waits:
            self._waits = why
            self.report(why)
        await asyncio.sleep(seconds)

    def _goes_on(self) -> None:
        if self._waits is not None:
            self._waits = None
            self.report(None)
