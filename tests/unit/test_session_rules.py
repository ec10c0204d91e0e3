"""When to renew, when to log in, when to wait: decisions about the shared session, whatever the ledger says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.replies import Answer, NotExecuted, NotSent, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear
from worker.session.rules import (
    ASSUMED_LIFE,
    LONGEST_LIFE,
    Block,
    Denied,
    Facts,
    Failed,
    Granted,
    LogIn,
    Renew,
    Use,
    Wait,
    back_off,
    decide,
    read_login,
    read_renewal,
    renew_at,
)
from worker.tradovate.client import Exchange

NOW = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
TIMES = st.timedeltas(timedelta(hours=-2), timedelta(hours=2)).map(lambda delta: NOW + delta)
BLOCKS = st.none() | st.builds(Block, st.none() | TIMES, st.just("why"), st.just("scope"))
FACTS = st.builds(
    Facts,
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
    living=st.lists(TIMES, max_size=4).map(tuple),
)


def stands(block: Block | None) -> bool:
    """Whether a block keeps calls back now."""
    return block is not None and (block.until is None or block.until > NOW)


@given(FACTS)
def test_no_login_that_could_be_the_third_session_or_a_wrong_try(facts: Facts) -> None:
    """A login comes only when fewer than two sessions may live, and nothing holds logins back."""
    if decide(facts, NOW) == LogIn():
        assert sum(until > NOW for until in facts.living) < 2
        assert not stands(facts.login)
        assert not stands(facts.everything)
        assert facts.login_after is None or facts.login_after <= NOW
        assert facts.busy_until is None or facts.busy_until <= NOW


@given(FACTS)
def test_no_renewal_beyond_twelve_an_hour_or_of_a_dead_token(facts: Facts) -> None:
    """A renewal needs a token that lives, and room among the hour's twelve."""
    if decide(facts, NOW) == Renew():
        assert facts.token
        assert facts.expires_at is not None
        assert facts.expires_at > NOW
        assert facts.renewals < 12
        assert not stands(facts.renewal)
        assert not stands(facts.everything)


@given(FACTS)
def test_only_a_token_that_lives_is_used(facts: Facts) -> None:
    """Neither an expired token nor one that was not accepted is used, and a suspect one only when forgiven."""
    decision = decide(facts, NOW)
    if isinstance(decision, Use):
        assert facts.token
        assert not facts.rejected
        assert facts.expires_at is not None
        assert facts.expires_at > NOW
        assert decision.forget or not facts.suspect


@given(FACTS)
def test_a_wait_ends_later_or_by_a_person(facts: Facts) -> None:
    """Nobody is told to wait until a moment that has passed."""
    decision = decide(facts, NOW)
    if isinstance(decision, Wait):
        assert decision.until is None or decision.until > NOW
        assert decision.why


@given(FACTS)
def test_a_good_token_is_never_given_up(facts: Facts) -> None:
    """While a token lives and nothing speaks against it, work goes on or it is renewed, whatever else is the case."""
    decision = decide(facts, NOW)
    alive = facts.token and facts.expires_at is not None and facts.expires_at > NOW
    if alive and not facts.rejected and not facts.suspect and not facts.renewal_failed:
        assert isinstance(decision, Use | Renew)


@given(st.timedeltas(timedelta(seconds=1), timedelta(hours=24)))
def test_a_token_is_renewed_in_the_last_quarter_of_an_hour_or_half_its_life(life: timedelta) -> None:
    """Never earlier than half its life, never later than a quarter of an hour before the end of a long one."""
    before = NOW + life - renew_at(NOW, NOW + life)
    assert before == min(timedelta(minutes=15), life / 2)


def test_back_off_grows_to_five_minutes() -> None:
    """1, 5, 15, 60, then 300 seconds; a partner that cannot be reached is tried every fifteen at the latest."""
    assert [back_off(n).total_seconds() for n in range(1, 8)] == [1, 5, 15, 60, 300, 300, 300]
    assert [back_off(n, sent=False).total_seconds() for n in range(1, 6)] == [1, 5, 15, 15, 15]


@pytest.mark.parametrize(
    ("reply", "renewal", "login"),
    [
        (Refusal("no"), Denied, Denied),
        (Refusal("no", 400), Denied, Denied),
        (Refusal("no", 404), Failed, Denied),
        (NotExecuted("HTTP 404 without a body", 404), Failed, Failed),
        (NotExecuted("HTTP 307: a redirect", 307, "https://elsewhere/"), Failed, Failed),
        (Unauthorized(""), Denied, Denied),
        (Unclear("HTTP 408", 408), Denied, Failed),
        (Unclear("HTTP 503", 503), Failed, Failed),
        (Unclear("cut"), Failed, Failed),
        (Silence(429), Failed, Failed),
        (Ticket("t", timedelta(seconds=1)), Failed, Failed),
        (NotSent("no connection"), Failed, Failed),
        (Answer({}), Failed, Failed),
        (Answer({"userStatus": "Active"}), Failed, Failed),
        (Answer({"userStatus": "Closed"}), Failed, Denied),
        (Answer({"accessToken": "a\nb"}), Failed, Failed),
        (Answer({"accessToken": 5}), Failed, Failed),
        (Answer({"accessToken": "t"}), Granted, Granted),
    ],
)
def test_every_reply_has_a_meaning_for_the_session(reply: Reply, renewal: type, login: type) -> None:
    """What is denied ends a session or stops logins; what is unclear does neither."""
    assert isinstance(read_renewal(Exchange(reply), NOW), renewal)
    assert isinstance(read_login(Exchange(reply), NOW), login)


@pytest.mark.parametrize(
    ("reply", "opened", "sent"),
    [
        (Unclear("cut"), True, True),
        (Unclear("HTTP 408", 408), True, True),
        (Unclear("garbage", 200), True, True),
        (Answer({}), True, True),
        (Unclear("HTTP 500", 500), True, True),
        (Unclear("HTTP 503", 503), False, True),
        (Unclear("HTTP 302", 302), False, True),
        (Silence(423), False, True),
        (NotSent("x"), False, False),
    ],
)
def test_a_login_counts_when_it_may_have_opened_a_session(reply: Reply, opened: bool, sent: bool) -> None:
    """A timeout, a cut, an unreadable success and an error of the server's may have; one that was too busy has not."""
    verdict = read_login(Exchange(reply), NOW)
    assert isinstance(verdict, Failed)
    assert (verdict.opened, verdict.sent) == (opened, sent)


@pytest.mark.parametrize(
    ("expiration", "date", "life"),
    [
        ((NOW + timedelta(minutes=90)).isoformat(), None, timedelta(minutes=90)),
        ("2026-11-21T00:00:00Z", None, timedelta(hours=1)),
        ("2026-11-21T00:00:00", None, timedelta(hours=1)),
        ("2026-11-21T00:00:00.123456789Z", None, timedelta(hours=1, microseconds=123456)),
        ("2030-01-01T01:00:00Z", datetime(2030, 1, 1, tzinfo=UTC), timedelta(hours=1)),
        ("2030-01-01T01:00:00Z", None, LONGEST_LIFE),
        ("2020-01-01T01:00:00Z", None, ASSUMED_LIFE),
        ("soon", None, ASSUMED_LIFE),
        (None, None, ASSUMED_LIFE),
        (7, None, ASSUMED_LIFE),
    ],
)
def test_a_tokens_life_is_told_by_the_partners_clock(
    expiration: object, date: datetime | None, life: timedelta
) -> None:
    """From its Date to its expirationTime, and eighty minutes when that makes no sense."""
    verdict = read_login(Exchange(Answer({"accessToken": "t", "expirationTime": expiration}), date), NOW)
    assert isinstance(verdict, Granted)
    assert verdict.life == life


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)))
def test_no_answer_raises(value: object) -> None:
    """Whatever a success holds, it is granted, denied or failed."""
    for body in (value, {"accessToken": value, "expirationTime": value, "userStatus": value, "userId": value}):
        read_login(Exchange(Answer(body)), NOW)
        read_renewal(Exchange(Answer(body)), NOW)
