"""Dead letters are shown without anything personal, whatever is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.events import EVENTS
from tests.support.events import personal, purchase
from worker.operate.record_masking import masked_headers, masked_key, masked_value, shown_fields

TOPIC = "trader.purchased"

SECRET = "Jane Q. Secretly"


def shown(value: object, topic: str = TOPIC) -> str:
    """The value as the page has it."""
    return masked_value(topic, json.dumps(value).encode())


def test_ids_and_limits_are_shown_and_persons_are_not() -> None:
    """What an operator needs to correct the event stays; no value of a personal field does."""
    event = purchase(77, contact=True)
    text = shown(event)
    assert all(value in text for value in ("e-77", "100077", "cust-77", "50000", "dailyLossAutoLiq", "firstName"))
    assert not [value for value in personal(event) if value in text and value != "cust-77"]


@pytest.mark.parametrize(
    "event",
    [
        {"user": SECRET},
        {"user": [SECRET, {"name": SECRET}]},
        {"account": SECRET},
        {"contactInfo": {"country": {"x": SECRET}, "emial": SECRET}},
        {"fristName": SECRET, "reason": SECRET},
        {SECRET: 1},
        {"data": SECRET, "specversion": "1.0"},
        {"specversion": "1.0", "data": {"user": {"email": SECRET}}},
        [SECRET],
        SECRET,
    ],
)
def test_a_personal_value_in_the_wrong_place_is_masked_too(event: Any) -> None:
    """A misspelt field, text for an object, a list, an envelope: what is not known to be harmless is ***."""
    assert SECRET not in shown(event)
    assert SECRET not in masked_value(TOPIC, json.dumps(event).encode()[:-1])


NAMES = st.text().filter(lambda name: name not in shown_fields(TOPIC))


@given(st.recursive(st.just(SECRET), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=20))
@example({"traceparent": SECRET})
@example([{"id": SECRET}])
def test_no_shape_lets_a_value_through(value: Any) -> None:
    """However deep it is, and whatever the fields around it are called, if they are not ids of the event."""
    assert SECRET not in shown({"user": value, "unheard": value})


@pytest.mark.parametrize("topic", list(EVENTS))
def test_no_personal_field_of_any_event_is_shown(topic: str) -> None:
    """By name: what is personal in one place is personal in all."""
    names = shown_fields(topic)
    assert "eventId" in names
    assert not names & {"name", "email", "firstName", "lastName", "password", "phone", "city", "birthDate", "reason"}


def test_a_key_is_shown_only_where_it_is_an_id_of_the_event() -> None:
    """The shop's key is free, and might be an e-mail address."""
    body = json.dumps(purchase(3)).encode()
    assert masked_key(TOPIC, b"cust-3", body) == "cust-3"
    assert masked_key(TOPIC, b"mail3x@example.com", body) == "***"
    assert masked_key(TOPIC, b"\xff", body) == "***"
    assert masked_key(TOPIC, b"cust-3", b"{") == "***"
    assert masked_key(TOPIC, None, body) == "(none)"


def test_headers_of_others_are_masked() -> None:
    """CloudEvents', trace and dlq-* headers are shown, of others only the name; bytes that are no text do no harm."""
    headers: list[tuple[str | bytes, bytes | None]] = [
        ("dlq-reason", b"not_json"), ("ce_id", b"e-1"), ("x-name", SECRET.encode()), (b"\xff", b"\xff"), ("a", None),
    ]  # fmt: skip
    assert masked_headers(headers) == [
        ("dlq-reason", "not_json"), ("ce_id", "e-1"), ("x-name", "***"), ("\ufffd", "***"), ("a", "(none)"),
    ]  # fmt: skip
    assert masked_headers([("x\udcff", b"")])[0][1] == "***"


def test_what_is_shown_whole_is_cut_nowhere() -> None:
    """A page cuts what is long, but never the worker's own headers, which say what is wrong; what is shown whole has
    all of it, masked as ever.
    """
    reason = b"product names no product that exists; there are: " + b"P" * 5000
    headers: list[tuple[str | bytes, bytes | None]] = [
        ("dlq-error", reason), ("ce_source", b"s" * 5000), ("x" * 500, SECRET.encode())
    ]  # fmt: skip
    value = json.dumps({"orderId": "1" * 500, "eventIds": SECRET, "more": [SECRET] * 50_000}).encode()
    assert masked_headers(headers) == [
        ("dlq-error", reason.decode()), ("ce_source", "s" * 1000), ("x" * 128, "***")
    ]  # fmt: skip
    assert masked_headers(headers, whole=True) == [
        ("dlq-error", reason.decode()), ("ce_source", "s" * 5000), ("x" * 500, "***")
    ]  # fmt: skip
    assert "too many" in masked_value(TOPIC, value)
    whole = masked_value(TOPIC, value, whole=True)
    assert json.loads(whole)["orderId"] == "1" * 500
    assert SECRET not in whole


def test_what_is_no_json_is_not_shown_at_all() -> None:
    """Its length is said, and that is all; the same for nothing, and for too much of it."""
    assert SECRET not in masked_value(TOPIC, SECRET.encode())
    assert masked_value(TOPIC, None) == "(no value)"
    assert "too many" in masked_value(TOPIC, b" " * 300_000)
