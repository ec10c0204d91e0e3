"""The verdict of `demo`: what it counts as right, and how it names what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.events import EVENTS
from worker.cli.demo.others import others
from worker.cli.demo.purchases import CATALOGUE, plain_purchases, purchases
from worker.cli.demo.samples import Expect, Of, Sample, filled
from worker.cli.demo.verdict import SeenRecords, effects, wrong_with
from worker.engine.flows import FLOWS
from worker.intake.parse import Parsed, RawRecord, parse
from worker.products import load_products

ID = "demo-1"


def sample(**expect: Any) -> Sample:
    return Sample("a sample", "trader.purchased", {"eventId": ID}, Expect(**expect))


def seen(*outcomes: dict[str, Any], **dead: str) -> SeenRecords:
    return SeenRecords({ID: list(outcomes), "other": [{"accountId": 1}]} if outcomes else {}, dict(dead))


GOOD: dict[str, Any] = {"status": "succeeded", "errorCode": None, "warnings": []}


@pytest.mark.parametrize(
    ("expected", "came", "wrong"),
    [
        ({}, seen(GOOD), None),
        ({}, seen(), "no outcome came"),
        ({}, seen(GOOD, GOOD), "2 final outcomes came, not one"),
        ({}, seen({**GOOD, "status": "failed", "errorCode": "rejected"}), "failed (rejected), not succeeded"),
        ({"status": "failed", "error_code": "conflict"}, seen(GOOD), "succeeded, not failed (conflict)"),
        ({"warnings": 1}, seen(GOOD), "0 warnings, not 1"),
        ({"dead_letter": "no_id"}, seen(GOOD), "dead letter None, not no_id"),
        ({"like": "other"}, seen({**GOOD, "accountId": 2}), "other ids than other: accountId"),
        ({"like": "other"}, seen({**GOOD, "accountId": 1}), None),
        ({"values": {"accountId": Of("other", "accountId")}}, seen({**GOOD, "accountId": 1}), None),
        ({"values": {"accountId": Of("other", "accountId")}}, seen({**GOOD, "accountId": 2}), "accountId 2, not 1"),
        ({"values": {"userId": Of("other", "userId")}}, seen({**GOOD, "userId": None}), "userId None, not None"),
        (
            {"values": {"tradingPermissionIds": [Of("no", "x")]}},
            seen({**GOOD, "tradingPermissionIds": [None]}),
            "tradingPermissionIds [None], not [None]",
        ),
        ({"pending": ("Preapproved",)}, seen(GOOD), "pending outcomes none, not Preapproved"),
    ],
)
def test_what_is_wrong_is_named(expected: dict[str, Any], came: SeenRecords, wrong: str | None) -> None:
    """An outcome that is missing, doubled or other than expected is named with what came and what should have."""
    assert wrong_with(sample(**expected), came) == wrong


def test_effects_are_compared_with_what_the_samples_make() -> None:
    """An effect too many, one too few and one that nobody asked for are wrong; contact data may be written again."""
    wanted = [
        Sample("", "trader.purchased", {"eventId": "1"}, effects={"accounts_by_name": 2, "contact_updates": 1}),
        Sample("", "trader.purchased", {"eventId": "2"}, effects={"accounts_by_name": 1, "users_by_name": 1}),
    ]
    found = {"accounts_by_name": 3, "users_by_name": 2, "contact_updates": 2, "permissions": 1, "documents": 0}
    judged = {effect.name: (effect.wanted, effect.found, effect.right) for effect in effects(wanted, found)}
    assert judged == {
        "accounts_by_name": (3, 3, True),
        "users_by_name": (1, 2, False),
        "contact_updates": (1, 2, True),
        "permissions": (0, 1, False),
    }


def everything() -> list[Sample]:
    return [*purchases((1, 2, 3)), *others((1, 2, 3), (4, 5), "2026-11-20"), *plain_purchases(3)]


def test_a_pending_outcome_that_nobody_expected_is_wrong() -> None:
    """Outcomes before the final one are part of what should come: too many, too few or others are named."""
    came = seen(GOOD)
    came.pending[ID] = [{"requestStatus": "Preapproved"}, {"requestStatus": None}]
    assert wrong_with(sample(), came) == "pending outcomes Preapproved, None, not none"


def test_samples_are_good_events_but_for_one(tmp_path: Any) -> None:
    """Every sample but the one that is to be a dead letter is an event that intake takes, and no id comes twice."""
    catalogue = tmp_path / "products.toml"
    catalogue.write_text(CATALOGUE)
    products = load_products(catalogue)
    chosen = everything()
    assert len({one.event_id for one in chosen}) == len(chosen)
    ids: dict[str, Any] = {one.event_id: {"userId": 7, "accountId": 8, "tradingPermissionId": 9} for one in chosen}
    for one in chosen:
        event = json.dumps(filled(one.event, ids)).encode()
        parsed = parse(RawRecord(one.topic, 0, 0, 0, b"key", event), products)
        assert isinstance(parsed, Parsed) == (one.expect.dead_letter is None), one.title


def test_every_event_has_a_flow_and_a_sample() -> None:
    """No topic is without a flow, and the demo shows each of them."""
    assert set(EVENTS) == set(FLOWS) == {one.topic for one in everything()}


def test_what_a_sample_waits_for_comes_before_it() -> None:
    """Each sample waits for others of the list, never for a later one's outcome: all of them can be sent."""
    ids = [one.event_id for one in everything()]
    for place, one in enumerate(everything()):
        before = [*one.needs, *([one.behind] if one.behind else []), *([one.expect.like] if one.expect.like else [])]
        assert set(before) <= set(ids[:place]), one.title
