"""What the session's keeper says in the log: a state once, when it begins, not at every look."""

from __future__ import annotations

from structlog.testing import capture_logs

from tests.support.sessions import World, lock_out, no_session, says


async def test_a_state_is_logged_when_it_begins_and_when_it_ends(world: World) -> None:
    """Twenty looks at one lock-out, and twenty at one failed login, are one line each."""
    keeper = world.keeper()
    await keeper.ensure()
    with capture_logs() as said:
        await lock_out(world)
        for _ in range(20):
            await no_session(keeper)
        await world.passes(11)
        world.partner.renew = world.partner.login = says(502)
        for _ in range(20):
            await no_session(keeper)
        await world.passes(11)
        world.partner.login = lambda _: world.partner.token("granted")
        await keeper.ensure()
        await keeper.ensure()
    none = [each["why"] for each in said if each["event"] == "session.none"]
    assert none == ["locked out: Tradovate answered 429", "the last login failed: HTTP 502"]
    assert [each["event"] for each in said].count("session.usable") == 1


async def test_a_value_that_is_ignored_is_logged_once(world: World) -> None:
    """Each renewal returns it again; the log has it once, with the reason."""
    world.partner.login = world.partner.renew = lambda _: world.partner.token(
        f"t{len(world.partner.asked)}", apiHosts={"demo": "evil.invalid"}
    )
    keeper = world.keeper()
    with capture_logs() as said:
        await keeper.ensure()
        for _ in range(3):
            await world.passes(70)
            await keeper.ensure()
    assert len(world.partner.renewals) == 3
    ignored = [each for each in said if each["event"] == "session.host_ignored"]
    assert len(ignored) == 1
    assert (ignored[0]["value"], "TRADOVATE_TRUSTED_HOSTS" in ignored[0]["why"]) == ("evil.invalid", True)
