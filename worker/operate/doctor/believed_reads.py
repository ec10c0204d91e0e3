"""Reads of `doctor`: one at a time, and believed as a look-up is. What is "not there" must be proven here as well."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import orjson

from worker.ledger.budget import SESSION_SCOPE, Budget, Closed, Wanted
from worker.ledger.call_log import begin_calls, finish_call
from worker.ledger.database import Database
from worker.partner import single_reads
from worker.partner.client import PartnerClient
from worker.partner.look_up import proven
from worker.partner.observed_forms import USERS, ObservedForms
from worker.partner.operation import Reader
from worker.partner.permission_classes import access_of
from worker.partner.read_errors import CannotLook, LookObstacle, NotPermitted, Unreadable
from worker.partner.single_reads import Row
from worker.replies import Answer, Domain, Misdirected, NotSent, Query, Reply, Silence, Ticket, Unauthorized
from worker.session import NoSession, SessionKeeper, Token
from worker.settings import RunSettings

__all__ = ["DoctorReads"]

T = TypeVar("T")


@dataclass(slots=True)
class DoctorReads:
    """Each returns what is there, or in a sentence why that cannot be said."""

    settings: RunSettings
    database: Database
    client: PartnerClient
    session: SessionKeeper
    budget: Budget
    name: str
    token: Token
    seen: ObservedForms = field(default_factory=ObservedForms)
    _allowed: int = 0
    _unauthorized: int = 0

    def __post_init__(self) -> None:
        """What is known to be there: the API user."""
        self.seen.user_id = self.token.user_id
        self.seen.names[USERS] = self.settings.tradovate_name

    @property
    def none_permitted(self) -> bool:
        """Whether every read was answered 401."""
        return bool(self._unauthorized) and not self._allowed

    async def item(self, domain: Domain, entity: str, entity_id: int) -> Row | str | None:
        """An entity by its id; None: it is not there."""
        return await self._said(lambda reader: single_reads.item(reader, domain, entity, entity_id))

    async def find(self, domain: Domain, entity: str, name: str) -> Row | str | None:
        """An entity by its name; None: it is not there."""
        return await self._said(lambda reader: single_reads.find(reader, domain, entity, name))

    async def of_many(self, domain: Domain, path: str, **query: Query) -> Sequence[Row] | str:
        """The rows of a list."""
        return await self._said(lambda reader: single_reads.one(reader, domain, path, **query))

    async def _said(self, read: Callable[[Reader], Awaitable[T]]) -> T | str:
        try:
            return await proven(self, read)
        except CannotLook as cannot:
            return cannot.why
        except NotPermitted as denied:
            return f"not permitted to this API key, which needs {denied.needs} ({denied.read})"
        except Unreadable as unreadable:
            return unreadable.sentence

    # See `partner.operation.Reader`

    def now(self) -> datetime:
        """The database's time."""
        return self.database.clock.now()

    async def get(self, domain: Domain, path: str, **query: Query) -> Reply:
        """One GET."""
        return await self._answered(domain, path, lambda token: self.client.get(domain, path, query, token=token))

    async def post(self, domain: Domain, path: str, body: Mapping[str, Any]) -> Reply:
        """One POST of a reading endpoint."""
        sent = orjson.dumps(body)
        return await self._answered(
            domain, path, lambda token: self.client.post(domain, path, sent, token=token, reading=True)
        )

    async def _answered(self, domain: Domain, path: str, call: Callable[[Token], Awaitable[Reply]]) -> Reply:
        found = await self._called(domain, path, call)
        wrong = isinstance(found, Misdirected) and found.status != 404  # that may mean that there is none
        if wrong or (isinstance(found, Closed) and found.scope == SESSION_SCOPE):
            # The token is to be renewed first, or the host was a wrong one: once more, as a replica would.
            with contextlib.suppress(NoSession):
                self.token = await self.session.ensure()
                found = await self._called(domain, path, call)
        self._allowed += isinstance(found, Answer)
        self._unauthorized += isinstance(found, Unauthorized)
        match found:
            case Closed(why=why):
                raise CannotLook(LookObstacle.NO_CALL, why)
            case Unauthorized(text=text):
                raise NotPermitted(path, access_of(path), text)
            case NotSent(why=why):
                raise CannotLook(LookObstacle.NOT_HANDLED, why, path)
            case Misdirected(why=why, status=status) if status != 404:
                raise CannotLook(LookObstacle.NOT_HANDLED, why, path)
            case Silence() | Ticket():
                raise CannotLook(LookObstacle.OTHER_REPLY, type(found).__name__, path)
            case _:
                return found

    async def _called(self, domain: Domain, path: str, call: Callable[[Token], Awaitable[Reply]]) -> Reply | Closed:
        token = self.token
        async with self.database.transaction() as connection:
            wanted = Wanted("doctor", domain, "look_up", self.name, reads=path.strip("/"), generation=token.generation)
            opened = await begin_calls(connection, wanted, self.budget)
        if isinstance(opened, Closed):
            return opened
        reply = await call(token)
        async with self.database.transaction() as connection:
            await finish_call(
                connection, opened.call_ids[0], reply, lockout_seconds=self.settings.tradovate_lockout_seconds
            )
        return reply
