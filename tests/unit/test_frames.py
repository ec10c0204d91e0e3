"""The socket's protocol, without a socket: what is asked, when, and what comes out of whatever the partner sends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.partner.socket_actions import (
    Action,
    Alert,
    Ask,
    Beat,
    ConnectionEnd,
    EndReason,
    Listening,
    Replied,
    RiskStatuses,
    Rubbish,
    Silenced,
)
from worker.partner.socket_protocol import AUTHORIZE, SYNC, SYNC_BODY, Phase, SocketProtocol, SocketTiming
from worker.replies import Answer, Refusal, Silence, Ticket, Unauthorized


def frame(*messages: Any) -> str:
    """An `a` frame."""
    return "a" + json.dumps(messages)


def props(signal: dict[str, Any], *, wrapped: bool = True, array: bool = True, kind: str = "Created") -> dict[str, Any]:
    """An event of one alert signal, in one of its shapes."""
    entity_type = "OtherEnvAdminAlertSignal" if wrapped else "adminAlertSignal"
    entity = {"adminAlertSignal": signal} if wrapped else signal
    event = {"entityType": entity_type, "eventType": kind, "entity": entity}
    return {"e": "props", "d": [event] if array else event}


def authorizing() -> SocketProtocol:
    """A connection that has sent its token."""
    wire = SocketProtocol(0.0)
    assert wire.hear("o", 0.0) == [Ask(AUTHORIZE)]
    wire.request(AUTHORIZE, "the-token", 0.0)
    return wire


def syncing(*, risk: bool = False) -> SocketProtocol:
    """A connection that has sent its sync request. `risk`: for risk statuses, too."""
    wire = authorizing()
    wire.risk = risk
    assert wire.hear(frame({"s": 200, "i": 0}), 0.0) == [Replied(AUTHORIZE, Answer(None)), Ask(SYNC)]
    wire.request(SYNC, json.dumps(SYNC_BODY), 0.0)
    return wire


def listening() -> SocketProtocol:
    """A connection that hears of everything."""
    wire = syncing()
    assert wire.hear(frame({"i": 1, "s": 200, "d": {"users": []}}), 0.0)[-1] == Listening()
    return wire


def alerts(actions: Sequence[Action]) -> list[Alert]:
    return [action for action in actions if isinstance(action, Alert)]


def test_a_request_is_four_lines_and_its_first_id_is_zero() -> None:
    """Authorize goes out first, with id 0, no query and the bare token for a body."""
    wire = SocketProtocol(0.0)
    wire.hear("o", 0.0)
    assert wire.request(AUTHORIZE, "the-token", 0.0) == "authorize\n0\n\nthe-token"
    assert wire.request(SYNC, "{}", 0.0) == "user/syncrequest\n1\n\n{}"


def test_nothing_is_asked_before_the_open_frame() -> None:
    """What comes before `o` asks for nothing, and a second `o` asks for nothing more."""
    wire = SocketProtocol(0.0)
    assert wire.hear("h", 0.0) == []
    assert wire.hear("o", 0.0) == [Ask(AUTHORIZE)]
    assert wire.hear("o", 0.0) == [Rubbish("a second open frame")]


def test_the_sync_request_names_what_the_vendor_demands() -> None:
    """It asks for split responses and names an entity type: without the one we are cut off, without the other deaf."""
    assert SYNC_BODY["splitResponses"] is True
    assert SYNC_BODY["entityTypes"]


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("array", [True, False])
def test_a_signal_is_heard_in_every_shape(wrapped: bool, array: bool) -> None:
    """`d` may be an array or an object, the signal wrapped or flat."""
    heard = listening().hear(frame(props({"id": 7}, wrapped=wrapped, array=array)), 1.0)
    assert heard == [Alert({"id": 7})]


def test_a_split_answer_comes_in_any_number_of_parts_with_events_in_between() -> None:
    """The first part is enough to listen; the others, in any order and with events among them, are no rubbish."""
    wire = syncing()
    actions = wire.hear(
        frame({"i": 1, "s": 200, "d": {"currencies": []}}, props({"id": 1}), {"i": 1, "s": 200, "d": {"users": []}}),
        0.0,
    ) + wire.hear(frame({"i": 1, "s": 200}), 0.0)
    assert actions == [Replied(SYNC, Answer({})), Listening(), Alert({"id": 1})]


def test_an_id_in_quotes_is_an_id() -> None:
    """The vendor's examples write `i` both ways."""
    assert authorizing().hear(frame({"s": 200, "i": "0"}), 0.0)[-1] == Ask(SYNC)


def test_a_refusal_that_is_nested_too_deeply_is_no_answer() -> None:
    """What is deeper than can be written is no proof of anything, and does not break the connection's other work."""
    wire = authorizing()
    deep = f'a[{{"s": 200, "i": 0, "d": {{"violations": {"[" * 300}{"]" * 300}}}}}]'
    assert [type(action) for action in wire.hear(deep, 0.0)][:1] == [Replied]
    assert wire.phase is not Phase.SYNCING


def test_a_refused_token_ends_the_connection() -> None:
    """401 on authorize says so once, with what came back of the request."""
    actions = authorizing().hear(frame({"s": 401, "i": 0, "d": "Invalid access token"}), 0.0)
    assert actions == [
        Replied(AUTHORIZE, Unauthorized("Invalid access token")),
        ConnectionEnd(EndReason.UNAUTHORIZED, "Invalid access token"),
    ]


def test_a_lock_out_without_a_number_is_the_answer_to_what_was_asked() -> None:
    """The vendor's 429 names no request: it counts for the one that waits."""
    actions = authorizing().hear(frame({"s": 429, "i": "request_id"}), 0.0)
    assert actions == [Replied(AUTHORIZE, Silence(429)), ConnectionEnd(EndReason.LOCKED_OUT, "429")]


@pytest.mark.parametrize("text", [frame({"s": 429, "i": "x"}), '[{"s": 429, "i": "request_id"}]'])
def test_a_lock_out_that_nobody_asked_for_silences_all_the_same(text: str) -> None:
    """429 on a socket that asks nothing ends the connection and is reported, as an array frame and as the vendor's page
    prints it.
    """
    assert listening().hear(text, 0.0) == [Silenced(429), ConnectionEnd(EndReason.LOCKED_OUT, "429")]


def test_a_penalty_ticket_inside_the_answer_is_kept_and_the_connection_goes_on() -> None:
    """The sync request is sent again with its ticket under a new id, and then the socket listens."""
    wire = syncing()
    actions = wire.hear(frame({"i": 1, "s": 200, "d": {"p-ticket": "t", "p-time": 3}}), 0.0)
    assert actions == [Replied(SYNC, Ticket("t", timedelta(seconds=3)))]
    assert wire.request(SYNC, "{}", 3.0).startswith("user/syncrequest\n2\n")
    assert wire.hear(frame({"i": 2, "s": 200, "d": {}}), 3.0)[-1] == Listening()


def test_a_ticket_with_a_captcha_ends_the_connection() -> None:
    """No program can solve it, so the connection does not wait for it."""
    actions = syncing().hear(frame({"i": 1, "s": 200, "d": {"p-ticket": "t", "p-time": 3, "p-captcha": True}}), 0.0)
    assert actions[-1] == ConnectionEnd(EndReason.PENALTY, SYNC)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("Maintenance", EndReason.MAINTENANCE),
        ("ConnectionQuotaReached", EndReason.QUOTA),
        ("IPQuotaReached", EndReason.QUOTA),
        ("Whatever", EndReason.SHUTDOWN),
    ],
)
def test_a_shutdown_says_why_and_loses_nothing_of_its_frame(code: str, reason: EndReason) -> None:
    """The reason decides the back-off; a signal behind it in the same frame is heard, and the end comes last."""
    actions = listening().hear(frame({"e": "shutdown", "d": {"reasonCode": code}}, props({"id": 9})), 0.0)
    assert alerts(actions) == [Alert({"id": 9})]
    assert isinstance(actions[-1], ConnectionEnd)
    assert actions[-1].reason is reason


def test_a_close_frame_ends_the_connection_and_may_repeat() -> None:
    """After the first `c` there is nothing more to do."""
    wire = listening()
    assert wire.hear('c[3000,"Go away!"]', 0.0) == [ConnectionEnd(EndReason.CLOSED, "3000 Go away!")]
    assert wire.hear('c[3000,"Go away!"]', 0.0) == []
    assert wire.phase is Phase.OVER


def test_an_open_frame_that_never_comes_ends_the_wait() -> None:
    """A server that accepts and says nothing is left after ten seconds."""
    wire = SocketProtocol(0.0)
    assert wire.tick(9.9) == []
    assert wire.tick(10.0) == [ConnectionEnd(EndReason.NO_OPEN)]


def test_an_answer_that_never_comes_ends_the_wait() -> None:
    """A server that beats and never answers is left after half a minute."""
    wire = authorizing()
    for second in range(1, 30):
        wire.hear("h", float(second))
        assert not [action for action in wire.tick(float(second)) if isinstance(action, ConnectionEnd)]
    wire.hear("h", 30.0)
    assert wire.tick(30.0) == [ConnectionEnd(EndReason.NO_ANSWER, AUTHORIZE)]


def test_a_slow_server_may_be_silent_for_longer_than_a_quick_one() -> None:
    """One `h` in 25 s is a rhythm that a page of the vendor names; one that beat every 2.5 s is dead after ten."""
    slow, quick = listening(), listening()
    for second in (25.0, 50.0):
        slow.hear("h", second)
    for second in (2.5, 5.0):
        quick.hear("h", second)
    assert [slow.patience, quick.patience] == [35.0, 10.0]
    assert quick.tick(15.0) == [ConnectionEnd(EndReason.SILENCE)]


def test_heartbeats_are_independent_of_what_is_heard() -> None:
    """`[]` is due every 2.5 s from the open frame on, however busy the socket is, and not before."""
    wire = SocketProtocol(0.0)
    wire.hear("o", 0.0)
    beats, now = [], 0.0
    while now < 20.0:
        wire.hear(frame(props({"id": 1})), now)
        beats += [now for action in wire.tick(now) if isinstance(action, Beat)]
        now = round(now + 0.1, 1)
    assert beats == pytest.approx([2.5 * n for n in range(1, 8)], abs=0.11)


@given(st.lists(st.floats(0.01, 2.0), min_size=1, max_size=200))
def test_a_timer_that_looks_late_still_beats_often_enough(naps: list[float]) -> None:
    """Looked at every two seconds or sooner, it never leaves five seconds between two heartbeats."""
    wire = SocketProtocol(0.0, SocketTiming(silence=1e9, answer_within=1e9))
    wire.hear("o", 0.0)
    now, last = 0.0, 0.0
    for nap in naps:
        now += min(nap, wire.due_in(now) + 2.0)
        if Beat() in wire.tick(now):
            last = now
        assert now - last < 5.0


MESSAGES = st.one_of(
    st.builds(props, st.fixed_dictionaries({"id": st.integers(1, 50)}), wrapped=st.booleans(), array=st.booleans()),
    st.just({"i": 1, "s": 200, "d": {"users": []}}),
    st.just({"e": "clock", "d": '{"t":"2026-11-21T00:00:00Z"}'}),
    st.just({"e": "props", "d": {"entityType": "user", "eventType": "Updated", "entity": {"id": 3}}}),
    st.just({"i": 99, "s": 200}),
    st.just("no object"),
    st.none(),
)


@given(st.lists(MESSAGES, max_size=20), st.data())
def test_how_messages_are_split_over_frames_changes_nothing(messages: list[Any], data: st.DataObject) -> None:
    """The same messages, in any number of frames with heartbeats in between, tell the same alerts in the same order."""
    whole, split = listening(), listening()
    expected = alerts(whole.hear(frame(*messages), 1.0))
    found: list[Alert] = []
    at = 0
    while at < len(messages):
        size = data.draw(st.integers(1, len(messages) - at))
        found += alerts(split.hear(frame(*messages[at : at + size]), 1.0))
        assert split.hear("h", 1.0) == []
        at += size
    assert found == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["i", "s", "d", "e", "entityType", "entity", "reasonCode"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
NONSENSE = st.one_of(
    st.text(max_size=30),
    st.binary(max_size=30),
    st.sampled_from(["o", "h", "c", "a", "a[]", "c[3000]", "a[null]", "a{}", "[]", ""]),
    st.lists(
        JSON
        | st.builds(dict, s=st.sampled_from([200, 401, 429, "200", True, None, 10**30]), i=JSON, d=JSON)
        | st.builds(dict, e=st.sampled_from(["props", "shutdown", "md"]), d=JSON),
        max_size=4,
    ).map(lambda messages: "a" + json.dumps(messages)),
)


@given(st.lists(st.tuples(NONSENSE, st.floats(0, 20)), max_size=30))
def test_rubbish_never_raises_and_never_makes_us_ask_twice(frames: list[tuple[str | bytes, float]]) -> None:
    """Whatever comes in whatever order: one authorize and one sync request at most, and nothing after the end."""
    wire, now = SocketProtocol(0.0), 0.0
    asked: list[str] = []
    over = False
    for heard, pause in frames:
        now += pause
        actions = [*wire.tick(now), *wire.hear(heard, now)]
        assert not (over and actions)
        for action in actions:
            if isinstance(action, Ask):
                asked.append(action.operation)
                wire.request(action.operation, "x", now)
        ends = [action for action in actions if isinstance(action, ConnectionEnd)]
        assert len(ends) <= 1
        over = over or bool(ends)
        assert wire.due_in(now) >= 0.0
        assert (wire.phase is Phase.OVER) == over
    assert len(asked) == len(set(asked))


ROW = {"id": 98765, "autoLiqCounter": 1}


@pytest.mark.parametrize("entity", [ROW, [ROW], {"accountRiskStatus": ROW}, {"accountRiskStatus": [ROW]}])
@pytest.mark.parametrize("array", [True, False])
def test_risk_statuses_are_found_in_every_shape(entity: Any, array: bool) -> None:
    """`d` an event or a list, `entity` one or many, flat or wrapped; other entities and what was deleted bring none."""
    event = {"entityType": "accountRiskStatus", "eventType": "Updated", "entity": entity}
    other = [{**event, "entityType": "marginSnapshot"}, {**event, "eventType": "Deleted"}]
    events = [[event, *other]] if array else [event, *other]
    heard = listening().hear(frame(*({"e": "props", "d": each} for each in events)), 1.0)
    assert heard == [RiskStatuses([ROW], initial=False)]


def test_risk_statuses_of_the_initial_data_come_in_any_part() -> None:
    """In the first part, in later ones, under an id of their own; an empty family is one, a part without it is none."""
    wire = syncing(risk=True)
    part = {"users": [], "accountRiskStatuses": [ROW]}
    actions = wire.hear(frame({"i": 1, "s": 200, "d": part}, {"i": 1, "s": 200, "d": {"users": []}}), 0.0)
    empty: dict[str, list[Any]] = {"accountRiskStatuses": []}
    actions += wire.hear(frame({"i": 7, "s": 200, "d": part}, {"i": 1, "s": 200, "d": empty}), 0.0)
    statuses = [action for action in actions if isinstance(action, RiskStatuses)]
    assert statuses == [RiskStatuses(rows, initial=True) for rows in ([ROW], [ROW], [])]
    assert actions[:2] == [Replied(SYNC, Answer({})), Listening()]


def test_a_permission_that_is_missing_is_no_fault_of_the_token() -> None:
    """401 to a sync request for risk statuses ends the connection for that reason; the token is not rejected."""
    refused = frame({"i": 1, "s": 401, "d": "Access is denied"})
    assert syncing(risk=True).hear(refused, 0.0) == [
        Replied(SYNC, Refusal("Access is denied", 401)),
        ConnectionEnd(EndReason.RISK_REFUSED, "401 Access is denied"),
    ]
    assert syncing().hear(refused, 0.0)[-1] == ConnectionEnd(EndReason.UNAUTHORIZED, "Access is denied")


def test_only_what_is_used_of_a_frame_is_cleaned() -> None:
    """A text that cannot be stored, in an alert, is clean; one in a risk status is as it came, for who reads it."""
    bad = frame(props({"id": 7, "text": "a\x00b"}), {"e": "props", "d": {
        "entityType": "accountRiskStatus", "eventType": "Updated", "entity": {"id": 1, "note": "a\x00b"}}})  # fmt: skip
    assert listening().hear(bad, 1.0) == [
        Alert({"id": 7, "text": "ab"}), RiskStatuses([{"id": 1, "note": "a\x00b"}], initial=False),
    ]  # fmt: skip
