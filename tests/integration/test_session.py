"""The shared session on a real PostgreSQL: one login for all replicas, and never one too many."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.support.sessions import (
    CREDENTIALS,
    Answering,
    World,
    breaks,
    no_session,
    says,
)
from worker.ledger import holds
from worker.session import NoSession
from worker.session.token_recorder import TokenRequest


async def test_the_first_need_logs_in_with_all_that_the_settings_say(world: World) -> None:
    """The login carries name, password and key, `cid` as a number, and its token is the current one."""
    keeper = world.keeper()
    token = await keeper.ensure()
    assert world.partner.logins == [
        {
            "name": "org-admin",
            "password": "s3cret-password",
            "appId": "app",
            "appVersion": "1.0",
            "cid": 1234,
            "sec": "the-secret",
            "deviceId": "device-1",
        }
    ]
    assert (token.value, token.user_id) == ("login-1", 15)
    assert keeper.current() == token


async def test_the_token_is_sealed_in_the_ledger(world: World) -> None:
    """A reader of the database sees no token."""
    await world.keeper().ensure()
    assert b"login-1" not in (await world.row())["token"]


async def test_many_replicas_at_once_make_one_login(world: World) -> None:
    """Replicas that start in the same moment share one session."""
    keepers = [world.keeper() for _ in range(5)]
    found = await asyncio.gather(*(keeper.ensure() for keeper in keepers), return_exceptions=True)
    assert len(world.partner.logins) == 1
    assert all(not isinstance(result, BaseException) or isinstance(result, NoSession) for result in found)
    assert {(await keeper.ensure()).value for keeper in keepers} == {"login-1"}
    assert len(world.partner.logins) == 1


async def test_many_lanes_of_a_replica_make_one_login(world: World) -> None:
    """Lanes that need a session in the same moment wait for one login."""
    keeper = world.keeper()
    tokens = await asyncio.gather(*(keeper.ensure() for _ in range(5)))
    assert {token.value for token in tokens} == {"login-1"}
    assert len(world.partner.logins) == 1


async def test_a_restart_uses_the_session_that_lives(world: World) -> None:
    """A replica that starts while a session lives makes no call for one."""
    await world.keeper().ensure()
    keeper = world.keeper()
    assert keeper.current() is None
    token = await keeper.refresh()
    assert token is not None
    assert token.value == "login-1"
    assert len(world.partner.logins) == 1


async def test_the_token_is_renewed_a_quarter_of_an_hour_before_its_end(world: World) -> None:
    """It is left alone until then, and renewed, not replaced, from then on."""
    keeper = world.keeper()
    await keeper.ensure()
    await world.passes(64)
    await keeper.run_once()
    assert world.partner.renewals == []
    await world.passes(2)
    await keeper.run_once()
    assert world.partner.renewals == ["login-1"]
    token = keeper.current()
    assert token is not None
    assert (token.value, token.generation) == ("renewed-1", 2)
    assert len(world.partner.logins) == 1


async def test_other_replicas_see_the_renewed_token(world: World) -> None:
    """Within a look, all replicas go on with the token that one of them renewed."""
    one, other = world.keeper(), world.keeper()
    await one.ensure()
    await other.ensure()
    await world.passes(70)
    await one.run_once()
    await other.run_once()
    assert other.current() == one.current()
    assert len(world.partner.renewals) == 1


async def test_a_short_life_is_renewed_at_its_half(world: World) -> None:
    """A token that lives ten minutes is renewed after five."""
    world.partner.life = timedelta(minutes=10)
    keeper = world.keeper()
    await keeper.ensure()
    await world.passes(4)
    await keeper.run_once()
    assert world.partner.renewals == []
    await world.passes(2)
    await keeper.run_once()
    assert len(world.partner.renewals) == 1


@pytest.mark.parametrize(
    "answer",
    [
        says(200, {"errorText": "Incorrect username or password for org-admin"}),
        says(401),
        says(403, {"errorText": "no"}),
        says(400, {"errorText": "no"}),
        says(200, {"userStatus": "TemporaryLocked", "userId": 15}),
        says(200, {"userStatus": "Active"}),
        says(200, {}),
    ],
)
async def test_one_rejected_login_stops_all_logins(world: World, answer: Answering) -> None:
    """No replica tries the same credentials a second time, however long it waits, and the reason has no secret."""
    world.partner.login = answer
    none = await no_session(world.keeper())
    assert none.scope == holds.LOGIN
    await world.passes(600)
    for _ in range(3):
        none = await no_session(world.keeper())
        assert (none.until, none.scope) == (None, holds.LOGIN)
    assert len(world.partner.logins) == 1
    assert "org-admin" not in none.why


@pytest.mark.parametrize("answer", [says(404), says(405), says(421), says(307)])
async def test_a_login_that_was_not_executed_is_tried_again(world: World, answer: Answering) -> None:
    """An empty 404 or 405, a 421 and a redirect say nothing of the password: no hold, the next login follows."""
    world.partner.login = answer
    assert (await no_session(world.keeper())).scope == "retry"
    await world.passes(1)
    assert (await no_session(world.keeper())).scope == "retry"
    assert len(world.partner.logins) == 2


async def test_other_settings_may_log_in_after_a_rejection(world: World) -> None:
    """The hold is on the credentials that were rejected: new ones are tried, and end it when they are accepted."""
    world.partner.login = says(401)
    await no_session(world.keeper())
    world.partner.login = lambda _: world.partner.token("new")
    await no_session(world.keeper())
    assert (await world.keeper(replace(CREDENTIALS, password="other")).ensure()).value == "new"
    assert await world.held() == {}


async def test_clearing_the_hold_allows_one_login(world: World) -> None:
    """An operator who clears the hold gets one more try, not many."""
    world.partner.login = says(401)
    await no_session(world.keeper())
    async with world.db.transaction() as conn:
        assert await holds.clear(conn, (await world.held())[holds.LOGIN].id, "password corrected")
    await no_session(world.keeper())
    await no_session(world.keeper())
    assert len(world.partner.logins) == 2


async def test_unclear_logins_back_off_for_all_replicas(world: World) -> None:
    """After a 5xx the next login waits 1, 5, 15, 60, then 180 seconds, whichever replica makes it."""
    world.partner.login = says(503)
    waits = []
    for _ in range(6):
        none = await no_session(world.keeper())
        assert (none.scope, none.until is not None) == ("retry", True)
        row = await world.row()
        waits.append(round((row["login_after"] - datetime.now(UTC)).total_seconds()))
        await no_session(world.keeper())
        await world.passes(6)
    assert waits == [1, 5, 15, 60, 180, 180]
    assert len(world.partner.logins) == 6


@pytest.mark.parametrize("answer", [breaks(httpx.ReadError), says(500), says(502), says(408), says(404), says(405)])
async def test_logins_with_an_unknown_result_keep_nobody_waiting(world: World, answer: Answering) -> None:
    """Sessions whose tokens never arrived are not in use: however many logins had no result, the next one follows
    within the back-off.
    """
    world.partner.login = answer
    for _ in range(8):
        none = await no_session(world.keeper())
        assert none.scope == "retry"
        await world.passes(3.1)
    world.partner.login = lambda _: world.partner.token("granted")
    assert (await world.keeper().ensure()).value == "granted"
    assert len(world.partner.logins) == 9


async def test_a_replica_that_dies_in_a_login_loses_the_lease(world: World) -> None:
    """Others wait for the lease's end, then log in: what the dead one may have opened is not in use."""
    dying = world.keeper()
    assert isinstance(await dying._token_or_request(), TokenRequest)
    assert (await no_session(world.keeper())).scope == "lease"
    await world.passes(66 / 60)
    assert (await world.keeper().ensure()).value == "login-1"


async def test_a_frozen_replica_that_wakes_up_late_changes_nothing(world: World) -> None:
    """What a renewal brought after its lease was taken over does not replace the newer token."""
    keeper = world.keeper()
    await keeper.ensure()
    await world.passes(70)
    late = world.keeper()
    request = await late._token_or_request()
    assert isinstance(request, TokenRequest)
    await world.passes(2)
    await keeper.ensure()
    newer = keeper.current()
    await late._sender.carry_out(request)
    assert await keeper.refresh() == newer
