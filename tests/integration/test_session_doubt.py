"""The shared session after lock-outs, refused renewals and tokens that are not accepted, on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.support.partner import addresses
from tests.support.sessions import (
    CREDENTIALS,
    LIVE,
    Answering,
    World,
    breaks,
    lock_out,
    no_session,
    says,
)
from worker.ledger import calls, holds, sessions
from worker.ledger.calls import Budget, Wanted
from worker.ledger.database import Connection
from worker.session import SessionKeeper
from worker.tradovate.client import PartnerClient


async def test_the_first_call_after_a_lock_out_is_a_renewal(world: World) -> None:
    """Nobody calls while it lasts; then the token is renewed before anything else goes."""
    keeper = world.keeper()
    await keeper.ensure()
    await lock_out(world)
    assert (await no_session(keeper)).scope == holds.ALL
    assert world.partner.renewals == []
    await world.passes(11)
    assert (await keeper.ensure()).value == "renewed-1"
    assert not (await world.row())["suspect"]


@pytest.mark.parametrize("answer", [says(401), says(408), says(200, {"errorText": "Expired Access Token"})])
async def test_a_renewal_refused_means_the_session_is_dead_and_one_login_follows(
    world: World, answer: Answering
) -> None:
    """The dead session counts no more, and the login opens the only one."""
    keeper = world.keeper()
    await keeper.ensure()
    await world.do("update session set suspect = true")
    world.partner.renew = answer
    assert (await keeper.ensure()).value == "login-2"
    async with world.db.connection() as conn:
        assert await conn.fetchval("select count(*) from login where ended_at is null") == 1


async def test_a_suspect_session_that_cannot_be_renewed_is_replaced_once(world: World) -> None:
    """A 5xx to the renewal brings one login; the old session may live on, so a third is never opened."""
    keeper = world.keeper()
    await keeper.ensure()
    world.partner.renew = says(500)
    for _ in range(3):
        await world.do("update session set suspect = true, renew_after = null")
        await keeper.ensure()
    assert len(world.partner.logins) == 2
    assert (await keeper.ensure()).value == "login-2"


async def test_an_unreachable_partner_does_not_cost_a_login(world: World) -> None:
    """When the renewal of a suspect token never left, it is tried again; no login follows."""
    keeper = world.keeper()
    await keeper.ensure()
    await world.do("update session set suspect = true")
    world.partner.renew = breaks(httpx.ConnectError)
    assert (await no_session(keeper)).scope == "retry"
    await world.passes(1)
    world.partner.renew = lambda _: world.partner.token("renewed")
    assert (await keeper.ensure()).value == "renewed"
    assert len(world.partner.logins) == 1


async def test_a_routine_renewal_that_fails_is_no_reason_to_log_in(world: World) -> None:
    """While the token lives, work goes on with it, and the renewal is tried again."""
    keeper = world.keeper()
    await keeper.ensure()
    await world.passes(70)
    world.partner.renew = says(503)
    assert (await keeper.ensure()).value == "login-1"
    assert (await keeper.ensure()).value == "login-1"
    assert len(world.partner.renewals) == 1
    await world.passes(1)
    await keeper.ensure()
    assert len(world.partner.renewals) == 2
    assert len(world.partner.logins) == 1


async def test_when_the_hours_renewals_are_used_up_the_suspicion_is_dropped(world: World) -> None:
    """The thirteenth suspicion in an hour changes nothing: work goes on with the token while it lives."""
    keeper = world.keeper()
    await keeper.ensure()
    for _ in range(15):
        await world.do("update session set suspect = true")
        await keeper.ensure()
    assert len(world.partner.renewals) == 12
    assert len(world.partner.logins) == 1
    assert not (await world.row())["suspect"]


async def test_a_token_that_is_not_accepted_is_renewed_by_one_replica(world: World) -> None:
    """Many 401s to one token are one renewal, and a late one does not touch the next token."""
    one, other = world.keeper(), world.keeper()
    token = await one.ensure()
    await other.ensure()
    assert await one.reject(token.generation)
    assert await other.reject(token.generation)
    assert one.current() is None
    assert (await one.ensure()).value == "renewed-1"
    assert await other.reject(token.generation)
    assert (await other.ensure()).value == "renewed-1"
    assert len(world.partner.renewals) == 1


async def test_a_token_that_was_just_renewed_is_not_what_a_401_is_about(world: World) -> None:
    """A second 401 under the renewed token is a missing permission, and costs no more renewals."""
    keeper = world.keeper()
    token = await keeper.ensure()
    assert await keeper.reject(token.generation)
    token = await keeper.ensure()
    assert not await keeper.reject(token.generation)
    assert keeper.current() == token


async def test_another_user_never_works_in_the_sessions_of_the_first(world: World) -> None:
    """When the settings name another user, that user's session is opened, and the first one's left alone."""
    await world.keeper().ensure()
    other = world.keeper(replace(CREDENTIALS, name="other-admin"))
    assert await other.refresh() is None
    assert (await other.ensure()).value == "login-2"
    assert world.partner.renewals == []


async def test_a_penalised_login_goes_again_with_its_ticket(world: World) -> None:
    """The same body and the ticket, once, after the wait."""
    world.partner.login = says(200, {"p-ticket": "abc", "p-time": 20})
    none = await no_session(world.keeper())
    assert none.scope == "endpoint:accessTokenRequest"
    world.partner.login = lambda _: world.partner.token("granted")
    await no_session(world.keeper())
    await world.passes(0.5)
    assert (await world.keeper().ensure()).value == "granted"
    assert world.partner.logins[1] == {**world.partner.logins[0], "p-ticket": "abc"}


async def test_a_captcha_on_the_login_rests_it_for_an_hour(world: World) -> None:
    """Then a login without the ticket is made."""
    world.partner.login = says(200, {"p-ticket": "abc", "p-time": 20, "p-captcha": True})
    await no_session(world.keeper())
    await world.passes(55)
    await no_session(world.keeper())
    world.partner.login = lambda _: world.partner.token("granted")
    await world.passes(6)
    assert (await world.keeper().ensure()).value == "granted"
    assert "p-ticket" not in world.partner.logins[1]


async def test_sessions_use_what_is_kept_back_of_the_budget(world: World) -> None:
    """A budget that ordinary calls have used up still pays for a login."""
    async with world.db.transaction() as conn:
        await calls.begin_calls(conn, Wanted("x", "demo", "send", "r"), Budget(), [1] * 9999)
    assert (await world.keeper().ensure()).value == "login-1"


async def test_the_partners_clock_decides_how_long_a_token_lives(world: World) -> None:
    """A wrong clock at our end neither ends a token early nor trusts it too long."""
    date = datetime(2030, 1, 1, tzinfo=UTC)
    body = {"accessToken": "t", "expirationTime": (date + timedelta(minutes=30)).isoformat()}
    world.partner.login = lambda _: httpx.Response(200, json=body, headers={"Date": "Tue, 01 Jan 2030 00:00:00 GMT"})
    token = await world.keeper().ensure()
    assert token.expires_at - token.issued_at == timedelta(minutes=30)


async def test_a_login_is_written_down_before_it_goes(world: World) -> None:
    """The budget, the lease and the session that may live are in the ledger while the call is under way."""
    seen: list[tuple[int, int]] = []

    async def look(request: httpx.Request) -> httpx.Response:
        async with world.db.connection() as conn:
            seen.append(await rows(conn))
        return world.partner(request)

    client = PartnerClient(addresses(LIVE, LIVE), 60, transport=httpx.MockTransport(look))
    keeper = SessionKeeper(
        world.db, client, world.vault, CREDENTIALS, live_url=LIVE, replica="r", budget=Budget(), lockout_seconds=1
    )
    await keeper.ensure()
    assert seen == [(1, 1)]


async def rows(conn: Connection) -> tuple[int, int]:
    """How many calls and logins are written down."""
    return await conn.fetchval("select count(*) from call"), await conn.fetchval("select count(*) from login")


async def test_old_logins_are_pruned(world: World) -> None:
    """What ended longer ago than is kept leaves the ledger; what may live stays."""
    await world.keeper().ensure()
    async with world.db.transaction() as conn:
        assert await sessions.prune_logins(conn, timedelta(days=1)) == 0
    await world.passes(60 * 50)
    async with world.db.transaction() as conn:
        assert await sessions.prune_logins(conn, timedelta(days=1)) == 1
