"""The hosts of the organization, shared with the session on a real PostgreSQL: fetched, doubted, replaced."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from tests.support.partner import addresses
from tests.support.places import EMPTY, WRONG, begin, call, finish, place, redirect
from tests.support.sessions import ADDRESSES, CREDENTIALS, DEMO, LIVE, World, says
from worker.ledger.budget import SESSION_SCOPE, Closed
from worker.ledger.call_log import Opened
from worker.partner.hosts import Source
from worker.replies import Answer, Domain, NotSent, Reply, Unclear

OURS = "acme-demo.example"


def _moves(world: World, *, login: str | None = None, renewal: str | None = None) -> None:
    """Which host of DEMO login and renewal return from now on."""
    world.partner.login = lambda _: world.partner.token(
        f"login-{len(world.partner.logins)}", **({"apiHosts": {"demo": login}} if login else {})
    )
    world.partner.renew = lambda _: world.partner.token(
        f"renewed-{len(world.partner.renewals)}", **({"apiHosts": {"demo": renewal}} if renewal else {})
    )


async def test_the_hosts_of_a_login_are_those_of_every_replica(world: World) -> None:
    """They are stored with the token: a replica that starts later, or again, calls the same host."""
    _moves(world, login=OURS)
    assert (await world.keeper().ensure()).hosts == {Domain.DEMO: OURS}
    token = await world.keeper().refresh()
    assert token is not None
    assert token.hosts == {Domain.DEMO: OURS}
    assert (await place(world)).source == Source.LOGIN


async def test_a_renewal_moves_what_it_names_and_nothing_else(world: World) -> None:
    """Field by field: what is missing stays as it was resolved last, not as it is configured."""
    _moves(world, login=OURS)
    keeper = world.keeper()
    await keeper.ensure()
    await world.passes(70)
    world.partner.renew = lambda _: world.partner.token("r", apiHosts={"live": "acme-live.example", "demo": None})
    assert (await keeper.ensure()).hosts == {Domain.LIVE: "acme-live.example", Domain.DEMO: OURS}


async def test_the_last_hosts_stay_when_the_token_has_ended(world: World) -> None:
    """The login after a night is sent to the resolved LIVE host, and DEMO stays where it was."""
    hosts = {"live": "acme-live.example", "demo": OURS}
    world.partner.login = lambda _: world.partner.token("login", apiHosts=hosts)
    await world.keeper().ensure()
    await world.passes(600)
    _moves(world)
    token = await world.keeper().ensure()
    assert token.hosts == {Domain.LIVE: "acme-live.example", Domain.DEMO: OURS}
    assert world.partner.asked == ["live.example", "acme-live.example"]


@pytest.mark.parametrize(
    "places",
    [
        addresses(LIVE, "https://other-demo.example/v1", "example"),
        addresses("https://other-live.example/v1", DEMO, "example"),
        replace(ADDRESSES, follow=False),
    ],
)
async def test_other_settings_start_from_their_own_hosts(world: World, places: object) -> None:
    """With another address of LIVE or DEMO, or with TRADOVATE_FOLLOW_HOSTS=off, what was stored counts for nothing."""
    _moves(world, login=OURS)
    await world.keeper().ensure()
    _moves(world)
    assert (await world.keeper(places=places).ensure()).hosts == {}  # type: ignore[arg-type]


async def test_another_user_starts_from_the_hosts_of_the_settings(world: World) -> None:
    """Hosts are the organization's: another API user may belong to another one."""
    _moves(world, login=OURS)
    await world.keeper().ensure()
    _moves(world)
    assert (await world.keeper(replace(CREDENTIALS, name="someone-else")).ensure()).hosts == {}


async def test_a_host_that_is_not_trusted_is_kept_for_the_operator_only(world: World) -> None:
    """It is never called; the row says what was returned and why it is not used, until a good value comes."""
    _moves(world, login="https://evil.invalid/v1", renewal=OURS)
    keeper = world.keeper()
    assert (await keeper.ensure()).hosts == {}
    row = await place(world)
    assert (row.ignored, row.ignored_why) == ("https://evil.invalid/v1", "it is not a bare host name")
    await world.passes(70)
    assert (await keeper.ensure()).hosts == {Domain.DEMO: OURS}
    assert (await place(world)).ignored is None


@pytest.mark.parametrize("reply", [WRONG, redirect(OURS), redirect("evil.invalid"), EMPTY])
async def test_a_wrong_host_brings_one_renewal_and_no_call_before_it(world: World, reply: Reply) -> None:
    """However many calls were in flight, the domain rests until the renewal; the other domain goes on."""
    _moves(world, renewal=OURS)
    keepers = [world.keeper() for _ in range(3)]
    for keeper in keepers:
        await keeper.ensure()
    opened = await begin(world)
    assert isinstance(opened, Opened)
    for call_id in opened.call_ids:
        await finish(world, call_id, reply)
    held = await begin(world)
    assert isinstance(held, Closed)
    assert held.scope == SESSION_SCOPE
    assert isinstance(await begin(world, Domain.LIVE), Opened)
    for keeper in keepers:
        token = await keeper.ensure()
        assert token.hosts == {Domain.DEMO: OURS}
    assert world.partner.renewals == ["login-1"]
    assert isinstance(await begin(world), Opened)


async def test_late_replies_to_calls_that_went_to_the_former_host_change_nothing(world: World) -> None:
    """They say nothing about the new one: no doubt, no second renewal."""
    _moves(world, renewal=OURS)
    keeper = world.keeper()
    await keeper.ensure()
    late = await begin(world)
    assert isinstance(late, Opened)
    await call(world, WRONG)
    await keeper.ensure()
    for call_id in late.call_ids:
        await finish(world, call_id, WRONG)
    assert isinstance(await begin(world), Opened)
    await keeper.ensure()
    assert len(world.partner.renewals) == 1


async def test_while_the_renewal_is_under_way_only_that_domain_waits(world: World) -> None:
    """Calls of a domain whose host is in doubt wait a short time; nothing loops."""
    _moves(world, renewal=OURS)
    keeper = world.keeper()
    await keeper.ensure()
    await call(world, WRONG)
    await keeper._token_or_request()
    held = await begin(world)
    assert isinstance(held, Closed)
    assert (held.scope, held.until is not None and held.until > held.now) == ("host:demo", True)
    assert isinstance(await begin(world, Domain.LIVE), Opened)
    assert (await world.keeper().ensure()).value == "login-1"


async def test_a_redirect_is_followed_when_the_renewal_names_no_host(world: World) -> None:
    """Its host is used from then on, by every replica; the renewal brought a token, so that its life is the new one."""
    _moves(world)
    keeper = world.keeper()
    await keeper.ensure()
    await call(world, redirect(OURS))
    token = await keeper.ensure()
    assert (token.value, token.hosts) == ("renewed-1", {Domain.DEMO: OURS})
    row = await place(world)
    assert (row.source, row.moved_from) == (Source.REDIRECT, "demo.example")


async def test_a_response_that_still_names_the_former_host_does_not_undo_a_redirect(world: World) -> None:
    """The redirect is the newer word; a third host in a later response is newer still."""
    _moves(world, login="demo.example", renewal="demo.example")
    keeper = world.keeper()
    await keeper.ensure()
    await call(world, redirect(OURS))
    assert (await keeper.ensure()).hosts == {Domain.DEMO: OURS}
    await world.passes(70)
    assert (await keeper.ensure()).hosts == {Domain.DEMO: OURS}
    _moves(world, renewal="third.example")
    await world.passes(70)
    assert (await keeper.ensure()).hosts == {Domain.DEMO: "third.example"}


async def test_redirects_that_lead_in_a_circle_are_not_followed_for_ever(world: World) -> None:
    """After three that no call succeeded at, the domain's calls rest with a back-off."""
    _moves(world)
    keeper = world.keeper()
    await keeper.ensure()
    for number in range(8):
        opened = await begin(world)
        if isinstance(opened, Closed):
            break
        await finish(world, opened.call_ids[0], redirect(("a.example", "b.example")[number % 2]))
        await keeper.ensure()
    assert number < 6
    assert len(world.partner.renewals) <= 4


async def test_an_untrusted_redirect_is_never_followed(world: World) -> None:
    """The token goes nowhere else; after one renewal the calls go on one at a time, with a back-off."""
    _moves(world)
    keeper = world.keeper()
    await keeper.ensure()
    await call(world, redirect("evil.invalid"))
    assert (await keeper.ensure()).hosts == {}
    for _ in range(3):
        opened = await begin(world)
        assert isinstance(opened, Opened)
        assert len(opened.call_ids) == 1
        assert isinstance(await begin(world), Closed)  # one is finding out
        await finish(world, opened.call_ids[0], redirect("evil.invalid"))
        held = await begin(world)
        assert isinstance(held, Closed)
        assert held.scope == "host:demo"
        await world.passes(0.3)
    assert (await place(world)).leads_to == "evil.invalid"
    await keeper.ensure()
    assert len(world.partner.renewals) == 1


async def test_a_doubt_that_a_renewal_did_not_end_waits_five_minutes_for_the_next(world: World) -> None:
    """Then one more is made: hosts may be returned later than the move."""
    _moves(world)
    keeper = world.keeper()
    await keeper.ensure()
    await call(world, WRONG)
    await keeper.ensure()
    await world.passes(4)
    await keeper.ensure()
    assert len(world.partner.renewals) == 1
    await world.passes(1.1)
    _moves(world, renewal=OURS)
    assert (await keeper.ensure()).hosts == {Domain.DEMO: OURS}
    assert len(world.partner.renewals) == 2


async def test_the_host_is_right_again_with_the_first_call_that_succeeds(world: World) -> None:
    """Then all calls go, without another renewal; what was begun before the doubt proves nothing."""
    _moves(world)
    keeper = world.keeper()
    await keeper.ensure()
    before = await begin(world)
    assert isinstance(before, Opened)
    await call(world, WRONG)
    await finish(world, before.call_ids[0], Answer({}))
    assert (await place(world)).doubt is not None
    await keeper.ensure()
    await call(world, Answer({}))
    opened = await begin(world)
    assert isinstance(opened, Opened)
    assert len(opened.call_ids) == 16
    await keeper.ensure()
    assert len(world.partner.renewals) == 1


async def test_an_answer_in_no_documented_form_says_nothing_for_the_host(world: World) -> None:
    """A gateway may answer all reads alike: the doubt of a look-up would be ended by the next of its answers."""
    _moves(world)
    keeper = world.keeper()
    await keeper.ensure()
    await call(world, WRONG)
    await keeper.ensure()
    await call(world, Answer({}, documented=False))
    assert (await place(world)).doubt is not None
    await call(world, Answer([]))
    assert (await place(world)).doubt is None


async def test_an_empty_404_that_comes_again_costs_no_renewals(world: World) -> None:
    """The right host answers it of what it does not know: after one renewal nothing rests, however often it comes."""
    _moves(world)
    keeper = world.keeper()
    await keeper.ensure()
    for _ in range(10):
        await call(world, EMPTY)
        await keeper.ensure()
        opened = await begin(world)
        assert isinstance(opened, Opened)
        assert len(opened.call_ids) == 16
        await call(world, Answer({}))
        await world.passes(1)
    assert len(world.partner.renewals) == 1


async def test_an_empty_404_does_not_hide_a_move(world: World) -> None:
    """A redirect or 421 a moment after a renewal for an empty 404 brings another renewal."""
    _moves(world)
    keeper = world.keeper()
    await keeper.ensure()
    await call(world, EMPTY)
    await keeper.ensure()
    _moves(world, renewal=OURS)
    await call(world, WRONG)
    assert (await keeper.ensure()).hosts == {Domain.DEMO: OURS}


async def test_a_host_that_cannot_be_reached_brings_a_renewal_but_holds_nothing_back(world: World) -> None:
    """It may have moved and be gone; if LIVE cannot be reached either, DEMO's calls are tried all the same."""
    _moves(world, renewal=OURS)
    keeper = world.keeper()
    await keeper.ensure()
    await call(world, NotSent("no connection", unreachable=True))
    assert (await keeper.ensure()).hosts == {Domain.DEMO: OURS}

    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    world.partner.renew = away
    await call(world, NotSent("no connection", unreachable=True))
    await keeper.ensure()
    opened = await begin(world)
    assert isinstance(opened, Opened)
    assert len(opened.call_ids) == 16


@pytest.mark.parametrize("reply", [NotSent("the time to send it had passed"), Unclear("cut"), Unclear("HTTP 500", 500)])
async def test_other_replies_say_nothing_about_a_host(world: World, reply: Reply) -> None:
    """A call that was too late, a cut and a 5xx come from the right host."""
    await world.keeper().ensure()
    await call(world, reply)
    assert (await place(world)).doubt is None


async def test_renewals_for_hosts_leave_those_that_the_token_needs(world: World) -> None:
    """An organization that moves all the time gets six in an hour; the token is renewed in time all the same."""
    keeper = world.keeper()
    await keeper.ensure()
    for number in range(10):
        _moves(world, renewal=f"d{number}.example")
        opened = await begin(world)
        if isinstance(opened, Opened):
            await finish(world, opened.call_ids[0], WRONG)
        await keeper.ensure()
    assert len(world.partner.renewals) == 6
    await world.passes(59)
    await world.do("update session set expires_at = clock_timestamp() + interval '10 minutes'")
    await keeper.ensure()
    assert len(world.partner.renewals) == 7


async def test_a_renewal_that_fails_is_tried_again_and_then_fetches_the_hosts(world: World) -> None:
    """Calls of the domain wait for it with the renewal's own back-off; the token stays in use for LIVE."""
    keeper = world.keeper()
    await keeper.ensure()
    await call(world, WRONG)
    world.partner.renew = says(502)
    assert (await keeper.ensure()).value == "login-1"
    held = await begin(world)
    assert isinstance(held, Closed)
    assert held.scope == "host:demo"
    assert isinstance(await begin(world, Domain.LIVE), Opened)
    await world.passes(0.1)
    _moves(world, renewal=OURS)
    assert (await keeper.ensure()).hosts == {Domain.DEMO: OURS}


async def test_a_redirect_is_followed_when_the_renewal_fails(world: World) -> None:
    """A response that does not come returns no hosts either; the token stays, and each replica reads it again."""
    keeper = world.keeper()
    token = await keeper.ensure()
    await call(world, redirect(OURS))
    world.partner.renew = says(502)
    moved = await keeper.ensure()
    assert (moved.value, moved.hosts) == (token.value, {Domain.DEMO: OURS})
    assert moved.generation > token.generation
    held = await begin(world, generation=token.generation)
    assert isinstance(held, Closed)
    assert held.scope == SESSION_SCOPE


async def test_with_fixed_hosts_a_doubt_costs_no_renewal(world: World) -> None:
    """TRADOVATE_FOLLOW_HOSTS=off: nothing that is returned could help, so the calls go on with their back-off."""
    _moves(world, renewal=OURS)
    keeper = world.keeper(places=replace(ADDRESSES, follow=False))
    await keeper.ensure()
    await call(world, redirect(OURS))
    assert (await keeper.ensure()).hosts == {}
    assert world.partner.renewals == []
    opened = await begin(world)
    assert isinstance(opened, Opened)
    assert len(opened.call_ids) == 1


async def test_a_wrong_live_host_cannot_lock_us_out(world: World) -> None:
    """A renewal or login that the resolved host does not take goes to the configured one, once, at once."""
    world.partner.login = lambda _: world.partner.token("login", apiHosts={"live": "gone.example"})
    keeper = world.keeper()
    assert (await keeper.ensure()).hosts == {Domain.LIVE: "gone.example"}

    def only_the_old(request: httpx.Request) -> httpx.Response:
        if request.url.host == "gone.example":
            raise httpx.ConnectError("refused", request=request)
        return world.partner.token("renewed")

    world.partner.renew = only_the_old
    await world.passes(70)
    token = await keeper.ensure()
    assert (token.value, token.hosts) == ("renewed", {})
    assert world.partner.asked == ["live.example", "gone.example", "live.example"]
    async with world.db.connection() as conn:
        assert await conn.fetchval("select count(*) from call where kind = 'session'") == 3


@pytest.mark.parametrize("status", [307, 404, 405, 421])
async def test_a_login_that_a_wrong_host_answers_goes_to_the_configured_one(world: World, status: int) -> None:
    """Nothing was executed, so the same login is sent again, once; then it backs off."""
    world.partner.login = lambda _: world.partner.token("login", apiHosts={"live": "gone.example"})
    await world.keeper().ensure()
    await world.passes(600)
    world.partner.login = lambda request: (
        httpx.Response(status) if request.url.host == "gone.example" else world.partner.token("again")
    )
    token = await world.keeper().ensure()
    assert (token.value, token.hosts) == ("again", {})


async def test_a_login_follows_a_redirect_to_a_trusted_host(world: World) -> None:
    """LIVE itself has moved: the credentials go to the host of the redirect, and LIVE's calls go there from then on."""

    def moved(request: httpx.Request) -> httpx.Response:
        if request.url.host == "live.example":
            location = "https://acme-live.example/v1/auth/accesstokenrequest"
            return httpx.Response(307, headers={"Location": location})
        return world.partner.token("login")

    world.partner.login = moved
    assert (await world.keeper().ensure()).hosts == {Domain.LIVE: "acme-live.example"}
    assert (await place(world, Domain.LIVE)).source == Source.REDIRECT


async def test_a_login_never_follows_a_redirect_to_another_host(world: World) -> None:
    """The credentials go to trusted hosts only."""
    location = "https://evil.invalid/v1/auth/accesstokenrequest"
    world.partner.login = lambda _: httpx.Response(307, headers={"Location": location})
    keeper = world.keeper()
    for _ in range(3):
        await keeper.run_once()
        await world.passes(1)
    assert set(world.partner.asked) == {"live.example"}
