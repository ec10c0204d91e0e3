"""What the response to a login or a renewal says, whatever it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sessions import CREDENTIALS
from worker.partner.client import Exchange
from worker.replies import Answer, Misdirected, NotSent, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear
from worker.session.token_response import (
    APPROVAL,
    ASSUMED_LIFE,
    LONGEST_LIFE,
    Denied,
    Failed,
    Granted,
    read_login,
    read_renewal,
)

NOW = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("reply", "renewal", "login"),
    [
        (Refusal("no"), Denied, Denied),
        (Refusal("no", 400), Denied, Denied),
        (Refusal("no", 404), Failed, Denied),
        (Unclear("HTTP 403 without an error text", 403), Failed, Denied),
        (Unclear("HTTP 410 without an error text", 410), Failed, Failed),
        (Misdirected("HTTP 404 without a body", 404), Failed, Failed),
        (Misdirected("HTTP 307: a redirect", 307, "elsewhere"), Failed, Failed),
        (Unauthorized(""), Denied, Denied),
        (Unclear("HTTP 408", 408), Denied, Failed),
        (Unclear("HTTP 503", 503), Failed, Failed),
        (Unclear("cut"), Failed, Failed),
        (Silence(429), Failed, Failed),
        (Ticket("t", timedelta(seconds=1)), Failed, Failed),
        (NotSent("no connection"), Failed, Failed),
        (Answer({}), Failed, Denied),
        (Answer({"userStatus": "Active"}), Failed, Denied),
        (Answer({"userStatus": "Closed"}), Failed, Denied),
        (Answer({"accessToken": "", "userStatus": None}), Failed, Denied),
        (Answer({"p-time": 60, "p-message": "wait"}), Failed, Failed),
        (Answer(None), Failed, Failed),
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
def test_a_tokens_life_is_measured_by_the_partners_clock(
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


@pytest.mark.parametrize(
    ("cid", "sent"),
    [("1234", 1234), ("9" * 18, int("9" * 18)), ("9" * 20, "9" * 20), ("1" * 5000, "1" * 5000), ("acme-1", "acme-1")],
)
def test_the_id_of_the_api_key_is_sent_as_a_number_if_it_can_be_one(cid: str, sent: int | str) -> None:
    """Digits that are no number of JSON are sent as they are, and Tradovate refuses them."""
    assert orjson.loads(replace(CREDENTIALS, cid=cid).body())["cid"] == sent


def test_a_login_that_waits_for_an_approval_says_what_to_do() -> None:
    """Neither token nor error text: the operator reads of the e-mail, of MFA, and of the device id."""
    verdict = read_login(Exchange(Answer({"userStatus": "Active"})), NOW)
    assert verdict == Denied(APPROVAL)
    assert all(word in APPROVAL for word in ("e-mail", "MFA", "TRADOVATE_DEVICE_ID"))


@pytest.mark.parametrize(
    ("value", "date", "ends_in"),
    [
        ("2026-12-01T00:00:00Z", None, timedelta(days=10, hours=1)),
        ("2026-11-01T00:00:00Z", None, timedelta(days=-20, hours=1)),
        ("2030-01-02T00:00:00Z", datetime(2030, 1, 1, tzinfo=UTC), timedelta(days=1)),
        ("9999-12-31T00:00:00Z", None, None),
        ("soon", None, None),
        (None, None, None),
        (5, None, None),
    ],
)
def test_when_the_password_ends(value: object, date: datetime | None, ends_in: timedelta | None) -> None:
    """By the partner's clock; what makes no sense is no end."""
    body = {"accessToken": "t", "passwordExpirationTime": value}
    for read in (read_login, read_renewal):
        verdict = read(Exchange(Answer(body), date), NOW)
        assert isinstance(verdict, Granted)
        assert verdict.password_ends_in == ends_in
