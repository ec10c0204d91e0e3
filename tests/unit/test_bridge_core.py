"""The bridge's pure parts: what a signal becomes, what waits, where to catch up, when to connect again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import MdSigned
from worker.bridge.catch_up import found_in, holder_of
from worker.bridge.inbox import Inbox, Offer
from worker.bridge.reconnect import Reconnect
from worker.bridge.signals import LARGEST, Outgoing, outgoing
from worker.bridge.taker import SignalTaker
from worker.replies import Answer, Domain, NotExecuted, Refusal, Unclear
from worker.tradovate.acts import Alert, EndReason

LIVE, DEMO = Domain.LIVE, Domain.DEMO
SIGNED: dict[str, Any] = {
    "id": 2179591,
    "timestamp": "2025-10-03T15:18:56.885Z",
    "adminAlertId": 70,
    "relatedToUserId": 29721,
    "text": "User T signed non-professional market data form, <br />User name: Bill Rando <br />",
    "emailSent": False,
    "archived": False,
    "subjectId": 12081,
}


def record(signal_id: int) -> Outgoing:
    """A signal's record."""
    return Outgoing(signal_id, "signed", "md.signed", b"1", b"{}")


def test_a_signature_becomes_an_event_that_intake_accepts() -> None:
    """Key, event id, user, signal and time are those of the signal, and nothing of its text goes along."""
    out = outgoing(SIGNED, 70)
    assert out is not None
    assert (out.kind, out.topic, out.key) == ("signed", "md.signed", b"29721")
    body = json.loads(out.value)
    assert body == {
        "eventId": "mda-2179591",
        "userId": 29721,
        "signalId": 2179591,
        "signedAt": "2025-10-03T15:18:56.885Z",
    }
    MdSigned.model_validate_json(out.value)


@pytest.mark.parametrize("timestamp", [None, "", "yesterday", 5, {}])
def test_a_time_that_cannot_be_read_does_not_spoil_the_event(timestamp: Any) -> None:
    """The signature goes out without `signedAt`, and is still a good event."""
    out = outgoing({**SIGNED, "timestamp": timestamp}, 70)
    assert out is not None
    assert "signedAt" not in json.loads(out.value)
    MdSigned.model_validate_json(out.value)


def test_the_trader_is_never_read_from_the_subject_or_the_text() -> None:
    """Without `relatedToUserId` nobody has signed: the signal goes to the people who read alerts."""
    out = outgoing({name: value for name, value in SIGNED.items() if name != "relatedToUserId"}, 70)
    assert out is not None
    assert (out.kind, out.topic, out.key) == ("alert", "admin.alert", None)


def test_another_alert_goes_out_as_it_came_with_its_ids() -> None:
    """The whole signal is in the record, its ids beside it, keyed by the user."""
    out = outgoing({**SIGNED, "adminAlertId": 12, "relatedToAccountId": 5}, 70)
    assert out is not None
    assert (out.topic, out.key) == ("admin.alert", b"29721")
    body = json.loads(out.value)
    assert body["signal"] == {**SIGNED, "adminAlertId": 12, "relatedToAccountId": 5}
    ids = {name: body[name] for name in ("eventId", "signalId", "adminAlertId", "userId", "accountId")}
    assert ids == {
        "eventId": "alert-2179591", "signalId": 2179591, "adminAlertId": 12, "userId": 29721, "accountId": 5,
    }  # fmt: skip


def test_an_alert_too_large_for_a_topic_goes_out_with_its_ids_alone() -> None:
    """A record that the broker refuses would hold up all that wait behind it."""
    out = outgoing({**SIGNED, "adminAlertId": 12, "text": "x" * LARGEST}, 70)
    assert out is not None
    assert len(out.value) < 1_000
    assert json.loads(out.value)["signalId"] == 2179591


VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()  # as far as a parsed JSON number goes


@given(st.dictionaries(st.sampled_from([*SIGNED, "relatedToAccountId"]), VALUES))
def test_any_signal_is_an_event_or_an_alert_or_nothing(signal: dict[str, Any]) -> None:
    """No signal raises; one is an event only if intake accepts it."""
    out = outgoing(signal, 70)
    if out is not None and out.kind == "signed":
        assert json.loads(out.value)["eventId"] == f"mda-{out.signal_id}"
        MdSigned.model_validate_json(out.value)


async def test_each_signal_is_taken_once_while_it_waits_and_after() -> None:
    """A repeat is one whether the first still waits or is on Kafka."""
    inbox = Inbox()
    assert [inbox.offer(record(1)), inbox.offer(record(1))] == [Offer.TAKEN, Offer.REPEAT]
    inbox.done([1])
    assert inbox.offer(record(1)) is Offer.REPEAT
    assert len(inbox) == 0


async def test_what_is_refused_for_lack_of_room_may_come_again() -> None:
    """A full inbox forgets what it did not take, and has room again when half of it is on Kafka."""
    inbox = Inbox(room=2)
    assert [inbox.offer(record(n)) for n in (1, 2, 3)] == [Offer.TAKEN, Offer.TAKEN, Offer.FULL]
    inbox.done([1])
    await inbox.wait_for_room()
    assert inbox.offer(record(3)) is Offer.TAKEN
    assert [waiting.signal_id for waiting in inbox.first(9)] == [2, 3]


@given(st.lists(st.tuples(st.sampled_from(["offer", "done"]), st.integers(1, 12)), max_size=60))
def test_the_inbox_stays_within_its_bounds(moves: list[tuple[str, int]]) -> None:
    """However offers and ends are mixed: never more than its room, nothing twice, memory bounded."""
    inbox = Inbox(room=3, remembered=4)
    for move, number in moves:
        if move == "offer":
            inbox.offer(record(number))
        else:
            inbox.done([number])
        ids = [waiting.signal_id for waiting in inbox.first(99)]
        assert len(ids) == len(set(ids)) == len(inbox) <= 3
        assert len(inbox._done) <= 4


async def test_updates_are_counted_and_go_nowhere() -> None:
    """A person who completes an alert makes an `Updated`, which is not a second signature."""
    counted: list[str] = []
    taker = SignalTaker(Inbox(), 70, counted.append)
    events = [Alert("Created", SIGNED), Alert("Updated", SIGNED), Alert("Created", SIGNED), Alert("Created", {})]
    assert all(taker.heard(event) for event in events)
    assert counted == ["signed", "update", "repeat", "unusable"]
    assert len(taker.inbox) == 1


def test_a_fetch_shows_where_the_signals_are() -> None:
    """The domain that knew all that the other knew is enough; while neither or each knew some, both are asked."""
    assert holder_of({1, 2}, set()) is LIVE
    assert holder_of({1, 2}, {1, 2}) is LIVE
    assert holder_of({1}, {1, 2}) is DEMO
    assert holder_of(set(), set()) is None
    assert holder_of({1}, {2}) is None


def test_a_fetch_that_says_nothing_is_not_a_fetch_that_found_nothing() -> None:
    """404, null and an empty body mean that there is none; everything else is tried again."""
    assert [found_in(reply) for reply in (Answer(None), Answer([]), Answer({}), NotExecuted("", 404))] == [
        [],
        [],
        [],
        [],
    ]
    assert found_in(Answer([SIGNED, "rubbish"])) == [SIGNED]
    assert [found_in(reply) for reply in (Answer({"a": 1}), Refusal("no"), Unclear("cut"))] == [None, None, None]


def test_the_back_off_doubles_from_a_second_to_a_minute() -> None:
    """Each step is the doubled one before it, less up to half of it; the partner's 200 begins it anew."""
    back_off = Reconnect()
    assert [back_off.after(EndReason.CUT, lambda: 0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    back_off.authorized()
    assert back_off.after(EndReason.CUT, lambda: 1.0) == 0.5


def test_what_the_partner_asks_for_lasts_longer() -> None:
    """After a quota it is minutes, and longer each time, though the token was taken in between."""
    back_off = Reconnect()
    waits = []
    for _ in range(3):
        back_off.authorized()
        waits.append(back_off.after(EndReason.QUOTA, lambda: 0.0))
    assert waits == [120, 240, 480]
    assert back_off.after(EndReason.MAINTENANCE, lambda: 0.0) == 15


def test_a_token_that_is_not_taken_is_renewed_once_at_once() -> None:
    """The first 401 costs no wait, the second and all after it do, and are an alarm."""
    back_off = Reconnect()
    waits = [back_off.after(EndReason.UNAUTHORIZED, lambda: 0.0) for _ in range(4)]
    assert waits[0] == 0
    assert min(waits[1:]) >= 15
    assert back_off.refused == 4
