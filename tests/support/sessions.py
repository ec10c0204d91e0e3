"""The shared session, for tests: a ledger, a partner of two endpoints, and as many replicas as a test wants."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.partner import addresses
from worker.ledger import call_log, holds
from worker.ledger.budget import Budget, Wanted
from worker.ledger.call_log import Opened
from worker.ledger.crypto import Vault
from worker.ledger.database import Database
from worker.partner.client import PartnerClient
from worker.partner.hosts import Addresses
from worker.partner.lockout import LockOut
from worker.replies import Silence
from worker.session import Credentials, NoSession, SessionKeeper

LIVE, DEMO = "https://live.example/v1", "https://demo.example/v1"
ADDRESSES = addresses(LIVE, DEMO, "example")
CREDENTIALS = Credentials("org-admin", "s3cret-password", "app", "1.0", "1234", "the-secret", "device-1")
Answering = Callable[[httpx.Request], httpx.Response]


class Partner:
    """Tradovate's two session endpoints; `login` and `renew` are replaced by what a test wants them to say."""

    def __init__(self) -> None:
        self.logins: list[dict[str, Any]] = []
        self.renewals: list[str] = []
        self.life = timedelta(minutes=80)
        self.asked: list[str] = []  # the host of each call
        self.login: Answering = lambda _: self.token(f"login-{len(self.logins)}")
        self.renew: Answering = lambda _: self.token(f"renewed-{len(self.renewals)}")

    def token(self, value: str, **more: Any) -> httpx.Response:
        """An answer with a token that lives `life`."""
        ends = datetime.now(UTC) + self.life
        return httpx.Response(
            200, json={"accessToken": value, "expirationTime": ends.isoformat(), "userId": 15, **more}
        )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answers a request."""
        assert request.url.path.startswith("/v1/auth/")
        self.asked.append(request.url.netloc.decode())
        if request.url.path.endswith("/auth/accesstokenrequest"):
            assert "Authorization" not in request.headers
            self.logins.append(json.loads(request.content))
            return self.login(request)
        assert request.url.path.endswith("/auth/renewaccesstoken")
        assert request.method == "GET"
        self.renewals.append(request.headers["Authorization"].removeprefix("Bearer "))
        return self.renew(request)


def says(status: int, body: Any = None) -> Answering:
    """Always this answer."""
    return lambda _: httpx.Response(status, json=body) if body is not None else httpx.Response(status)


def breaks(error: type[httpx.TransportError]) -> Answering:
    """A wire that breaks in this way."""

    def broken(request: httpx.Request) -> httpx.Response:
        raise error("broken", request=request)

    return broken


class World:
    """A ledger, a partner, and as many keepers as a test wants."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.partner = Partner()
        self.vault = Vault(["k" * 32])

    def keeper(
        self,
        credentials: Credentials = CREDENTIALS,
        places: Addresses = ADDRESSES,
        transport: httpx.AsyncBaseTransport | None = None,
        lockout: LockOut | None = None,
    ) -> SessionKeeper:
        """A replica's keeper."""
        transport = transport or httpx.MockTransport(self.partner)
        client = PartnerClient(places, 60, transport=transport, lockout=lockout)
        return SessionKeeper(
            self.db, client, self.vault, credentials, replica="r", budget=Budget(), lockout_seconds=3600
        )

    async def do(self, sql: str, *values: object) -> None:
        """Moves the world: time passes, another replica writes."""
        async with self.db.connection() as conn:
            await conn.execute(sql, *values)

    async def passes(self, minutes: float) -> None:
        """Time passes: everything in the ledger is that much older."""
        ago = timedelta(minutes=minutes)
        await self.do("update call set at = at - $1::interval, finished_at = finished_at - $1::interval", ago)
        await self.do(
            "update session set issued_at = issued_at - $1::interval, expires_at = expires_at - $1::interval,"
            " vouched_at = vouched_at - $1::interval, login_after = login_after - $1::interval,"
            " renew_after = renew_after - $1::interval, lease_until = lease_until - $1::interval",
            ago,
        )
        await self.do(
            "update host set doubted_at = doubted_at - $1::interval, asked_at = asked_at - $1::interval,"
            " ask_at = ask_at - $1::interval, try_at = try_at - $1::interval, since = since - $1::interval",
            ago,
        )
        await self.do("update hold set until = until - $1::interval, created_at = created_at - $1::interval", ago)

    async def row(self) -> dict[str, Any]:
        """The shared row."""
        async with self.db.connection() as conn:
            return dict(await conn.fetchrow("select * from session") or {})

    async def held(self) -> dict[str, holds.Hold]:
        """The live holds by scope."""
        async with self.db.connection() as conn:
            return {hold.scope: hold for hold in await holds.live(conn)}


async def no_session(keeper: SessionKeeper) -> NoSession:
    """What `ensure` raises."""
    with pytest.raises(NoSession) as raised:
        await keeper.ensure()
    return raised.value


async def lock_out(world: World) -> None:
    """An ordinary call is answered 429."""
    async with world.db.transaction() as conn:
        opened = await call_log.begin_calls(conn, Wanted("x", "demo", "send", "r"), Budget())
        assert isinstance(opened, Opened)
        await call_log.finish_call(conn, opened.call_ids[0], Silence(429), lockout_seconds=600)
