"""What each of the partner's answers means: a table of everything that is documented, and anything else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cleaning import TEXT_LIMIT, clean
from worker.partner._json import NONSENSE, read_json
from worker.partner.client import classify
from worker.replies import Answer, Misdirected, NotSent, Refusal, Reply, Silence, Ticket, Unauthorized, Unclear


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
        ({"ok": False, "errorText": "no"}, Refusal("no")),
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
        ({"errorText": "a", "violations": ["b"]}, Refusal("a; b")),
    ],
)
def test_a_refusal_inside_http_200_is_a_refusal(body: dict[str, Any], reply: Reply) -> None:
    """A top-level errorText and both forms of violations refuse the whole call, readably."""
    assert sent(200, body) == reply
    assert sent(200, body, reading=True) == reply


@pytest.mark.parametrize(
    "body",
    [
        {"ok": False},
        {"error": "invalid_token"},
        {"message": "Service unavailable"},
        {"failureReason": "UnknownReason", "failureText": "Access is denied"},
        {"errorText": " "},
    ],
)
def test_an_object_that_says_no_in_another_form_is_no_refusal(body: dict[str, Any]) -> None:
    """It is an answer without the promised part: the operation finds nothing proven in it."""
    assert sent(200, body) == Answer(body)


@pytest.mark.parametrize(
    "body",
    [
        {"errorCode": "ConflictWithExisting"},
        {"errorText": 5},
        {"errorText": {}},
        {"errorText": False},
        {"errorText": ["no"]},
        {"errorCode": 5},
        {"violations": 7},
        {"violations": True},
        {"p-time": 60, "p-message": "wait"},
        {"p-ticket": 7, "p-time": 60},
        {"errorText": "some failed", "results": [{"userId": 1}, {"errorText": "x"}]},
        {"violations": ["some failed"], "results": [{"userId": 1}, {"errorText": "x"}]},
    ],
)
def test_what_contradicts_itself_or_is_half_said_is_unclear(body: dict[str, Any]) -> None:
    """An errorCode alone, a penalty without a ticket, fields of another type, a refusal that grants some items."""
    assert isinstance(sent(200, body), Unclear)
    assert isinstance(sent(200, body, reading=True), Unclear)


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        ({"p-ticket": "abc", "p-time": 60}, Ticket("abc", timedelta(seconds=60))),
        (
            {"p-ticket": "abc", "p-time": 19, "p-captcha": True, "p-message": "slow down"},
            Ticket("abc", timedelta(seconds=19), captcha=True, message="slow down"),
        ),
        ({"p-captcha": True}, Ticket("", timedelta(seconds=60), captcha=True)),
        ({"p-ticket": "x", "p-time": 19, "p-captcha": "true"}, Ticket("x", timedelta(seconds=19), captcha=True)),
        ({"p-ticket": "abc", "p-time": 1, "p-captcha": "false"}, Ticket("abc", timedelta(seconds=1))),
        ({"p-ticket": "abc", "p-time": "7"}, Ticket("abc", timedelta(seconds=7))),
        ({"p-ticket": "abc", "p-time": -1}, Ticket("abc", timedelta(0))),
        ({"p-ticket": "abc", "p-time": 1e300}, Ticket("abc", timedelta(days=1))),
        ({"p-ticket": "abc", "p-time": [], "errorText": "x"}, Ticket("abc", timedelta(seconds=60))),
    ],
)
def test_a_penalty_ticket_is_found_inside_http_200(body: dict[str, Any], reply: Reply) -> None:
    """A ticket comes with a wait that makes sense, whatever its p-time looks like."""
    assert sent(200, body) == reply


@pytest.mark.parametrize("status", [400, 402, 403, 404, 405, 409, 410, 413, 415, 422, 499])
def test_a_4xx_is_a_refusal_if_its_body_says_so(status: int) -> None:
    """An errorText or violations in an object say so; a page, nothing at all and other objects do not."""
    assert sent(status, {"errorText": "no", "errorCode": "DataError"}) == Refusal("no", status, "DataError")
    assert sent(status, {"violations": [{"description": "bad"}]}) == Refusal("bad", status)
    wrong: Any
    for wrong in (b"<html>Not here</html>", {"error": "x"}, {"message": "x"}, {"errorText": ""}, [], 7, b"{cut"):
        assert isinstance(sent(status, wrong), Unclear), wrong
        assert isinstance(sent(status, wrong, reading=True), Unclear), wrong


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_sentence_about_the_request_is_a_refusal(status: int) -> None:
    """A short plain text, or a JSON string; a long one is a page of something else."""
    assert sent(status, b"Malformed request") == Refusal("Malformed request", status)
    assert sent(status, "quoted") == Refusal("quoted", status)
    assert isinstance(sent(status, b"x" * 5000), Unclear)
    assert isinstance(sent(status, b""), Unclear)


@pytest.mark.parametrize("status", [402, 404, 405, 410, 413, 499])
def test_a_sentence_with_another_status_is_unclear(status: int) -> None:
    """Gateways and load balancers speak so, of a request that the partner has perhaps never seen."""
    assert isinstance(sent(status, b"Not here"), Unclear)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399, 404, 405, 421])
@pytest.mark.parametrize("reading", [False, True])
def test_a_wrong_host_has_executed_nothing(status: int, reading: bool) -> None:
    """3xx, 421, and 404 and 405 without a body mean that nothing was executed, to reads and to calls that change."""
    reply = classify(status, b" \n", reading=reading, leads_to="elsewhere")
    assert isinstance(reply, Misdirected)
    assert (reply.status, reply.leads_to) == (status, "elsewhere")


@pytest.mark.parametrize("status", [300, 307, 421])
def test_a_redirect_has_executed_nothing_whatever_its_body(status: int) -> None:
    """A redirect with a page, or with JSON that looks like a success, has executed nothing."""
    assert isinstance(sent(status, b"<html>moved</html>"), Misdirected)
    assert isinstance(sent(status, {"userId": 1}), Misdirected)


@pytest.mark.parametrize("status", [401, 403])
def test_what_is_not_permitted_is_unauthorized(status: int) -> None:
    """An expired token and a missing permission look alike, with a text or an empty body."""
    assert sent(status, b"Access is denied") == Unauthorized("Access is denied")
    assert sent(status, b"") == Unauthorized("")


def test_a_401_may_say_so_in_the_partners_own_form() -> None:
    """An errorText beside a 401 is about the request, if another token does not help; a page is about nothing."""
    assert sent(401, {"errorText": "No such user here"}) == Unauthorized("No such user here", said=True)
    assert sent(401, b"<html>") == Unauthorized("")


@pytest.mark.parametrize("body", [b"Expired Access Token", b'{"errorText": "Expired Access Token"}'])
def test_an_expired_token_may_also_be_a_400(body: bytes) -> None:
    """One of the vendor's pages says that an expired token is answered with 400 or 401."""
    assert sent(400, body) == Unauthorized("Expired Access Token")


def test_an_error_text_that_names_the_other_domain_is_about_the_host() -> None:
    """Nothing was executed, and no event is at fault."""
    reply = sent(200, {"errorText": "This endpoint should be called on demo.tradovateapi.com"})
    assert isinstance(reply, Misdirected)


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


@pytest.mark.parametrize("status", [100, 201, 202, 203, 204, 205, 206, 226, 0, 999])
def test_a_status_that_makes_no_sense_is_unclear(status: int) -> None:
    """A status never seen is neither success nor failure, whatever comes with it."""
    assert isinstance(sent(status, {"userId": 1}), Unclear)
    assert isinstance(sent(status, {"errorText": "no"}), Unclear)
    assert isinstance(sent(status, b"", reading=True), Unclear)


@pytest.mark.parametrize(
    "body", [b"<html>", b"{", b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000, b'"text"', b"7", b"true"]
)
def test_garbage_is_unclear_for_reads_too(body: bytes) -> None:
    """A body that is no JSON object (or list, for reads) makes no sense."""
    assert isinstance(sent(200, body), Unclear)
    assert isinstance(sent(200, body, reading=True), Unclear)


@pytest.mark.parametrize(("body", "value"), [(b"", None), (b" ", None), (b"null", None), (b"[]", []), (b"[1]", [1])])
def test_nothing_and_lists_are_answers_to_reads_alone(body: bytes, value: Any) -> None:
    """`find` may answer null or nothing, `deps` a list; a sending call is never answered so."""
    assert sent(200, body, reading=True) == Answer(value)
    assert isinstance(sent(200, body), Unclear)


def test_a_byte_order_mark_is_no_garbage() -> None:
    """JSON behind a byte order mark is read."""
    assert sent(200, b'\xef\xbb\xbf{"a":1}') == Answer({"a": 1})


def test_texts_are_clean_wherever_they_stand() -> None:
    """No text of an answer is longer than the vendor's limit, has a NUL or a lone surrogate; its keys neither."""
    reply = sent(200, {"errorText": "x" * 100_000})
    assert isinstance(reply, Refusal)
    assert len(reply.text) == TEXT_LIMIT
    body = b'{"results": [{"errorText": "Not \\u0000 welcome"}, {"a\\u0000\\ud800": ["\\udfff!", 1]}]}'
    assert sent(200, body) == Answer({"results": [{"errorText": "Not  welcome"}, {"a?": ["?!", 1]}]})


def test_nul_is_removed_before_the_text_is_cut() -> None:
    """What is cut off has been counted without what was removed."""
    assert clean("\x00" * 10 + "x" * TEXT_LIMIT) == "x" * TEXT_LIMIT
    assert clean("a\x00b\ud800c") == "ab?c"


def test_one_bad_text_does_not_hide_the_rest_of_an_answer() -> None:
    """A lone surrogate, at which strict parsers give up, spoils no other item; what is no JSON still is none."""
    assert sent(200, b'{"results": [{"errorText": "\\ud83d"}, {"userId": 1}]}') == Answer(
        {"results": [{"errorText": "?"}, {"userId": 1}]}
    )
    for body in (b'{"a": "\\ud83d"', b'{"a": "\\ud83d", "b": NaN}', b'["\\ud83d"' + b"[" * 5000):
        assert isinstance(sent(200, body), Unclear)


FIELDS = ("errorText", "errorCode", "ok", "violations", "results", "description", "constraint", "accessToken")
KEYS = st.sampled_from([*FIELDS, "p-ticket", "p-time", "p-captcha", "p-message"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=10,
)


BODIES = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())
STATUSES = st.integers(-1, 1000) | st.sampled_from([200, 200, 400, 401, 403, 404, 409, 422, 429, 500])


def says_no(status: int, body: bytes) -> bool:
    """Whether a response has one of the listed forms of a refusal, distinguished without the classification."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    text = value.get("errorText") if isinstance(value, dict) else None
    violations = value.get("violations") if isinstance(value, dict) else None
    reported = (isinstance(text, str) and bool(text.strip("\x00 \t\r\n"))) or bool(violations)
    spoken = not isinstance(value, dict | list) and 0 < len(body.strip()) <= 2048
    return (reported and (status == 200 or 400 <= status < 500)) or (spoken and status in (400, 409, 422))


@pytest.mark.parametrize(
    ("number", "read"),
    [("1" * 18, int("1" * 18)), (str(2**63), float(2**63)), ("9" * 300, float("9" * 300)), ("-1", -1), ("1.5", 1.5),
     ("9" * 400, None), ("9" * 5000, None), ("1e999", None), ("NaN", None)],
)  # fmt: skip
def test_a_lone_surrogate_changes_no_number(number: str, read: float | None) -> None:
    """The parser that takes a broken text reads numbers no larger than those of the strict one: all can be written."""
    found = read_json(f'{{"text": "\\ud800", "number": {number}}}'.encode())
    assert found is NONSENSE if read is None else found["number"] == read


@given(STATUSES, BODIES, st.booleans())
def test_nothing_but_the_listed_forms_is_a_refusal_or_an_answer(status: int, body: bytes, reading: bool) -> None:
    """Whatever comes: a refusal said no in a listed form, an answer is HTTP 200; and nothing raises."""
    reply = classify(status, body, reading=reading)
    assert not isinstance(reply, NotSent)
    if isinstance(reply, Refusal):
        assert says_no(status, body)
        assert reply.text
    if isinstance(reply, Answer):
        assert status == 200
        assert reading or isinstance(reply.body, dict)
    if isinstance(reply, Ticket):
        assert timedelta(0) <= reply.wait <= timedelta(days=1)
    if isinstance(reply, Misdirected):
        assert status == 200 or 300 <= status < 400 or status in (404, 405, 421)


@given(STATUSES, JSON)
def test_all_that_is_said_can_be_stored(status: int, body: Any) -> None:
    """No text of a reply has a NUL or a lone surrogate, wherever it comes from."""
    reply = sent(status, body)
    written = repr(reply)
    assert "\\x00" not in written
    assert "\\ud8" not in written
    written.encode()
