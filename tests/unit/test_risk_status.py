"""The bridge's pure parts for risk statuses: what counts as a change, its record, what is asked for and taken."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.export import bridged_schema
from worker.bridge.risk_feed import RiskFeed
from worker.bridge.risk_intake import RiskIntake
from worker.bridge.risk_status import Change, KnownStatus, ReceivedStatus, compared, read, record, watched_in
from worker.bridge.risk_sync import AGAIN_AFTER, RiskSync
from worker.ledger.database import Database
from worker.partner.socket import TOO_LARGE
from worker.partner.socket_actions import Ask, ConnectionEnd, EndReason, Listening, Replied, RiskStatuses
from worker.partner.socket_protocol import AUTHORIZE, SocketProtocol
from worker.replies import Answer

NEW: dict[str, Any] = {
    "id": 98765,
    "adminAction": "Normal",
    "userTriggeredLiqOnly": False,
    "autoLiqCounter": 0,
    "maxNetLiq": 50_000.0,
    "maxNetLiqTimestamp": "2026-11-20T15:00:00.000Z",
    "minNetLiq": 50_000.0,
}
AT = "2026-11-20T16:03:11.512Z"
LIQUIDATED = {**NEW, "autoLiqCounter": 1, "autoLiqStarted": AT, "liquidateOnly": AT}
NOON, EVENING = datetime(2026, 11, 20, 12, tzinfo=UTC), datetime(2026, 11, 20, 22, tzinfo=UTC)


def heard(row: Any, since: datetime | None = None) -> ReceivedStatus:
    """A row that can be read."""
    found = watched_in(row)
    assert found is not None
    return read(row, *found, since)


def changes(*rows: dict[str, Any]) -> list[Change]:
    """What becomes of the statuses of one account, the first of which sets the starting point."""
    return compared({}, [heard(row) for row in rows])[1]


def body(change: Change) -> dict[str, Any]:
    """The record's value, which is what its schema says."""
    value: dict[str, Any] = json.loads(record(change))
    Draft202012Validator(bridged_schema("account.risk_status")).validate(value)
    return value


@pytest.mark.parametrize(
    "other",
    [
        {"maxNetLiq": 60_000.0, "maxNetLiqTimestamp": AT, "minNetLiq": 1.5},
        {"liquidateOnly": None, "autoLiqStarted": "", "adminTimestamp": None},
        {"autoLiqCounter": None, "userTriggeredLiqOnly": None, "adminAction": None},
        {"autoLiqCounter": "0", "userTriggeredLiqOnly": "false", "adminAction": "normal"},
        {"aFieldOfALaterRelease": 5},
    ],
)
def test_what_moves_with_a_tick_or_is_spelled_otherwise_is_no_change(other: dict[str, Any]) -> None:
    """Net values, empty fields, numbers in quotes and fields that are not known change nothing."""
    assert changes(NEW, {**NEW, **other}, NEW) == []


def test_two_spellings_of_one_moment_are_the_same() -> None:
    """A time with more digits, or of another zone, is no change."""
    spelled = {**LIQUIDATED, "liquidateOnly": "2026-11-20T10:03:11.512000-06:00", "autoLiqStarted": AT[:-1]}
    assert changes(LIQUIDATED, spelled) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("autoLiqCounter", 1),
        ("autoLiqStarted", AT),
        ("autoLiqStopped", AT),
        ("liquidateOnly", AT),
        ("userTriggeredLiqOnly", True),
        ("adminAction", "LockTradingImmediately"),
        ("adminTimestamp", AT),
    ],
)
def test_each_field_of_an_action_is_a_change(name: str, value: Any) -> None:
    """It is published with the whole status before and now, as Tradovate sent them."""
    [change] = changes(NEW, {**NEW, name: value})
    assert (change.version, change.before[name] if name in NEW else None) == (1, NEW.get(name))
    assert body(change)["now"] == {key: each for key, each in {**NEW, name: value}.items() if key != "id"}


def test_each_change_begins_where_the_last_one_ended() -> None:
    """Versions count up, and the event ids of the same two states there and back differ."""
    there, back, again = changes(NEW, LIQUIDATED, NEW, LIQUIDATED)
    assert [each.version for each in (there, back, again)] == [1, 2, 3]
    assert (there.now, back.before, back.now) == (back.before, again.now, again.before)
    assert len({body(each)["eventId"] for each in (there, back, again)}) == 3


def test_the_same_change_is_the_same_record_and_a_lost_ledger_makes_another() -> None:
    """Bytes and event id follow from account, version and content; another content with the same number differs."""
    [change] = changes(NEW, LIQUIDATED)
    assert record(change) == record(Change(change.account_id, change.version, change.before, change.now))
    [other] = changes(NEW, {**LIQUIDATED, "autoLiqStarted": "2026-11-23T16:03:11.512Z"})
    assert (other.version, body(other)["eventId"]) != (change.version, body(change)["eventId"])


def test_the_first_status_of_an_account_sets_the_starting_point() -> None:
    """Whatever it says, nothing is published; the ledger keeps it as version 0."""
    kept, found = compared({}, [heard(LIQUIDATED)])
    assert (found, kept[98765].version) == ([], 0)


@pytest.mark.parametrize(("since", "published"), [(NOON, 1), (EVENING, 0), (None, 0)])
def test_a_new_account_that_is_first_heard_of_when_it_is_liquidated(since: datetime | None, published: int) -> None:
    """An event of an account that is not known is a change if it happened after the connection was authorized."""
    kept, found = compared({}, [heard(LIQUIDATED, since)])
    assert (len(found), kept[98765].version) == (published, published)
    assert all(body(each)["before"] == {} for each in found)


@pytest.mark.parametrize(
    ("before", "now", "by_trader"),
    [
        (NEW, {**NEW, "userTriggeredLiqOnly": True, "liquidateOnly": AT}, True),
        (NEW, LIQUIDATED, False),
        (NEW, {**NEW, "adminAction": "LiquidateImmediately", "adminTimestamp": AT}, False),
        ({**NEW, "userTriggeredLiqOnly": True, "liquidateOnly": AT}, NEW, False),
        (
            {**NEW, "userTriggeredLiqOnly": True},
            {**NEW, "userTriggeredLiqOnly": True, "adminAction": "LockTradingImmediately"},
            False,
        ),
    ],
)
def test_who_caused_a_change(before: dict[str, Any], now: dict[str, Any], by_trader: bool) -> None:
    """The trader, where `userTriggeredLiqOnly` says so; not an administrator's action, and not the end of it."""
    [change] = changes(before, now)
    assert body(change)["userTriggered"] is by_trader


@pytest.mark.parametrize(
    "row", [None, 5, [], {}, {"id": 0}, {"id": "x"}, {**NEW, "autoLiqCounter": 1.5}, {**NEW, "liquidateOnly": True},
            {**NEW, "adminAction": ["Normal"]}, {**NEW, "autoLiqStarted": "x" * 200}],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_nothing(row: Any) -> None:
    """No account, or a field of another type: it is not guessed at."""
    assert watched_in(row) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(st.sampled_from([*LIQUIDATED, "autoLiqStopped", "adminTimestamp", "x\x00\ud800"]), JSON))
def test_any_row_that_is_read_becomes_a_record_of_the_schema(row: dict[str, Any]) -> None:
    """Whatever stands in the fields: no row raises, and what is published is valid."""
    found = watched_in({**row, "id": 7})
    if found is None:
        return
    status = read({**row, "id": 7}, *found, None)
    kept, _ = compared({}, [status])
    assert compared(kept, [status]) == ({}, [])
    body(Change(7, 1, {}, status.status))
    json.dumps(status.status).encode()


def test_a_status_that_is_too_large_keeps_what_is_known() -> None:
    """Fields beyond those of the schema go first."""
    assert heard({**LIQUIDATED, "note": "x" * 5000}).status == heard(LIQUIDATED).status


# -- what the reader takes -------------------------------------------------------------------------------------------


async def test_initial_data_do_not_undo_what_an_event_has_brought_before() -> None:
    """Parts of a split answer may be older than an event between them; those of the next connection are not."""
    intake = RiskIntake()
    intake.authorized()
    intake.received([NEW], initial=True)
    intake.received([LIQUIDATED], initial=False)
    intake.received([NEW, {**NEW, "id": 5}], initial=True)
    await intake.run_once()
    assert [(each.account_id, each.status["autoLiqCounter"]) for each in intake.first(9)] == [
        (98765, 0), (98765, 1), (5, 0),
    ]  # fmt: skip
    intake.authorized()
    intake.received([NEW], initial=True)
    await intake.run_once()
    assert len(intake.first(9)) == 4


async def test_an_event_before_the_first_part_of_the_answer_is_not_undone_by_it() -> None:
    """An event may be later than the answer to the sync request that comes after it: that is one change, not two."""
    intake = RiskIntake(now=lambda: NOON)
    feed, wire = RiskFeed(intake, cast("Database", None)), SocketProtocol(0.0, risk=True)

    def hear(*messages: dict[str, Any]) -> None:
        for action in wire.hear("a" + json.dumps(messages), 1.0):
            match action:
                case Ask(operation):
                    wire.request(operation, "", 1.0)
                case Replied(operation, Answer()) if operation == AUTHORIZE:
                    feed.authorized()
                case Listening():
                    feed.listening()
                case RiskStatuses(rows, initial):
                    feed.received(rows, initial=initial)
                case _:
                    pass

    known = {98765: KnownStatus(3, heard(NEW).status)}
    for _ in range(2):  # the second time as the next connection
        wire = SocketProtocol(0.0, risk=True)
        wire.hear("o", 1.0)
        wire.request(AUTHORIZE, "", 1.0)
        hear({"i": 0, "s": 200})
        hear({"e": "props", "d": {"entityType": "accountRiskStatus", "eventType": "Updated", "entity": LIQUIDATED}})
        hear({"i": 1, "s": 200, "d": {"users": []}}, {"i": 1, "s": 200, "d": {"accountRiskStatuses": [NEW]}})
        await intake.run_once()
    _, found = compared(known, intake.first(10))
    assert [(each.before["autoLiqCounter"], each.now["autoLiqCounter"]) for each in found] == [(0, 1)]


async def test_the_reader_goes_on_between_slices_and_memory_is_bounded() -> None:
    """Twenty thousand rows are read in many turns of the loop; what finds no room is dropped until all is read."""
    clock = [1000.0]
    counts: dict[str, int] = {}
    intake = RiskIntake(counted=lambda kind, n: counts.update({kind: counts.get(kind, 0) + n}), room=20_000)
    intake.clock = lambda: clock[0]
    intake.received([{**NEW, "id": at} for at in range(1, 20_001)], initial=True)
    intake.received([LIQUIDATED], initial=False)
    assert intake.fallen_behind
    assert not intake.start_over()
    loop = asyncio.get_running_loop()
    turns = [0]

    def turn() -> None:
        turns[0] += 1
        loop.call_soon(turn)

    turn()
    await intake.run_once()
    assert turns[0] >= 200
    intake.done(20_000)
    assert [intake.start_over(), intake.start_over()] == [True, False]
    assert counts == {"first_or_changed": 20_000, "dropped": 1}


# -- what is asked for -----------------------------------------------------------------------------------------------


def test_what_tradovate_refuses_is_left_out_of_the_next_sync_request() -> None:
    """One refusal is enough; a quarter of an hour later a connection asks again, and success forgets it."""
    now = [0.0]
    sync = RiskSync(lambda: now[0])
    assert sync.asks()
    sync.authorized()
    sync.ended(ConnectionEnd(EndReason.RISK_REFUSED, "401 Access is denied"))
    assert "Risks:Read" in (sync.refused or "")
    assert not sync.asks()
    now[0] = AGAIN_AFTER
    assert sync.asks()
    sync.authorized()
    assert sync.listening()
    assert sync.refused is None


def test_connections_that_end_at_the_request_go_on_without() -> None:
    """Two in a row, or one whose frames are too large; if it is not for the risk statuses, they are asked for again."""
    sync = RiskSync(lambda: 0.0)
    for _ in range(2):
        assert sync.asks()
        sync.authorized()
        sync.ended(ConnectionEnd(EndReason.CUT))
    assert not sync.asks()
    sync.authorized()
    sync.ended(ConnectionEnd(EndReason.CUT))
    assert sync.asks()
    sync.authorized()
    sync.listening()
    sync.ended(ConnectionEnd(EndReason.CUT))
    assert sync.asks()
    sync.ended(ConnectionEnd(EndReason.CUT, TOO_LARGE))
    assert not sync.asks()


def test_known_versions_go_on() -> None:
    """A change of an account that the ledger knows is numbered after its last one."""
    _, [change] = compared({98765: KnownStatus(4, NEW)}, [heard(LIQUIDATED)])
    assert change.version == 5
