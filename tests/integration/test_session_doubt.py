"""The shared session after lock-outs, refused renewals and tokens that are not accepted, on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.support.sessions import (
    CREDENTIALS,
    Answering,
    World,
    breaks,
    lock_out,
    no_session,
    says,
)
from worker.ledger import call_log, holds
from worker.ledger.budget import Budget, Wanted


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


@pytest.mark.parametrize(
    "answer",
    [
        says(401),
        says(408),
        says(423),
        says(429),
        says(500),
        says(502),
        says(404),
        says(405),
        says(307),
        says(200, {}),
        says(200, {"errorText": "Expired Access Token"}),
        says(200, {"p-ticket": "t", "p-time": 60}),
        says(200, {"p-ticket": "t", "p-captcha": True}),
        breaks(httpx.ReadTimeout),
    ],
)
async def test_a_renewal_after_a_lock_out_that_fails_is_followed_by_one_login(world: World, answer: Answering) -> None:
    """Whatever it is answered, the login comes at once, and no further lock-out before it."""
    keeper = world.keeper()
    await keeper.ensure()
    await lock_out(world)
    await world.passes(11)
    world.partner.renew = answer
    assert (await keeper.ensure()).value == "login-2"
    assert len(world.partner.renewals) == 1
    assert holds.ALL not in await world.held()
    assert not (await world.row())["suspect"]


@pytest.mark.parametrize("status", [423, 429])
async def test_a_login_that_is_answered_with_a_lock_out_locks_out(world: World, status: int) -> None:
    """After the renewal failed, the login is the call that proves a lock-out; the next round is an hour later."""
    keeper = world.keeper()
    await keeper.ensure()
    await lock_out(world)
    await world.passes(11)
    world.partner.renew = world.partner.login = says(status)
    for _ in range(3):
        assert (await no_session(keeper)).scope == holds.ALL
    assert (len(world.partner.renewals), len(world.partner.logins)) == (1, 2)
    await world.passes(61)
    world.partner.login = lambda _: world.partner.token("granted")
    assert (await keeper.ensure()).value == "granted"


async def test_a_routine_renewal_that_is_answered_429_locks_out(world: World) -> None:
    """Nothing spoke against the session: the 429 is about the calls of all."""
    keeper = world.keeper()
    await keeper.ensure()
    await world.passes(70)
    world.partner.renew = says(429)
    await no_session(keeper)
    assert holds.ALL in await world.held()
    assert len(world.partner.logins) == 1


async def test_each_suspicion_that_a_renewal_cannot_end_brings_one_login(world: World) -> None:
    """A 5xx to the renewal brings one login, and the token that it opens is the one in use."""
    keeper = world.keeper()
    await keeper.ensure()
    world.partner.renew = says(500)
    for times in (2, 3):
        await world.do("update session set suspect = true, renew_after = null")
        assert (await keeper.ensure()).value == f"login-{times}"
    assert len(world.partner.logins) == 3


async def test_between_two_tries_of_a_login_the_doubtful_token_is_not_used(world: World) -> None:
    """A login with an unknown result may have opened the session for which the next one closes the old."""
    keeper = world.keeper()
    await keeper.ensure()
    await world.do("update session set suspect = true")
    world.partner.renew = world.partner.login = says(502)
    for minutes in (0.1, 0.2, 1):
        none = await no_session(keeper)
        assert none.scope == "retry"
        assert none.why == "the last login failed: HTTP 502"
        await world.passes(minutes)
    world.partner.login = lambda _: world.partner.token("granted")
    assert (await keeper.ensure()).value == "granted"


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


async def test_a_penalised_login_is_sent_again_with_its_ticket(world: World) -> None:
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
        await call_log.begin_calls(conn, Wanted("x", "demo", "send", "r"), Budget(), [1] * 9999)
    assert (await world.keeper().ensure()).value == "login-1"


async def test_the_partners_clock_decides_how_long_a_token_lives(world: World) -> None:
    """A wrong clock at our end neither ends a token early nor trusts it too long."""
    date = datetime(2030, 1, 1, tzinfo=UTC)
    body = {"accessToken": "t", "expirationTime": (date + timedelta(minutes=30)).isoformat()}
    world.partner.login = lambda _: httpx.Response(200, json=body, headers={"Date": "Tue, 01 Jan 2030 00:00:00 GMT"})
    token = await world.keeper().ensure()
    assert token.expires_at - token.issued_at == timedelta(minutes=30)


async def test_a_login_is_written_down_before_it_goes(world: World) -> None:
    """The call and the lease are in the ledger while it is under way."""
    seen: list[tuple[int, bool]] = []

    async def look(request: httpx.Request) -> httpx.Response:
        async with world.db.connection() as conn:
            seen.append((await conn.fetchval("select count(*) from call"), (await world.row())["lease"] is not None))
        return world.partner(request)

    await world.keeper(transport=httpx.MockTransport(look)).ensure()
    assert seen == [(1, True)]
