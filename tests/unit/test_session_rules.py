"""When to renew, when to log in, when to wait: decisions about the shared session, whatever the ledger says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.session.renewal_rules import (
    HOST_RENEWALS,
    LONG,
    OTHERS_LOGINS,
    Block,
    LogIn,
    Renew,
    SessionFacts,
    SessionWait,
    Use,
    UseWithoutAsking,
    back_off,
    decide,
    renew_at,
)

NOW = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
TIMES = st.timedeltas(timedelta(hours=-2), timedelta(hours=2)).map(lambda delta: NOW + delta)
BLOCKS = st.none() | st.builds(Block, st.none() | TIMES, st.just("why"), st.just("scope"))
FACTS = st.builds(
    SessionFacts,
    token=st.booleans(),
    issued_at=st.just(NOW - timedelta(hours=3)),
    expires_at=st.none() | TIMES,
    suspect=st.booleans(),
    rejected=st.booleans(),
    renewal_failed=st.booleans(),
    busy_until=st.none() | TIMES,
    everything=BLOCKS,
    renewal=BLOCKS,
    login=BLOCKS,
    renewals=st.integers(0, 15),
    renewals_free_at=TIMES.map(lambda time: max(time, NOW + timedelta(seconds=1))),
    renew_after=st.none() | TIMES,
    login_after=st.none() | TIMES,
    others=st.booleans(),
    logins=st.integers(0, 5),
    last_login_at=st.none() | TIMES,
    failure=st.none() | st.just("HTTP 502"),
    ask_hosts=st.booleans(),
)


def stands(block: Block | None) -> bool:
    """Whether a block keeps calls back now."""
    return block is not None and (block.until is None or block.until > NOW)


@given(FACTS)
def test_a_login_is_made_only_without_a_usable_token(facts: SessionFacts) -> None:
    """While a session is in use no login is made, so that none can close it; and nothing holds logins back."""
    if decide(facts, NOW) == LogIn():
        alive = facts.token and facts.expires_at is not None and facts.expires_at > NOW
        assert not alive or facts.suspect or facts.rejected
        assert not stands(facts.login)
        assert not stands(facts.everything)
        assert facts.login_after is None or facts.login_after <= NOW
        assert facts.busy_until is None or facts.busy_until <= NOW


@given(FACTS)
def test_no_renewal_beyond_twelve_an_hour_or_of_a_dead_token(facts: SessionFacts) -> None:
    """A renewal needs a token that lives, and room among the hour's twelve."""
    if decide(facts, NOW) == Renew():
        assert facts.token
        assert facts.expires_at is not None
        assert facts.expires_at > NOW
        assert facts.renewals < 12
        assert not stands(facts.renewal)
        assert not stands(facts.everything)


@given(FACTS)
def test_a_renewal_for_the_hosts_leaves_room_for_those_that_the_token_needs(facts: SessionFacts) -> None:
    """Of the hour's twelve, six are left for a token that ends, is doubtful, or was not accepted."""
    without = replace(facts, ask_hosts=False)
    if decide(facts, NOW) == Renew() and decide(without, NOW) == Use():
        assert facts.renewals < HOST_RENEWALS


@given(FACTS)
def test_a_token_is_used_while_the_hosts_cannot_be_asked_for(facts: SessionFacts) -> None:
    """A doubt about a host changes nothing but that a renewal comes sooner: the token is as usable as without it."""
    decision, without = decide(facts, NOW), decide(replace(facts, ask_hosts=False), NOW)
    if isinstance(without, Use) and not without.forget:
        assert isinstance(decision, Use | UseWithoutAsking | Renew)
    else:
        assert type(decision) is type(without)


@given(FACTS)
def test_only_a_token_that_lives_is_used(facts: SessionFacts) -> None:
    """Neither an expired token nor one that was not accepted is used, and a suspect one only when forgiven."""
    decision = decide(facts, NOW)
    if isinstance(decision, Use | UseWithoutAsking):
        assert facts.token
        assert not facts.rejected
        assert facts.expires_at is not None
        assert facts.expires_at > NOW
        assert (isinstance(decision, Use) and decision.forget) or not facts.suspect


@given(FACTS)
def test_after_a_login_began_the_former_token_is_not_used(facts: SessionFacts) -> None:
    """A login with an unknown result may have opened a session that the next one needs room for: until then nobody
    goes on with the token whose session it may close.
    """
    facts = replace(facts, login_after=NOW + timedelta(minutes=3), login=None, suspect=True, renewal_failed=True)
    assert not isinstance(decide(facts, NOW), Use | UseWithoutAsking)


@given(FACTS)
def test_a_suspect_token_that_cannot_be_renewed_is_followed_by_a_login(facts: SessionFacts) -> None:
    """Whatever the renewal was answered: the login comes at once, unless something else holds it back."""
    facts = replace(facts, token=True, suspect=True, renewal_failed=True, login_after=None, others=False, login=None)
    if not stands(facts.everything) and (facts.busy_until is None or facts.busy_until <= NOW):
        assert decide(facts, NOW) == LogIn()


def test_the_next_login_follows_a_failed_one_within_five_minutes() -> None:
    """The longest wait and a call that hangs for a minute fit into the five minutes of the contract."""
    assert back_off(100) + timedelta(seconds=65) < timedelta(minutes=5)
    assert back_off(100) < LONG


def test_replicas_with_other_settings_do_not_log_in_in_turns() -> None:
    """After three logins in an hour a living token that others put there is left alone for five minutes."""
    facts = SessionFacts(others=True, logins=OTHERS_LOGINS, last_login_at=NOW - timedelta(minutes=1))
    decision = decide(facts, NOW)
    assert isinstance(decision, SessionWait)
    assert (decision.scope, decision.until) == ("others", NOW + timedelta(minutes=4))
    assert decide(replace(facts, logins=OTHERS_LOGINS - 1), NOW) == LogIn()
    assert decide(replace(facts, last_login_at=NOW - timedelta(minutes=5)), NOW) == LogIn()


def test_a_wait_says_what_the_last_try_failed_for() -> None:
    """Health and doctor show it: a certificate, a 502."""
    decision = decide(SessionFacts(login_after=NOW + timedelta(seconds=5), failure="HTTP 502"), NOW)
    assert isinstance(decision, SessionWait)
    assert decision.why == "the last login failed: HTTP 502"


@given(FACTS)
def test_a_wait_ends_later_or_by_an_operator(facts: SessionFacts) -> None:
    """No caller has to wait until a moment that has passed."""
    decision = decide(facts, NOW)
    if isinstance(decision, SessionWait):
        assert decision.until is None or decision.until > NOW
        assert decision.why


@given(FACTS)
def test_a_good_token_is_never_given_up(facts: SessionFacts) -> None:
    """While a token lives and nothing speaks against it, work goes on or it is renewed, whatever else is the case."""
    decision = decide(facts, NOW)
    alive = facts.token and facts.expires_at is not None and facts.expires_at > NOW
    if alive and not facts.rejected and not facts.suspect:
        assert isinstance(decision, Use | UseWithoutAsking | Renew)


@given(st.timedeltas(timedelta(seconds=1), timedelta(hours=24)))
def test_a_token_is_renewed_in_the_last_quarter_of_an_hour_or_half_its_life(life: timedelta) -> None:
    """Never earlier than half its life, never later than a quarter of an hour before the end of a long one."""
    before = NOW + life - renew_at(NOW, NOW + life)
    assert before == min(timedelta(minutes=15), life / 2)


def test_back_off_grows_to_three_minutes() -> None:
    """1, 5, 15, 60, then 180 seconds; a partner that cannot be reached is tried every fifteen at the latest."""
    assert [back_off(n).total_seconds() for n in range(1, 8)] == [1, 5, 15, 60, 180, 180, 180]
    assert [back_off(n, sent=False).total_seconds() for n in range(1, 6)] == [1, 5, 15, 15, 15]
