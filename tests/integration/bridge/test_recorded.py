"""What was recorded on the partner's WebSockets (`tests/recorded/sockets.jsonl`), each line with its right reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.bridges import BridgeStage
from tests.support.waiting import eventually

RECORDED: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parents[2] / "recorded/sockets.jsonl").read_text().splitlines()
]
TWO, ONE, UNREADABLE = (line for line in RECORDED if line["what"] == "WebSocket frame")


def says(stage: BridgeStage, line: dict[str, Any], domain: str = "demo") -> None:
    """The partner sends a recorded frame."""
    for connection in stage.partner.sandbox.core.hub.connections.values():
        if connection.domain == domain:
            connection.push(line["status"] + json.dumps(line["body"]))


def test_every_recorded_line_is_tested() -> None:
    """Three frames and a handshake; a new line needs a test."""
    assert [line["right"] for line in RECORDED] == [
        "two signals: two md.signed",
        "one signal: one md.signed",
        "an alert that cannot be read: one catch-up, the connection goes on",
        "not executed: renewal, then the host that it returns",
    ]


@pytest.mark.parametrize(("line", "signals"), [(TWO, {1: 29721, 2: 29722}), (ONE, {3: 29723})])
async def test_recorded_signals_are_published_each_once(
    stage: BridgeStage, line: dict[str, Any], signals: dict[int, int]
) -> None:
    """As many md.signed as the frame has signals, each keyed by its user, though both sockets bring them."""
    bridge = await stage.bridge()
    for domain in ("demo", "live", "demo"):
        says(stage, line, domain)
    await stage.bridged(list(signals))
    await stage.noted(list(signals))
    assert {body["signalId"]: body["userId"] for body in stage.published()} == signals
    assert set(stage.times().values()) == {1}
    assert {record.key for record in stage.records} == {str(user).encode() for user in signals.values()}
    assert stage.published("admin.alert") == []
    await stage.works(bridge)


async def test_a_recorded_alert_that_cannot_be_read_costs_one_catch_up(stage: BridgeStage) -> None:
    """The connection goes on: what comes behind it on the same socket is published."""
    bridge = await stage.bridge()
    before = stage.count("/adminalertsignal/deps")
    for _ in range(20):
        says(stage, UNREADABLE)
    says(stage, ONE)
    await stage.bridged([3])
    await eventually(lambda: stage.count("/adminalertsignal/deps") == before + 1)
    says(stage, UNREADABLE)
    says(stage, TWO)
    await stage.bridged([1, 2, 3])
    assert stage.count("/adminalertsignal/deps") == before + 1
    assert stage.sockets["opened"] == 2
    await stage.works(bridge)


async def test_a_recorded_refusal_of_the_handshake_is_followed_by_a_renewal(stage: BridgeStage) -> None:
    """421 without a body: one renewal, then the host that it returns."""
    (handshake,) = (line for line in RECORDED if line["what"] == "WebSocket handshake")
    assert (handshake["status"], handshake["body"]) == ("421", "")
    bridge = await stage.bridge()
    moved = stage.partner.move()
    await eventually(lambda: stage.partner.sandbox.core.calls.wrong_host["demo"] >= 1)
    await eventually(
        lambda: bridge.tasks is not None and any(f":{moved}/" in str(line.url) for line in bridge.tasks.lines), 20
    )
    await stage.works(bridge)
    assert stage.sessions["renewals"] == 1
    assert stage.sessions["logins"] == 1
