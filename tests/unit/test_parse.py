"""What a record becomes: an event or a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.events import EVENTS, TOPICS, Account, Ids, TraderPurchased
from worker.intake.parse import CODES, MAX_VALUE_BYTES, BadRecord, HeaderName, Headers, Parsed, RawRecord, parse

FULL = EVENTS["trader.purchased"].examples[0]
BODY = {name: value for name, value in FULL.items() if name != "eventId"}
PRODUCTS = {"EVAL-50K": Account.model_validate({"templateAccountId": 11, "initialBalance": 50000})}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(value: object, *headers: tuple[HeaderName, bytes | None], topic: str = "trader.purchased") -> RawRecord:
    """A record with this value: bytes as they are, anything else as JSON."""
    raw = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
    return RawRecord(topic, 3, 42, 1_795_000_000_000, b"cust-77", raw, headers)


def good(value: object, *headers: tuple[HeaderName, bytes | None], topic: str = "trader.purchased") -> Parsed:
    """The event of a record that has to be good."""
    parsed = parse(record(value, *headers, topic=topic), PRODUCTS)
    assert isinstance(parsed, Parsed), parsed
    return parsed


def bad(value: object, *headers: tuple[HeaderName, bytes | None], topic: str = "trader.purchased") -> BadRecord:
    """The reason of a record that has to be bad."""
    rejected = parse(record(value, *headers, topic=topic), PRODUCTS)
    assert isinstance(rejected, BadRecord), rejected
    assert rejected.code in CODES
    return rejected


@pytest.mark.parametrize(("topic", "body"), [(t, body) for t, model in EVENTS.items() for body in model.examples])
def test_examples_are_read(topic: str, body: Mapping[str, Any]) -> None:
    """Every example is read as an event of its topic under its own id."""
    parsed = good(body, topic=topic)
    assert (parsed.topic, parsed.event_id, parsed.event.topic) == (topic, body["eventId"], topic)


def test_the_header_goes_before_envelope_and_body() -> None:
    """The event's id is ce_id, else the envelope's id, else the body's eventId."""
    envelope = {"specversion": "1.0", "id": "from-envelope", "data": FULL}
    assert good(envelope, ("ce_id", b"from-header")).event_id == "from-header"
    assert good(FULL, ("ce_id", b"from-header")).event_id == "from-header"
    assert good(envelope).event_id == "from-envelope"
    assert good({"specversion": "1.0", "data": FULL}).event_id == "e-1"
    assert good(FULL).event_id == "e-1"


def test_structured_events_are_unwrapped_whatever_the_content_type_says() -> None:
    """An object with specversion and data is an envelope with or without a content-type header that says so."""
    envelope = {"specversion": "1.0", "id": "x", "source": "/shop", "type": "t", "data": BODY}
    marked = good(envelope, ("content-type", b"application/cloudevents+json; charset=UTF-8"))
    assert marked.event == good(envelope).event == good({**BODY, "eventId": "x"}).event


def test_the_last_of_two_ids_wins() -> None:
    """Of two ce_id headers the last is taken, as Kafka's own lastHeader does."""
    assert good(FULL, ("ce_id", b"first"), ("ce_id", b"second")).event_id == "second"


@pytest.mark.parametrize(
    ("value", "headers", "code"),
    [
        (None, (), "no_value"),
        (b"", (), "not_json"),
        (b"{", (), "not_json"),
        (b"{'a': 1}", (), "not_json"),
        (b'{"eventId": NaN}', (), "not_json"),
        (b'{"eventId": "\\ud800"}', (), "not_json"),
        (b"[" * 100_000, (), "not_json"),
        (b'{"a":' * 100_000, (), "not_json"),
        (b'{"eventId": "\xff"}', (), "not_utf8"),
        ('{"eventId": "e"}'.encode("utf-16"), (), "not_utf8"),
        (b"[]", (), "not_an_object"),
        (b"null", (), "not_an_object"),
        (b'"text"', (), "not_an_object"),
        ({"specversion": "1.0", "id": "x", "data": "e30="}, (), "not_an_object"),
        ({"specversion": "1.0", "id": 7, "data": BODY}, (), "bad_id"),
        (BODY, (), "no_id"),
        ({**BODY, "eventId": None}, (), "no_id"),
        ({**BODY, "eventId": 7}, (), "bad_id"),
        ({**BODY, "eventId": ""}, (), "bad_id"),
        ({**BODY, "eventId": "x" * 129}, (), "bad_id"),
        ({**BODY, "eventId": "a\0b"}, (), "bad_id"),
        (FULL, (("ce_id", b""),), "bad_id"),
        (FULL, (("ce_id", None),), "bad_id"),
        (FULL, (("ce_id", b"x" * 129),), "bad_id"),
        (FULL, (("ce_id", b"\xff"),), "bad_header"),
        ({**FULL, "orderId": 7}, (), "wrong_type"),
        ({**FULL, "orderId": 10**18}, (), "wrong_type"),
        (b'{"eventId": "e", "orderId": 1' + b"0" * 300 + b"}", (), "wrong_type"),
        (b'{"eventId": "e", "orderId": 1' + b"0" * 400 + b"}", (), "not_json"),
        ({**FULL, "account": None}, (), "missing_field"),
        ({**FULL, "account": {**FULL["account"], "x": 1}}, (), "unknown_field"),
    ],
)
def test_bad_records_have_a_stable_code(value: object, headers: Headers, code: str) -> None:
    """Each way in which a record can be bad has its own code for the dlq-reason header."""
    assert bad(value, *headers).code == code


def test_ids_have_up_to_128_characters_not_bytes() -> None:
    """An id is measured in characters, in a header as in a body."""
    assert good({**BODY, "eventId": "é" * 128}).event_id == "é" * 128
    assert good(BODY, ("ce_id", ("é" * 128).encode())).event_id == "é" * 128


def test_a_value_of_one_mebibyte_is_the_most() -> None:
    """1,048,576 bytes are read, one more is too large, and the id in the header is known all the same."""
    text = orjson.dumps(FULL)
    assert good(text + b" " * (MAX_VALUE_BYTES - len(text))).event_id == "e-1"
    rejected = bad(text + b" " * (MAX_VALUE_BYTES - len(text) + 1), ("ce_id", b"e-9"))
    assert (rejected.code, rejected.event_id) == ("too_large", "e-9")


def test_a_value_that_is_too_large_is_looked_into_for_its_ids() -> None:
    """Its outcome can be published under the id in its body, with the order's and trader's ids."""
    rejected = bad(orjson.dumps({**FULL, "padding": "x" * MAX_VALUE_BYTES}))
    assert (rejected.code, rejected.event_id, rejected.ids.order_id) == ("too_large", "e-1", FULL["orderId"])
    for unreadable in (b"{" * (MAX_VALUE_BYTES + 1), orjson.dumps({**FULL, "padding": "x" * 17 * MAX_VALUE_BYTES})):
        rejected = bad(unreadable)
        assert (rejected.code, rejected.event_id) == ("too_large", None)


def test_a_byte_order_mark_is_ignored() -> None:
    """A byte order mark in front of the JSON is passed over, as RFC 8259 allows."""
    assert good(b"\xef\xbb\xbf" + orjson.dumps(FULL)).event_id == "e-1"


def test_the_last_of_two_equal_fields_wins() -> None:
    """A field given twice has its last value, as JSON readers have it."""
    assert good(b'{"eventId": "a", "userId": 1, "eventId": "b", "userId": 2}', topic="md.signed").event_id == "b"


def test_what_could_be_read_is_reported_with_the_reason() -> None:
    """A rejected record still tells its event id and those of its ids that have the right type."""
    rejected = bad({**FULL, "traderId": "cust-77", "orderId": 7, "user": {"userId": 29721}, "accountId": True})
    assert rejected.event_id == "e-1"
    assert rejected.ids == Ids(trader_id="cust-77", user_id=29721)
    assert bad({"eventId": "e", "accountId": 5, "userId": "5"}, topic="account.assigned").ids == Ids(account_id=5)


def test_the_sentence_names_the_field() -> None:
    """The reason is one sentence with the field's camelCase path."""
    user = {name: value for name, value in FULL["user"].items() if name != "firstName"}
    assert bad({**FULL, "user": user}).sentence == "user.firstName is missing."


def test_a_rejection_of_an_unknown_product_names_those_that_exist() -> None:
    """A product that is not in the catalogue is bad input, and the sentence names the products that are."""
    by_product = {**BODY, "eventId": "e", "product": "EVAL-99K"}
    by_product.pop("account")
    rejected = bad(by_product)
    assert rejected.code == "unknown_product"
    assert "EVAL-50K" in rejected.sentence
    assert "EVAL-99K" not in rejected.sentence
    many = {f"P{number:03d}": PRODUCTS["EVAL-50K"] for number in range(50)}
    by_many = parse(record(by_product), many)
    assert isinstance(by_many, BadRecord)
    assert by_many.sentence.endswith("P019 and 30 more.")
    none = parse(record(by_product), {})
    assert isinstance(none, BadRecord)
    assert "PRODUCTS_FILE" in none.sentence
    known = good({**by_product, "product": "EVAL-50K"}).event
    assert isinstance(known, TraderPurchased)
    assert (known.product, known.account) == ("EVAL-50K", None)


def test_trace_context_is_taken_if_it_is_valid() -> None:
    """The trace context comes from headers, CloudEvents headers or the envelope; invalid ones are dropped."""
    parsed = good(FULL, ("traceparent", TRACE.encode()), ("tracestate", b"a=b"))
    assert (parsed.traceparent, parsed.tracestate) == (TRACE, "a=b")
    assert good(FULL, ("ce_traceparent", TRACE.encode())).traceparent == TRACE
    assert good({"specversion": "1.0", "id": "x", "traceparent": TRACE, "data": BODY}).traceparent == TRACE
    assert bad({}, ("traceparent", TRACE.encode())).traceparent == TRACE
    for wrong in (b"\xff", b"", b"ff" + TRACE[2:].encode(), TRACE.upper().encode(), TRACE.encode() + b"-x", b"0" * 55):
        assert good(FULL, ("traceparent", wrong), ("tracestate", b"a=b")).traceparent is None


def test_foreign_headers_do_not_matter() -> None:
    """Headers that are not ours may be any bytes, in name and value."""
    assert good(FULL, (b"\xff\xfe", b"\xff"), ("b3", None), ("schema-id", b"\x00\x00\x00\x01")).event_id == "e-1"


def test_a_topic_that_is_not_ours_is_a_reason_too() -> None:
    """A record of a topic without a model is rejected by name."""
    assert bad(FULL, topic="trader.unknown").code == "unknown_topic"


TEXTS = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.sampled_from(list(FULL)), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["ce_id", "traceparent", "tracestate", "content-type"]) | TEXTS | st.binary(max_size=8)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=140)), max_size=4).map(tuple)


def dumps(value: object) -> bytes:
    """JSON as a careless producer writes it: NaN, huge numbers and lone surrogates included."""
    import json  # noqa: PLC0415 - the standard library writes what orjson refuses to

    return json.dumps(value).encode()


@given(st.sampled_from(TOPICS), st.none() | st.binary(max_size=200), st.none() | st.binary(max_size=200), HEADERS)
@example("trader.left", b"\xff", b"\xed\xa0\x80", ((b"\xff", b"\xff"), ("ce_id", b"\xff")))
def test_no_bytes_raise(topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
    """Whatever bytes stand in key, value, header names and values: an event or a reason, and no fault of ours."""
    result = parse(RawRecord(topic, 0, 0, 0, key, value, headers), PRODUCTS)
    assert isinstance(result, Parsed) or (result.code in CODES and result.code != "unreadable")


@given(st.data())
def test_no_json_raises(data: st.DataObject) -> None:
    """Whatever JSON stands where a field of a good event was: an event or a reason, and no fault of ours."""
    topic = data.draw(st.sampled_from(TOPICS))
    body: dict[str, Any] = dict(data.draw(st.sampled_from(EVENTS[topic].examples)))
    place = body
    name = data.draw(st.sampled_from(sorted(body)))
    while isinstance(place[name], dict) and data.draw(st.booleans()):
        place[name] = dict(place[name])
        place = place[name]
        name = data.draw(st.sampled_from(sorted(place)))
    place[name] = data.draw(JSON)
    for value in (body, {"specversion": "1.0", "id": data.draw(JSON), "data": body}):
        result = parse(record(dumps(value), topic=topic), PRODUCTS)
        assert isinstance(result, Parsed) or (result.code in CODES and result.code != "unreadable")


@given(st.data())
def test_no_value_is_ever_repeated(data: st.DataObject) -> None:
    """The sentence of a rejected record holds no text of the record, wherever in it that text stands."""
    secret = "Xq" + data.draw(st.text("0123456789abcdef", min_size=8, max_size=8))
    topic = data.draw(st.sampled_from(TOPICS))
    body: dict[str, Any] = dict(data.draw(st.sampled_from(EVENTS[topic].examples)))
    name = data.draw(st.sampled_from(sorted(body)))
    body[name] = data.draw(st.sampled_from([[secret], {"userId": secret}, {secret + " ": secret}, secret, [1, secret]]))
    body["orderId"] = data.draw(st.sampled_from([7, secret, secret * 20]))
    result = parse(record(body, topic=topic), PRODUCTS)
    assert isinstance(result, Parsed) or secret not in result.sentence
