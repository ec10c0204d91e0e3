"""Reads from the partner on behalf of a look-up: within the budget, under the steps' lease, with the session."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import structlog

from worker.ledger.budget import SESSION_SCOPE, Closed
from worker.ledger.call_log import result_name
from worker.ledger.claims import Claims
from worker.partner.client import PartnerClient
from worker.partner.observed_forms import ObservedForms
from worker.partner.permission_classes import access_of
from worker.partner.read_errors import CannotLook, HostDoubted, LookObstacle, NotPermitted
from worker.replies import Domain, NotSent, Query, Reply, Silence, Ticket, Unauthorized
from worker.session import SessionKeeper

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LookUpReader:
    """See `operation.Reader`. Raises `CannotLook` when the gate is closed or the call was not handled.

    `finish` writes down what came of a call (id, reply, endpoint, what was asked), however long that takes. `observe`
    gets each call's path, its result, its items and its seconds.
    """

    claims: Claims
    client: PartnerClient
    session: SessionKeeper
    operation: str
    lease: uuid.UUID
    rank: int
    reserve: bool
    finish: Callable[[int, Reply, str, bytes], Awaitable[None]]
    seen: ObservedForms
    observe: Callable[[str, str, int, float], None] = lambda *_: None
    _generations: set[int] = field(default_factory=set)
    _made: list[int] = field(default_factory=list)  # ids of the calls

    def now(self) -> datetime:
        """The database's time."""
        return self.claims.ledger.clock.now()

    @property
    def reads(self) -> int:
        """How many calls have been made."""
        return len(self._made)

    async def get(self, domain: Domain, path: str, **query: Query) -> Reply:
        """One GET."""
        return await self._call(domain, path, query, None)

    async def post(self, domain: Domain, path: str, body: Mapping[str, Any]) -> Reply:
        """One POST of a reading endpoint."""
        return await self._call(domain, path, {}, orjson.dumps(body))

    async def doubt(self, doubted: HostDoubted) -> None:
        """Notes that the host of a domain has answered nothing that this look-up read there."""
        await self.claims.doubt_host(doubted.domain, max(self._generations), str(doubted))

    async def _call(self, domain: Domain, path: str, query: Mapping[str, Query], body: bytes | None) -> Reply:
        token = self.session.current() or await self.session.ensure()
        self._generations.add(token.generation)
        if len(self._generations) > 1:
            # Answers of two hosts are not combined: one host may not have what the other has.
            raise CannotLook(LookObstacle.OTHER_SESSION)
        if token.user_id is not None:
            self.seen.user_id = token.user_id
        endpoint, asked = path.strip("/"), body or orjson.dumps(query, option=orjson.OPT_SORT_KEYS)
        opened, ticket = await self.claims.read(
            self.operation,
            endpoint,
            domain,
            self.lease,
            rank=self.rank,
            reserve=self.reserve,
            generation=token.generation,
            asked=asked,
        )
        if isinstance(opened, Closed):
            if opened.scope == SESSION_SCOPE:
                await self.session.ensure()
            raise CannotLook(LookObstacle.NO_CALL, opened.why)
        self._made.append(opened.call_ids[0])
        started = time.monotonic()
        if body is None:
            # How a GET carries a ticket is not documented; a parameter that is not known does no harm.
            sought = query if ticket is None else {**query, "p-ticket": ticket}
            reply = await self.client.get(domain, path, sought, token=token)
        else:
            sent = body if ticket is None else with_ticket(body, ticket)
            reply = await self.client.post(domain, path, sent, token=token, reading=True)
        self.observe(endpoint, result_name(reply), 1, time.monotonic() - started)
        await self.finish(opened.call_ids[0], reply, endpoint, asked)
        match reply:
            case Unauthorized(text=text):
                if await self.session.reject(token.generation):
                    raise CannotLook(LookObstacle.UNAUTHORIZED)
                log.warning("dispatch.not_permitted", operation=self.operation, reads=path, needs=access_of(path))
                raise NotPermitted(path, access_of(path), text)
            case Silence() | Ticket() | NotSent():
                raise CannotLook(LookObstacle.NO_CALL, type(reply).__name__)
            case _:
                return reply


def with_ticket(body: bytes, ticket: str) -> bytes:
    """A JSON object's bytes with the penalty ticket added: the same body to the byte, as the vendor asks."""
    return body[:-1] + b',"p-ticket":' + orjson.dumps(ticket) + b"}"
