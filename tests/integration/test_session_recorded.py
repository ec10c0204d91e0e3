"""Responses to logins, renewals and calls as they were recorded, each with its right reading."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.support.partner import addresses
from tests.support.places import begin, finish, place
from tests.support.sessions import World, lock_out, no_session
from worker.ledger import holds
from worker.ledger.call_log import Opened
from worker.partner.client import PartnerClient
from worker.partner.hosts import Addresses
from worker.partner.token import Token
from worker.replies import Domain, Misdirected
from worker.session import SessionKeeper

PRODUCTION = addresses(
    "https://live.tradovateapi.com/v1",
    "https://demo.tradovateapi.com/v1",
    "tradovateapi.com",
    "tradovate.com",
    "ninjatrader.com",
    "ninjatrader.dev",
)

ADMIN = {
    "accessToken": "t1",
    "mdAccessToken": "t2",
    "expirationTime": "2026-11-28T10:20:00Z",
    "userStatus": "Active",
    "userId": 1007,
    "name": "svc",
    "hasLive": False,
    "hasFunded": False,
    "hasMarketData": True,
    "orgName": "ACME",
    "apiHosts": {
        "live": "live.tradovateapi.com",
        "demo": "acme-demo.tradovateapi.com",
        "mdLive": "md.tradovateapi.com",
        "mdDemo": "md-demo.tradovateapi.com",
        "replay": "replay.tradovateapi.com",
        "reportingLive": "rpt-live.tradovateapi.com",
        "reportingDemo": "rpt-demo.tradovateapi.com",
        "adminLive": "admin-live.tradovateapi.com",
        "adminDemo": "admin-demo.tradovateapi.com",
        "riskMonitorLive": "risk-monitor-api-live.ninjatrader.com",
        "userContext": "user-context-api.ninjatrader.com",
    },
}
"""A login of an organization's administrator, all keys that were seen."""

BARE = {"accessToken": "t1", "expirationTime": "2026-11-28T10:20:00Z"}


def _keeper(world: World, **body: Any) -> SessionKeeper:
    """A replica whose login is answered with this body, at the moment of the recordings."""
    date = {"Date": "Sat, 28 Nov 2026 09:00:00 GMT"}
    world.partner.login = lambda _: httpx.Response(200, json=body, headers=date)
    return world.keeper(places=PRODUCTION)


def _called(token: Token, domain: Domain, places: Addresses = PRODUCTION) -> str:
    return places.base(domain, token.hosts.get(domain))


async def test_an_administrators_login(world: World) -> None:
    """A session; DEMO's calls go to the organization's host, LIVE's stay; all other keys are ignored."""
    token = await _keeper(world, **ADMIN).ensure()
    assert _called(token, Domain.DEMO) == "https://acme-demo.tradovateapi.com/v1"
    assert _called(token, Domain.LIVE) == "https://live.tradovateapi.com/v1"
    assert PRODUCTION.socket(Domain.DEMO, token.hosts[Domain.DEMO]) == "wss://acme-demo.tradovateapi.com/v1/websocket"
    assert (token.value, token.user_id) == ("t1", 1007)
    assert (token.expires_at - token.issued_at).total_seconds() == 4800


async def test_a_login_with_an_address_in_place_of_a_host(world: World) -> None:
    """A session; the host is neither a bare name nor trusted: it is not used, and kept for doctor."""
    token = await _keeper(world, **BARE, apiHosts={"demo": "https://evil.example/v1"}).ensure()
    assert token.hosts == {}
    assert (await place(world)).ignored == "https://evil.example/v1"


async def test_a_login_with_empty_hosts(world: World) -> None:
    """A session; both hosts stay as they were, and there is nothing to report."""
    await _keeper(world, **ADMIN).ensure()
    await world.passes(600)
    token = await _keeper(world, **BARE, apiHosts={"live": "", "demo": None}).ensure()
    assert _called(token, Domain.DEMO) == "https://acme-demo.tradovateapi.com/v1"
    assert (await place(world)).ignored is None


async def test_a_login_that_is_answered_404_without_a_body(world: World) -> None:
    """Nothing was executed: the next login follows with the back-off, and there is no hold."""
    world.partner.login = lambda _: httpx.Response(404)
    assert (await no_session(world.keeper(places=PRODUCTION))).scope == "retry"
    assert await world.held() == {}


async def test_a_login_with_neither_token_nor_error_text(world: World) -> None:
    """Logins stop, and the operator reads of MFA and device approval."""
    none = await no_session(_keeper(world, userStatus="Active"))
    assert none.scope == holds.LOGIN
    assert "MFA" in none.why
    assert "device" in none.why


async def test_a_login_that_names_the_end_of_the_password(world: World) -> None:
    """A session; the end of the password is kept, by Tradovate's clock."""
    await _keeper(world, **BARE, passwordExpirationTime="2026-12-01T00:00:00Z").ensure()
    row = await world.row()
    left = row["password_expires_at"] - row["issued_at"]
    assert left == datetime(2026, 12, 1, tzinfo=UTC) - datetime(2026, 11, 28, 9, tzinfo=UTC)


async def test_a_renewal_after_a_lock_out_that_is_answered_429(world: World) -> None:
    """One login at once, and no further lock-out before it is answered."""
    keeper = world.keeper()
    await keeper.ensure()
    await lock_out(world)
    await world.passes(11)
    world.partner.renew = lambda _: httpx.Response(429)
    assert (await keeper.ensure()).value == "login-2"
    assert await world.held() == {}


@pytest.mark.parametrize("returned", [True, False])
async def test_a_call_that_is_answered_307(world: World, returned: bool) -> None:
    """Not executed: one renewal, then the host that it returns, or the redirect's if it returns none."""
    keeper = _keeper(world, **BARE)
    token = await keeper.ensure()
    location = "https://acme-demo.tradovateapi.com/v1/user/createevaluationusers"
    transport = httpx.MockTransport(lambda _: httpx.Response(307, headers={"Location": location}))
    client = PartnerClient(PRODUCTION, 5, transport=transport)
    opened = await begin(world)
    assert isinstance(opened, Opened)
    reply = await client.post(Domain.DEMO, "/user/createevaluationusers", b"{}", token=token)
    assert isinstance(reply, Misdirected)
    await finish(world, opened.call_ids[0], reply)
    hosts = {"apiHosts": {"demo": "acme-demo.tradovateapi.com"}} if returned else {}
    world.partner.renew = lambda _: world.partner.token("renewed", **hosts)
    assert _called(await keeper.ensure(), Domain.DEMO) == "https://acme-demo.tradovateapi.com/v1"
    assert len(world.partner.renewals) == 1
