"""The bridge's pure parts: what a signal becomes, what waits, where to catch up, when to connect again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import MdSigned
from worker.bridge.catch_up import holder_of
from worker.bridge.reconnect_delay import Reconnect
from worker.bridge.signal_intake import SignalIntake
from worker.bridge.signal_read import found_in, says_nothing
from worker.bridge.signal_record import LARGEST, Outgoing, outgoing
from worker.bridge.topic_inbox import ROOM_BYTES, Inbox, Offer
from worker.bridge.unread_alerts import Missed
from worker.partner.socket_actions import Alert, EndReason
from worker.replies import Answer, Domain, Misdirected, Refusal, Unclear

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
    return Outgoing(signal_id, "md.signed", b"1", b"{}")


def test_a_signature_becomes_an_event_that_intake_accepts() -> None:
    """Key, event id, user, signal and time are those of the signal, and nothing of its text goes along."""
    out = outgoing(SIGNED, 70)
    assert out is not None
    assert (out.topic, out.key) == ("md.signed", b"29721")
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
    """An agreement without `relatedToUserId` cannot be read: what names its user has to be asked for."""
    assert outgoing({name: value for name, value in SIGNED.items() if name != "relatedToUserId"}, 70) is None


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
    if out is not None and out.topic == "md.signed":
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


class Taken:
    """An intake of signals with what it has counted and how often it has asked for a fetch."""

    def __init__(self, room: int = 9) -> None:
        self.counted: list[str] = []
        self.missed = 0
        self.intake = SignalIntake(Inbox(room), Inbox(room), 70, self.counted.append, self._missed)

    def _missed(self) -> None:
        self.missed += 1


async def test_updates_are_counted_and_go_nowhere() -> None:
    """A person who completes an alert makes an `Updated`, which is not a second signature."""
    taken = Taken()
    assert taken.intake.received(Alert(SIGNED))
    taken.intake.updated()
    assert taken.intake.received(Alert(SIGNED))
    assert (taken.counted, taken.missed) == (["signed", "update", "repeat"], 0)
    assert len(taken.intake.signed) == 1


UNREADABLE = [
    {},
    {**SIGNED, "id": "x"},
    {**SIGNED, "id": None},
    {**SIGNED, "id": True},
    {**SIGNED, "id": -1},
    {**SIGNED, "id": 1.5},
    {**SIGNED, "adminAlertId": None},
    {**SIGNED, "adminAlertId": "seventy"},
    {**SIGNED, "relatedToUserId": None},
    {**SIGNED, "relatedToUserId": {"id": 5}},
    {"signal": SIGNED},
]


@pytest.mark.parametrize("signal", UNREADABLE)
async def test_an_alert_that_cannot_be_read_asks_for_a_fetch_and_keeps_the_connection(signal: dict[str, Any]) -> None:
    """Nothing is published for it, so that the fetch can still bring it; the socket goes on."""
    taken = Taken()
    assert taken.intake.received(Alert(signal))
    assert (taken.counted, taken.missed) == (["unreadable"], 1)
    assert (len(taken.intake.signed), len(taken.intake.alerts)) == (0, 0)


@pytest.mark.parametrize("signal", [*UNREADABLE[:6], UNREADABLE[8], "text", None, 7, [SIGNED]])
async def test_what_a_fetch_brings_unreadable_asks_for_no_other_fetch(signal: Any) -> None:
    """It is counted, and a further fetch would bring the same."""
    taken = Taken()
    assert taken.intake.fetched(signal) is None
    assert (taken.counted, taken.missed) == (["unreadable"], 0)


def test_a_signal_that_was_asked_for_need_not_repeat_what_was_asked() -> None:
    """Of the response to a read of one alert's signals no row needs the id of that alert, and another id counts."""
    intake = Taken().intake
    plain = {name: value for name, value in SIGNED.items() if name != "adminAlertId"}
    records = [intake.fetched(plain), intake.fetched({**SIGNED, "adminAlertId": 12})]
    assert [record and record.topic for record in records] == ["md.signed", "admin.alert"]


async def test_alerts_without_room_keep_no_agreement_out() -> None:
    """An alert that finds no room is dropped and counted; agreements have a room of their own."""
    taken = Taken(room=1)
    alerts = [{**SIGNED, "adminAlertId": 12, "id": number} for number in (1, 2)]
    assert all(taken.intake.received(Alert(signal)) for signal in (*alerts, SIGNED))
    assert taken.counted == ["alert", "dropped", "signed"]
    assert not taken.intake.received(Alert({**SIGNED, "id": 3}))
    assert taken.counted == ["alert", "dropped", "signed"]


async def test_what_a_topic_does_not_accept_lets_the_others_go_first() -> None:
    """It stays in the inbox, behind the others, with the value of its next try."""
    inbox = Inbox()
    for number in (1, 2):
        inbox.offer(record(number))
    inbox.later(replace(record(1), value=b"[]"))
    assert [(waiting.signal_id, waiting.value) for waiting in inbox.first(9)] == [(2, b"{}"), (1, b"[]")]


async def test_large_alerts_fill_the_room_by_their_bytes() -> None:
    """Memory is bounded whatever the size of an alert, and is free again when they are on Kafka."""
    inbox = Inbox()
    large = [replace(record(number), value=b"x" * (ROOM_BYTES // 2)) for number in (1, 2, 3)]
    assert [inbox.offer(each) for each in large] == [Offer.TAKEN, Offer.TAKEN, Offer.FULL]
    inbox.done([1])
    await inbox.wait_for_room()
    assert inbox.offer(large[2]) is Offer.TAKEN


def test_an_alert_deeper_than_can_be_written_goes_out_with_its_ids() -> None:
    """Whatever an alert holds, its record can be made."""
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    out = outgoing({**SIGNED, "adminAlertId": 12, "text": deep}, 70)
    assert out is not None
    assert json.loads(out.value)["signal"] is None


def test_a_read_covers_what_came_before_it_began() -> None:
    """What comes while a read is under way needs the next one."""
    missed = Missed()
    missed.came()
    _, begun = missed.begin(LIVE)
    missed.came()
    missed.covered(begun)
    assert missed.waiting == 1
    missed.covered(missed.begin(LIVE)[1])
    assert missed.waiting == 0


def test_a_domain_that_does_not_know_all_covers_nothing_before_the_other_was_asked() -> None:
    """While it is not known which domain holds the signals, one read asks LIVE and the next one DEMO."""
    missed = Missed()
    missed.came()
    asked = []
    for waiting in (1, 0):
        domain, begun = missed.begin()
        missed.answered(domain, begun)
        asked.append(domain)
        assert missed.waiting == waiting
    assert asked == [LIVE, DEMO]


def test_a_fetch_shows_where_the_signals_are() -> None:
    """The domain that knew all that the other knew is enough; while neither or each knew some, both are asked."""
    assert holder_of({1, 2}, set()) is LIVE
    assert holder_of({1, 2}, {1, 2}) is LIVE
    assert holder_of({1}, {1, 2}) is DEMO
    assert holder_of(set(), set()) is None
    assert holder_of({1}, {2}) is None


def test_a_fetch_that_says_nothing_is_not_a_fetch_that_found_nothing() -> None:
    """Only a list shows what the partner knows; 404, null, an empty body and `{}` may mean none, and prove nothing."""
    assert found_in(Answer([])) == []
    assert found_in(Answer([SIGNED, "rubbish", {"adminAlertSignal": SIGNED}])) == [SIGNED, "rubbish", SIGNED]
    nothing = (Answer(None), Answer({}), Misdirected("", 404))
    failed = (Answer({"a": 1}), Refusal("no"), Unclear("cut"), Misdirected("", 421))
    assert [found_in(reply) for reply in (*nothing, *failed)] == [None] * 7
    assert [says_nothing(reply) for reply in (*nothing, *failed, Answer([]))] == [True] * 3 + [False] * 5


def test_the_back_off_doubles_from_a_second_to_a_minute() -> None:
    """Each step is the doubled one before it, less up to half of it; the partner's 200 resets it."""
    back_off = Reconnect()
    assert [back_off.after(EndReason.CUT, lambda: 1.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    back_off.authorized()
    assert back_off.after(EndReason.CUT, lambda: 0.0) == 0.5


def test_what_the_partner_asks_for_lasts_longer() -> None:
    """After a quota it is minutes, and longer each time, though the token was taken in between."""
    back_off = Reconnect()
    waits = []
    for _ in range(3):
        back_off.authorized()
        waits.append(back_off.after(EndReason.QUOTA, lambda: 1.0))
    assert waits == [120, 240, 480]
    assert back_off.after(EndReason.MAINTENANCE, lambda: 1.0) == 15


def test_a_token_that_is_not_taken_is_renewed_once_at_once() -> None:
    """The first 401 costs no wait, the second and all after it do, and are an alarm."""
    back_off = Reconnect()
    waits = [back_off.after(EndReason.UNAUTHORIZED, lambda: 1.0) for _ in range(4)]
    assert waits[0] == 0
    assert min(waits[1:]) >= 15
    assert back_off.refused == 4
