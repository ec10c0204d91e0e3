"""Events that a replica keeps in hand between the steps of their flows."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

import pytest

from schemas.events import AccountAssigned
from worker.engine.flows.assigned import AssignedFacts
from worker.engine.rows import FlowRow
from worker.ledger import kept_events
from worker.ledger.kept_events import KeptEvents


def flow(state: str = "open", round_: int = 0) -> FlowRow:
    event = AccountAssigned.model_validate({"accountId": 1, "userId": 2})
    at = datetime(2026, 11, 20, tzinfo=UTC)
    row = FlowRow(
        uuid.uuid4(), "account.assigned", event, "e", None, 0, 0, None, None, 2, None, 1, at, at, AssignedFacts()
    )
    row.state, row.round = state, round_
    return row


def test_an_event_is_in_hand_until_it_is_taken() -> None:
    """The next call of its flow takes it, and personal data is held no longer than that."""
    hand, one = KeptEvents(), flow()
    hand.keep([one])
    assert hand.take([one.id, uuid.uuid4()]) == {one.id: (0, one.event, None)}
    assert hand.take([one.id]) == {}


def test_the_event_of_a_flow_that_has_ended_is_not_kept() -> None:
    """What ends drops its personal data everywhere."""
    hand = KeptEvents()
    ended = [flow("succeeded"), flow("failed"), flow("in_doubt")]
    hand.keep(ended)
    assert hand.take([each.id for each in ended]) == {}


def test_a_round_has_its_own_event() -> None:
    """An operator may have sent the flow into another round, with another event: the answer says whose this is."""
    hand, again = KeptEvents(), flow(round_=3)
    hand.keep([again])
    assert hand.take([again.id]) == {again.id: (3, again.event, None)}


def test_what_is_in_hand_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog does not push out what is called for next, and what nobody has called for gives way after a while."""
    now = [100.0]
    monkeypatch.setattr(kept_events, "MOST_KEPT", 3)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    hand, flows = KeptEvents(), [flow() for _ in range(6)]
    ids = [each.id for each in flows]
    hand.keep(flows[:3])
    hand.keep(flows[3:5])
    now[0] += kept_events.KEPT_FOR + 1
    hand.keep(flows[5:])
    assert list(hand.take(ids)) == [ids[1], ids[2], ids[5]]


def test_a_large_event_is_not_in_hand() -> None:
    """Events with documents are read again when they are called for: some hundred would fill the memory."""
    hand, one = KeptEvents(), flow()
    one.size = kept_events.LARGEST + 1
    hand.keep([one])
    assert hand.take([one.id]) == {}
