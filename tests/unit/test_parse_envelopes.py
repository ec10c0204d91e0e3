"""CloudEvents in structured mode: where the event is in its envelope, and what is known of one that lacks it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.events import EVENTS
from tests.unit.test_parse import bad, good

RECORDED = [
    json.loads(line) for line in (Path(__file__).parents[1] / "recorded/kafka_records.jsonl").read_text().splitlines()
]

BODY = {name: value for name, value in EVENTS["trader.purchased"].examples[0].items() if name != "eventId"}


def envelope(**more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "e-64", "source": "/shop", "type": "trader.purchased", **more}


def base64_of(value: bytes) -> str:
    return base64.b64encode(value).decode()


def test_a_recorded_envelope_with_base64_data_is_an_event() -> None:
    """A shop's envelope whose JSON came as data_base64 is accepted under the envelope's id."""
    accepted = good(RECORDED[0]["body"])
    assert RECORDED[0]["right"] == "accepted; the event id is e-64"
    assert (accepted.event_id, accepted.event.ids.order_id, accepted.event.ids.user_id) == ("e-64", "100900", 29721)


def test_a_recorded_envelope_without_data_is_bad_input_with_an_id() -> None:
    """An envelope without data is a dead letter; its failed outcome can be published, because its id is known."""
    rejected = bad(RECORDED[1]["body"])
    assert RECORDED[1]["right"].startswith("dead letter and failed outcome of e-65")
    assert (rejected.code, rejected.event_id) == ("missing_field", "e-65")
    assert "data" in rejected.sentence


@pytest.mark.parametrize("text", [base64_of(orjson.dumps(BODY)), base64.encodebytes(orjson.dumps(BODY)).decode()])
def test_base64_data_is_read_as_data_is(text: str) -> None:
    """The event of data_base64 is the one of data, with its lines broken or not, and whether data is null or absent."""
    wanted = good(envelope(data=BODY))
    assert good(envelope(data_base64=text)) == good(envelope(data=None, data_base64=text)) == wanted
    assert good(envelope(data=BODY, data_base64=7)) == wanted


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (envelope(data_base64="e30"), "rule_broken"),
        (envelope(data_base64="ä"), "rule_broken"),
        (envelope(data_base64=None), "wrong_type"),
        (envelope(data_base64=7), "wrong_type"),
        (envelope(data_base64=""), "not_json"),
        (envelope(data_base64=base64_of(b"\xff")), "not_utf8"),
        (envelope(data_base64=base64_of(b"[]")), "not_an_object"),
        (envelope(data_base64=base64_of(b"{}")), "missing_field"),
        (envelope(data=None), "not_an_object"),
        (envelope(), "missing_field"),
    ],
)
def test_an_envelope_whose_data_is_wrong_has_its_id(value: dict[str, Any], code: str) -> None:
    """Whatever is wrong with the data of an envelope, its outcome can name the event."""
    rejected = bad(value)
    assert (rejected.code, rejected.event_id) == (code, "e-64")


def test_an_event_with_a_field_specversion_is_no_envelope() -> None:
    """An event with an id of its own is read as it stands, whatever unknown fields it carries: the id may be in the
    body or in the header.
    """
    assert good({**BODY, "eventId": "e-1", "specversion": "1.0"}).event_id == "e-1"
    assert good({**BODY, "specversion": "1.0"}, ("ce_id", b"e-7")).event_id == "e-7"
    assert good({**BODY, "id": 7, "specversion": "1.0"}, ("ce_id", b"e-7")).event_id == "e-7"


def test_a_header_goes_before_an_envelope() -> None:
    """The id in the header names the event of an envelope, also where its data is bad."""
    assert good(envelope(data=BODY), ("ce_id", b"e-7")).event_id == "e-7"
    assert bad(envelope(data=7), ("ce_id", b"e-7")).event_id == "e-7"
    assert bad({"specversion": "1.0"}, ("ce_id", b"e-7")).event_id == "e-7"
    assert bad({"specversion": "1.0"}).event_id is None
