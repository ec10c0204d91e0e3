"""What each of the partner's answers means: a table of everything that is documented, and anything else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.replies import Answer, NotExecuted, NotSent, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear
from worker.tradovate.client import TEXT_LIMIT, classify, clean


def sent(status: int, body: Any, *, reading: bool = False) -> Reply:
    """Classifies a body that is given as JSON, or as it is when it is bytes."""
    return classify(status, body if isinstance(body, bytes) else json.dumps(body).encode(), reading=reading)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"errorText": ""},
        {"errorText": None},
        {"errorText": "", "accountId": 98765, "tradingPermissionId": 54321},
        {"errorCode": "Success", "entitlementSubscription": {"id": 1}},
        {"errorText": "", "errorCode": "Success"},
        {"ok": True},
        {"violations": []},
        {"violations": None, "p-ticket": None},
        {"results": [{"errorText": "name is taken"}, {"userId": 1}]},
    ],
)
def test_success_is_an_answer_however_it_says_that_nothing_is_wrong(body: dict[str, Any]) -> None:
    """Absent, null and empty errorText are alike, and `Success` is a value of errorCode; items speak for themselves."""
    assert sent(200, body) == Answer(body)
    assert sent(200, body, reading=True) == Answer(body)


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        ({"errorText": "no"}, Refusal("no")),
        ({"errorText": "no", "results": []}, Refusal("no")),
        ({"errorText": "no", "results": [{"errorText": "a"}, {"errorText": "b"}]}, Refusal("no")),
        ({"errorText": "no", "errorCode": "Success"}, Refusal("no")),
        ({"errorText": "no", "errorCode": "UserAlreadyExists"}, Refusal("no", 200, "UserAlreadyExists")),
        ({"errorCode": "ConflictWithExisting"}, Refusal("ConflictWithExisting", 200, "ConflictWithExisting")),
        ({"ok": False, "errorText": "no"}, Refusal("no")),
        ({"ok": False}, Refusal("Tradovate refused without a text (ok: false)")),
        (
            {"violations": [{"constraint": "required_field_missing", "description": "First Name should be specified"}]},
            Refusal("First Name should be specified"),
        ),
        (
            {
                "violations": [
                    {"constraint": "firstName", "value": "x", "description": "First Name should be specified"},
                    {"constraint": "email", "value": "jane@example.com"},
                ]
            },
            Refusal("First Name should be specified; email"),
        ),
        ({"violations": "odd"}, Refusal("odd")),
        ({"violations": [7]}, Refusal("Tradovate found fault with the request and did not say what")),
    ],
)
def test_a_refusal_inside_http_200_is_a_refusal(body: dict[str, Any], reply: Reply) -> None:
    """Top-level errorText, errorCode, `ok: false` and both forms of violations refuse the whole call, readably."""
    assert sent(200, body) == reply
    assert sent(200, body, reading=True) == reply


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        ({"p-ticket": "abc", "p-time": 60}, Ticket("abc", timedelta(seconds=60))),
        (
            {"p-ticket": "abc", "p-time": 19, "p-captcha": True, "p-message": "slow down"},
            Ticket("abc", timedelta(seconds=19), captcha=True, message="slow down"),
        ),
        ({"p-captcha": True}, Ticket("", timedelta(seconds=60), captcha=True)),
        ({"p-ticket": "abc", "p-time": "7"}, Ticket("abc", timedelta(seconds=7))),
        ({"p-ticket": "abc", "p-time": -1}, Ticket("abc", timedelta(0))),
        ({"p-ticket": "abc", "p-time": 1e300}, Ticket("abc", timedelta(days=1))),
        ({"p-ticket": "abc", "p-time": [], "errorText": "x"}, Ticket("abc", timedelta(seconds=60))),
    ],
)
def test_a_penalty_ticket_is_found_inside_http_200(body: dict[str, Any], reply: Reply) -> None:
    """A ticket comes with a wait that makes sense, whatever its p-time looks like."""
    assert sent(200, body) == reply


@pytest.mark.parametrize("status", [400, 402, 404, 405, 409, 413, 415, 422, 499])
def test_other_errors_of_ours_are_refusals(status: int) -> None:
    """4xx refuses the call with the body's own text, or a readable sentence."""
    assert sent(status, {"errorText": "no", "errorCode": "DataError"}) == Refusal("no", status, "DataError")
    assert sent(status, b"Not here") == Refusal("Not here", status)
    assert sent(status, "quoted") == Refusal("quoted", status)
    assert sent(status, {"violations": [{"description": "bad"}]}) == Refusal("bad", status)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399, 404, 405, 421])
@pytest.mark.parametrize("reading", [False, True])
def test_a_wrong_host_has_executed_nothing(status: int, reading: bool) -> None:
    """3xx, 421, and 404 and 405 without a body mean that nothing was executed, to reads and to calls that change."""
    reply = classify(status, b" \n", reading=reading, leads_to="elsewhere")
    assert isinstance(reply, NotExecuted)
    assert (reply.status, reply.leads_to) == (status, "elsewhere")


@pytest.mark.parametrize("status", [300, 307, 421])
def test_a_redirect_has_executed_nothing_whatever_its_body(status: int) -> None:
    """A redirect with a page, or with JSON that looks like a success, has executed nothing."""
    assert isinstance(sent(status, b"<html>moved</html>"), NotExecuted)
    assert isinstance(sent(status, {"userId": 1}), NotExecuted)


@pytest.mark.parametrize("status", [401, 403])
def test_what_is_not_permitted_is_unauthorized(status: int) -> None:
    """An expired token and a missing permission look alike, with a text or an empty body."""
    assert sent(status, b"Access is denied") == Unauthorized("Access is denied")
    assert sent(status, b"") == Unauthorized("")


def test_an_expired_token_may_also_be_a_400() -> None:
    """One of the vendor's pages says that an expired token is answered with 400 or 401."""
    assert sent(400, b"Expired Access Token") == Unauthorized("Expired Access Token")


@pytest.mark.parametrize("status", [423, 429])
def test_a_lock_out_and_its_warning_silence(status: int) -> None:
    """423 says that 429 is near: both want silence, whatever the body."""
    assert sent(status, b"") == Silence(status)
    assert sent(status, {"errorText": "x"}) == Silence(status)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 599])
def test_what_a_closed_session_would_answer_is_unclear(status: int) -> None:
    """408 and 5xx may or may not have taken effect, and may mean that the session was closed."""
    reply = sent(status, {"errorText": "x"})
    assert isinstance(reply, Unclear)
    assert (reply.status, reply.closed_session) == (status, True)


@pytest.mark.parametrize("status", [100, 205, 206, 226, 0, 999])
def test_a_status_that_makes_no_sense_is_unclear(status: int) -> None:
    """Oddities are never taken for success or failure."""
    assert isinstance(sent(status, {}), Unclear)


@pytest.mark.parametrize(
    "body", [b"<html>", b"{", b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000, b'"text"', b"7", b"true"]
)
def test_garbage_is_unclear_for_reads_too(body: bytes) -> None:
    """A body that is no JSON object (or list, for reads) makes no sense to anybody."""
    assert isinstance(sent(200, body), Unclear)
    assert isinstance(sent(200, body, reading=True), Unclear)


@pytest.mark.parametrize(("body", "value"), [(b"", None), (b" ", None), (b"null", None), (b"[]", []), (b"[1]", [1])])
def test_nothing_and_lists_are_answers_to_reads_alone(body: bytes, value: Any) -> None:
    """`find` may answer null or nothing, `deps` a list; a sending call is never answered so."""
    assert sent(200, body, reading=True) == Answer(value)
    assert isinstance(sent(200, body), Unclear)


@pytest.mark.parametrize(
    "body",
    [{"errorText": 5}, {"errorText": {}}, {"errorText": False}, {"errorCode": 5}, {"errorText": ["no"]}],
)
def test_an_error_of_a_wrong_type_is_unclear(body: dict[str, Any]) -> None:
    """Nonsense is looked up, not sent again."""
    assert isinstance(sent(200, body), Unclear)


def test_a_whole_that_is_refused_and_granted_in_part_is_unclear() -> None:
    """Sent again after such an answer, the granted part would be doubled."""
    assert isinstance(sent(200, {"errorText": "some failed", "results": [{"userId": 1}, {"errorText": "x"}]}), Unclear)


def test_a_byte_order_mark_is_no_garbage() -> None:
    """JSON behind a byte order mark is read."""
    assert sent(200, b'\xef\xbb\xbf{"a":1}') == Answer({"a": 1})


def test_texts_are_cut_and_can_be_stored() -> None:
    """No text is longer than the vendor's limit, has a NUL or a lone surrogate."""
    reply = sent(200, {"errorText": "x" * 100_000})
    assert isinstance(reply, Refusal)
    assert len(reply.text) == TEXT_LIMIT
    assert clean("a\x00b\ud800c ") == "ab?c"


FIELDS = ("errorText", "errorCode", "ok", "violations", "results", "description", "constraint", "accessToken")
KEYS = st.sampled_from([*FIELDS, "p-ticket", "p-time", "p-captcha", "p-message"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=10,
)


@given(st.integers(-1, 1000), st.binary(max_size=200), st.booleans())
def test_no_bytes_raise(status: int, body: bytes, reading: bool) -> None:
    """Whatever the status and the bytes, the answer is one of the replies, and never that nothing was sent."""
    assert not isinstance(classify(status, body, reading=reading), NotSent)


@given(st.sampled_from([200, 201, 400, 404, 401, 429, 500]), JSON, st.booleans())
def test_no_json_raises(status: int, body: Any, reading: bool) -> None:
    """Whatever the known fields hold, the answer is one of the replies, and its texts can be stored."""
    reply = sent(status, body, reading=reading)
    if isinstance(reply, Refusal):
        assert reply.text
        assert "\x00" not in reply.text
        reply.text.encode()
    if isinstance(reply, Ticket):
        assert timedelta(0) <= reply.wait <= timedelta(days=1)
