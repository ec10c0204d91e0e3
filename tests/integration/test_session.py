"""The shared session on a real PostgreSQL: one login for all replicas, and never one too many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from worker.ledger import calls, holds, sessions
from worker.ledger.calls import Budget, Opened, Wanted
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, Database
from worker.ledger.schema import upgrade
from worker.replies import Silence
from worker.session import Credentials, NoSession, SessionKeeper
from worker.tradovate.client import PartnerClient

LIVE = "https://live.example/v1"
CREDENTIALS = Credentials("org-admin", "s3cret-password", "app", "1.0", "1234", "the-secret", "device-1")
Answering = Callable[[httpx.Request], httpx.Response]


class Partner:
    """Tradovate's two session endpoints; `login` and `renew` are replaced by what a test wants them to say."""

    def __init__(self) -> None:
        self.logins: list[dict[str, Any]] = []
        self.renewals: list[str] = []
        self.life = timedelta(minutes=80)
        self.login: Answering = lambda _: self.token(f"login-{len(self.logins)}")
        self.renew: Answering = lambda _: self.token(f"renewed-{len(self.renewals)}")

    def token(self, value: str) -> httpx.Response:
        """An answer with a token that lives `life`."""
        ends = datetime.now(UTC) + self.life
        return httpx.Response(200, json={"accessToken": value, "expirationTime": ends.isoformat(), "userId": 15})

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answers a request."""
        assert str(request.url).startswith(LIVE)
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

    def keeper(self, credentials: Credentials = CREDENTIALS) -> SessionKeeper:
        """A replica's keeper."""
        client = PartnerClient(LIVE, LIVE, 60, httpx.MockTransport(self.partner))
        return SessionKeeper(
            self.db, client, self.vault, credentials, live_url=LIVE, replica="r", budget=Budget(), lockout_seconds=3600
        )

    async def do(self, sql: str, *values: object) -> None:
        """Moves the world: time passes, somebody else writes."""
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
        await self.do("update login set at = at - $1::interval, may_live_until = may_live_until - $1::interval", ago)
        await self.do("update hold set until = until - $1::interval, created_at = created_at - $1::interval", ago)

    async def row(self) -> dict[str, Any]:
        """The shared row."""
        async with self.db.connection() as conn:
            return dict(await conn.fetchrow("select * from session") or {})

    async def held(self) -> dict[str, holds.Hold]:
        """The live holds by scope."""
        async with self.db.connection() as conn:
            return {hold.scope: hold for hold in await holds.live(conn)}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A fresh ledger and a partner in a good mood."""
    await upgrade(database_url)
    db = Database(database_url)
    yield World(db)
    await db.close()


async def no_session(keeper: SessionKeeper) -> NoSession:
    """What `ensure` raises."""
    with pytest.raises(NoSession) as raised:
        await keeper.ensure()
    return raised.value


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
    """Whoever reads the database sees no token."""
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
        says(404),
        says(200, {"userStatus": "TemporaryLocked", "userId": 15}),
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


async def test_other_settings_may_log_in_after_a_rejection(world: World) -> None:
    """The latch is on the credentials that were rejected: new ones are tried, and end it when they are accepted."""
    world.partner.login = says(401)
    await no_session(world.keeper())
    world.partner.login = lambda _: world.partner.token("new")
    await no_session(world.keeper())
    assert (await world.keeper(replace(CREDENTIALS, password="other")).ensure()).value == "new"
    assert await world.held() == {}


async def test_clearing_the_latch_allows_one_login(world: World) -> None:
    """A person who clears the hold gets one more try, not many."""
    world.partner.login = says(401)
    await no_session(world.keeper())
    async with world.db.transaction() as conn:
        assert await holds.clear(conn, (await world.held())[holds.LOGIN].id, "password mended")
    await no_session(world.keeper())
    await no_session(world.keeper())
    assert len(world.partner.logins) == 2


async def test_unclear_logins_back_off_for_all_replicas(world: World) -> None:
    """After a 5xx the next login waits 1, 5, 15, 60, then 300 seconds, whoever makes it."""
    world.partner.login = says(503)
    waits = []
    for _ in range(6):
        none = await no_session(world.keeper())
        assert (none.scope, none.until is not None) == ("retry", True)
        row = await world.row()
        waits.append(round((row["login_after"] - datetime.now(UTC)).total_seconds()))
        await no_session(world.keeper())
        await world.passes(6)
    assert waits == [1, 5, 15, 60, 300, 300]
    assert len(world.partner.logins) == 6


async def test_no_third_session_while_two_may_live(world: World) -> None:
    """Two logins without an answer may both have opened a session: a third waits until the first has surely ended."""
    world.partner.login = breaks(httpx.ReadError)
    for _ in range(2):
        await no_session(world.keeper())
        await world.passes(1)
    world.partner.login = lambda _: world.partner.token("third")
    none = await no_session(world.keeper())
    assert none.scope == holds.SESSIONS
    assert len(world.partner.logins) == 2
    assert holds.SESSIONS in await world.held()
    await world.passes(90)
    assert (await world.keeper().ensure()).value == "third"


async def test_an_operator_may_forget_sessions_that_may_live(world: World) -> None:
    """Clearing the hold allows a login at once."""
    world.partner.login = breaks(httpx.ReadTimeout)
    for _ in range(2):
        await no_session(world.keeper())
        await world.passes(1)
    await no_session(world.keeper())
    world.partner.login = lambda _: world.partner.token("third")
    async with world.db.transaction() as conn:
        await holds.clear(conn, (await world.held())[holds.SESSIONS].id, "none at the partner")
    assert (await world.keeper().ensure()).value == "third"


@pytest.mark.parametrize("answer", [says(500), breaks(httpx.ConnectError), says(200, {"errorText": "no"})])
async def test_a_login_that_surely_opened_nothing_does_not_count(world: World, answer: Answering) -> None:
    """A 5xx, a refusal, and a connection that was never made leave no session that may live."""
    world.partner.login = answer
    await no_session(world.keeper())
    async with world.db.connection() as conn:
        assert await conn.fetchval("select count(*) from login where ended_at is null") == 0


async def test_a_replica_that_dies_in_a_login_loses_the_lease_and_counts(world: World) -> None:
    """Others wait for the lease's end, then log in; what the dead one may have opened counts as living."""
    never = asyncio.Event()

    async def hangs(_: httpx.Request) -> httpx.Response:
        await never.wait()
        raise AssertionError

    client = PartnerClient(LIVE, LIVE, 60, httpx.MockTransport(hangs))
    dying = SessionKeeper(
        world.db, client, world.vault, CREDENTIALS, live_url=LIVE, replica="d", budget=Budget(), lockout_seconds=1
    )
    turn = await dying._turn()
    assert not hasattr(turn, "value")
    none = await no_session(world.keeper())
    assert none.scope == "lease"
    await world.passes(66 / 60)
    await world.keeper().ensure()
    async with world.db.connection() as conn:
        assert await conn.fetchval("select count(*) from login where ended_at is null") == 2


async def test_a_frozen_replica_that_wakes_up_late_changes_nothing(world: World) -> None:
    """What a renewal brought after its lease was taken over does not replace the newer token."""
    keeper = world.keeper()
    await keeper.ensure()
    await world.passes(70)
    late = world.keeper()
    job = await late._turn()
    await world.passes(2)
    await keeper.ensure()
    newer = keeper.current()
    await late._carry_out(job)  # type: ignore[arg-type]
    assert await keeper.refresh() == newer


async def lock_out(world: World) -> None:
    """An ordinary call is answered 429."""
    async with world.db.transaction() as conn:
        opened = await calls.begin_calls(conn, Wanted("x", "demo", "send", "r"), Budget())
        assert isinstance(opened, Opened)
        await calls.finish_call(conn, opened.call_ids[0], Silence(429), lockout_seconds=600)


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

    client = PartnerClient(LIVE, LIVE, 60, httpx.MockTransport(look))
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
