"""What the bridge publishes is what its schemas say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from schemas.export import bridged_schema, event_schema
from worker.bridge.signal_record import outgoing, without_content

SIGNAL = {"id": 2179592, "adminAlertId": 12, "relatedToUserId": 29721, "relatedToAccountId": 98765, "text": "Jane"}


@pytest.mark.parametrize(
    "signal",
    [SIGNAL, {"id": "5", "adminAlertId": "12"}, {**SIGNAL, "relatedToUserId": None}, {**SIGNAL, "text": "x" * 900_000}],
)
def test_an_alert_is_what_its_schema_says(signal: dict[str, Any]) -> None:
    """An alert is valid by its schema: whole, without its content, and with few of Tradovate's fields."""
    record = outgoing(signal, mda_alert_id=70)
    assert record is not None
    validator = Draft202012Validator(bridged_schema(record.topic))
    for each in (record, without_content(record)):
        assert validator.is_valid(orjson.loads(each.value))


def test_an_agreement_is_what_its_schema_says() -> None:
    """An agreement of the bridge is valid by the schema of md.signed, with its time in the form of the worker's own."""
    record = outgoing({**SIGNAL, "adminAlertId": 70, "timestamp": "2026-11-20T15:18:56.885Z"}, mda_alert_id=70)
    assert record is not None
    assert Draft202012Validator(event_schema(record.topic)).is_valid(orjson.loads(record.value))
