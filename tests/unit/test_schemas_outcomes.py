"""Outcome bodies and their ids."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone

import orjson

from schemas.outcomes import OUTCOME_EXAMPLES, ErrorCode, Outcome, Status, outcome_id


def test_every_field_is_written_in_the_contracts_order() -> None:
    """An outcome's JSON has all twenty fields in the contract's order, those that are not known as null."""
    for example in OUTCOME_EXAMPLES:
        written = Outcome.model_validate(example).to_json()
        assert orjson.loads(written) == example
        assert list(orjson.loads(written)) == list(example)


def test_fast_json_is_pydantics_json() -> None:
    """The hand-written JSON says what the model says."""
    outcome = Outcome.model_validate(OUTCOME_EXAMPLES[0])
    assert orjson.loads(outcome.to_json()) == outcome.model_dump(mode="json", by_alias=True)


def test_times_are_utc_with_milliseconds() -> None:
    """An outcome tells when it occurred in UTC with three digits of milliseconds and Z, whatever zone it came in."""
    at = datetime(2026, 11, 20, 17, 0, 0, 123999, tzinfo=timezone(timedelta(hours=-6)))
    outcome = Outcome(outcome_id="o", event_id="e", topic="trader.left", status=Status.PENDING, occurred_at=at)
    assert orjson.loads(outcome.to_json())["occurredAt"] == "2026-11-20T23:00:00.123Z"


def test_the_same_result_has_the_same_id() -> None:
    """An outcome's id follows from its six parts alone and never changes between releases."""
    again = outcome_id("trader.purchased", "e-1", Status.SUCCEEDED, None, None, 0)
    assert again == outcome_id("trader.purchased", "e-1", "succeeded", None, None, 0)
    assert again == "b1da33175743e194173468791212be2a"


def test_each_part_changes_the_id() -> None:
    """Topic, event id, status, error code, request status and round each make another outcome."""
    parts = itertools.product(
        ("trader.left", "trader.passed"),
        ("e", "e0", '","'),
        Status,
        (None, *ErrorCode),
        (None, "Approved"),
        (0, 1),
    )
    ids = [outcome_id(*six) for six in parts]
    assert len(set(ids)) == len(ids)
    assert {len(one) for one in ids} == {32}
