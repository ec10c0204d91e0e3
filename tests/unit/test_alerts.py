"""Alerts in the frames of a socket: one or many, in every shape, and what may be one and cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_frames import frame, listening
from worker.partner.socket_actions import Alert, Changed, UnreadableFrame
from worker.partner.socket_protocol import Phase

LOST = UnreadableFrame("an alert without its signal")
SIGNAL = {"id": 7, "relatedToUserId": 3}


@pytest.mark.parametrize(
    ("entity", "heard"),
    [
        ([{"adminAlertSignal": {"id": 1}}, {"adminAlertSignal": {"id": 2}}], [Alert({"id": 1}), Alert({"id": 2})]),
        ([{"id": 1}, {"adminAlertSignal": {"id": 2}}], [Alert({"id": 1}), Alert({"id": 2})]),
        ({"adminAlertSignal": [{"id": 1}, {"id": 2}]}, [Alert({"id": 1}), Alert({"id": 2})]),
        ([], []),
        ([{"id": 1}, None, {"id": 2}], [Alert({"id": 1}), LOST, Alert({"id": 2})]),
        ([[{"id": 1}], "text", 7], [Alert({"id": 1}), LOST, LOST]),
        ({"adminAlertSignal": None}, [LOST]),
        (None, [LOST]),
        ("text", [LOST]),
    ],
)
@pytest.mark.parametrize("kind", ["OtherEnvAdminAlertSignal", "adminAlertSignal"])
def test_an_entity_is_one_alert_or_many_and_each_is_judged_by_itself(
    entity: Any, heard: list[Alert | UnreadableFrame], kind: str
) -> None:
    """One that cannot be read neither hides the others nor ends the connection."""
    wire = listening()
    event = {"entityType": kind, "eventType": "Created", "entity": entity}
    assert wire.hear(frame({"e": "props", "d": event}), 1.0) == heard
    assert wire.phase is Phase.LISTENING


@pytest.mark.parametrize("kind", ["Updated", "Deleted", "updated"])
@pytest.mark.parametrize("entity", [{"id": 1}, [{"id": 1}], None, "text"])
def test_a_change_of_an_alert_is_nothing_new(kind: str, entity: Any) -> None:
    """Whatever can be read of it, no alert is new because an older one was completed, claimed or deleted."""
    event = {"entityType": "adminAlertSignal", "eventType": kind, "entity": entity}
    assert listening().hear(frame({"e": "props", "d": event}), 1.0) == [Changed()]


@pytest.mark.parametrize(
    "event",
    [
        {"entityType": "adminAlertSignalV2", "eventType": "Created", "entity": SIGNAL},
        {"entityType": "adminAlertSignal", "eventType": "Raised", "entity": SIGNAL},
        {"entityType": "adminAlertSignal", "entity": SIGNAL},
        {"eventType": "Created", "entity": SIGNAL},
        {"entityType": 5, "eventType": "Created", "entity": SIGNAL},
        "text",
        None,
    ],
)
def test_what_may_be_an_alert_and_is_in_no_known_shape_is_not_passed_over(event: Any) -> None:
    """An entity that names alerts, an event without its type: it may be a signature, so that it has to be asked for."""
    (action,) = listening().hear(frame({"e": "props", "d": [event]}), 1.0)
    assert isinstance(action, UnreadableFrame)


@pytest.mark.parametrize(
    "text",
    [
        'a[{"e":"props","d":{"entityType":"adminAlertSignal","eventType":"Created","entity":{"id":1',
        'a{"e":"props"}',
        "a[7]",
        'a["no JSON"]',
        'a[{"d":{"entityType":"adminAlertSignal"}}]',
        'a[{"e":"adminAlertSignal","d":{}}]',
        'a[{"e":null,"d":{}}]',
    ],
)
def test_a_frame_that_cannot_be_read_may_have_held_an_alert(text: str) -> None:
    """The connection goes on, and the alert is asked for."""
    wire = listening()
    (action,) = wire.hear(text, 1.0)
    assert isinstance(action, UnreadableFrame)
    assert wire.phase is Phase.LISTENING


@pytest.mark.parametrize("kind", ["user", "currency", "adminAlert", "order"])
def test_other_entities_are_no_alerts(kind: str) -> None:
    """Nothing is asked for because of them, whatever they hold."""
    for entity in ({"id": 1}, None, [None]):
        event = {"entityType": kind, "eventType": "Created", "entity": entity}
        assert listening().hear(frame({"e": "props", "d": event}), 1.0) == []


def test_one_bad_text_hides_no_other_alert() -> None:
    """A NUL, half of a surrogate pair, a text without end: cleaned where they come in, and the alerts are read."""
    texts = [r'"a\u0000b"', r'"a\ud800b"', '"' + "x" * 9_000 + '"']
    entities = ",".join(f'{{"id":{number},"text":{text}}}' for number, text in enumerate(texts, 1))
    event = f'{{"entityType":"adminAlertSignal","eventType":"Created","entity":[{entities}]}}'
    heard = listening().hear(f'a[{{"e":"props","d":{event}}}]', 1.0)
    assert heard == [
        Alert({"id": 1, "text": "ab"}),
        Alert({"id": 2, "text": "a?b"}),
        Alert({"id": 3, "text": "x" * 8_192}),
    ]
