"""The pure parts of the commands: events out of files, rows, suggestions, spans of time."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import errors as kafka

from schemas.times import utc_text
from worker.cli._errors import CommandRefused, FileUnusable, FileUse, failure_of, one_of
from worker.cli._event_files import BadEvent, GivenEvent, judge, split
from worker.cli._output import aligned, printable
from worker.cli.holds import age, until
from worker.cli.main import main
from worker.cli.topics import retention
from worker.cli.watch import cells, line, meets
from worker.errors import quoted
from worker.kafka.errors import KafkaUnavailable
from worker.kafka.topics import INPUT_TOPICS
from worker.ledger.driver_errors import of_driver
from worker.ledger.holds import Hold
from worker.operate.holding import ALL_CALLS, still_paused
from worker.settings import KafkaSettings, SettingsError, load

EVENT: dict[str, Any] = {
    "eventId": "e-1",
    "orderId": "100234",
    "traderId": "cust-77",
    "user": {"userId": 29721},
    "account": {"templateAccountId": 11, "initialBalance": 50000},
}


def places(content: bytes | str) -> list[str]:
    return [event.place for event in split(content if isinstance(content, bytes) else content.encode())]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", []),
        (" \n\n ", []),
        ('{"a": 1}', ["line 1"]),
        ('\n{"a": 1}\n', ["line 2"]),
        ('\ufeff{"a": 1}', ["line 1"]),
        ('{\n "a": 1\n}', ["line 1"]),
        ('[{"a": 1}, {"a": 2}]', ["item 1", "item 2"]),
        ('[\n{"a": 1},\n{"a": 2}\n]', ["item 1", "item 2"]),
        ('{"a": 1}\n\n{"a": 2}\r\n', ["line 1", "line 3"]),
        ('{"a": 1}\n[2]\nx', ["line 1", "line 2", "line 3"]),
        ("x\n{}", ["line 1", "line 2"]),
        ('{\n"a": 1}\n{\n"a": 2\n}\n', ["line 1", "line 3"]),
    ],
)
def test_events_are_found_however_they_are_laid_out(content: str, found: list[str]) -> None:
    """One document, an array, one a line, or documents one after another are distinguished without an option."""
    assert places(content) == found


def test_an_event_is_sent_as_it_was_written() -> None:
    """The bytes of a document are not rewritten, so that numbers and spaces stay what they were."""
    text = '{\n  "eventId": "e-1", "x": 1.50\n}'
    assert split(f"\n{text}\n".encode()) == [GivenEvent("line 2", text.encode())]


def test_a_broken_document_is_reported_with_its_line() -> None:
    """Where a document over several lines breaks, the line is named and nothing behind it is guessed."""
    assert split(b'{\n"a": 1}\n{\n"a": }\n') == [
        GivenEvent("line 1", b'{\n"a": 1}'),
        BadEvent("line 4", "This is not valid JSON (at column 6)."),
    ]
    assert split(b'{\n"a": "\xff"}') == [BadEvent("line 2", "This is not valid UTF-8.")]
    assert split(b"[\n" * 100_000) == [BadEvent("line 1", "This is nested too deeply.")]


def test_what_python_cannot_read_or_write_is_one_bad_event() -> None:
    """A number of thousands of digits, or an array in hundreds of others, is bad input like any other: others stand."""
    long, deep, good = f'"n": {"9" * 5000}', f'"n": {"[" * 300}{"]" * 300}', json.dumps(EVENT)
    for content, place, sentence in (
        (f'{{\n"eventId": "e",\n{long}\n}}\n{good}', "line 1", "This is not valid JSON."),
        (f'[{good}, {{"eventId": "e", {deep}}}]', "item 2", "This is nested too deeply."),
        (f'{good}\n{{"eventId": "e", {long}}}', "line 2", "This is not valid JSON."),
    ):
        ready, bad = judge("trader.purchased", split(content.encode()), {})
        assert [event.event_id for event in ready] == ["e-1"]
        assert bad == [BadEvent(place, sentence)]


def test_bad_events_are_named_without_their_values() -> None:
    """Each bad event is reported with its line and the field that is wrong, and no value of it is repeated."""
    lines = [
        EVENT,
        {name: value for name, value in EVENT.items() if name != "eventId"},
        {**EVENT, "orderId": 424242},
        {**EVENT, "product": "EVAL-50K", "account": None},
    ]
    ready, bad = judge("trader.purchased", split("\n".join(map(json.dumps, lines)).encode() + b'\n{"secret'), {})
    assert [event.place for event in ready] == ["line 1"]
    assert [event.place for event in bad] == ["line 2", "line 3", "line 4", "line 5"]
    assert "eventId" in bad[0].sentence
    assert "orderId" in bad[1].sentence
    assert "PRODUCTS_FILE" in bad[2].sentence
    assert bad[3].sentence == "This is not valid JSON."
    assert "424242" not in str(bad)
    assert "secret" not in str(bad)


@pytest.mark.parametrize(
    ("topic", "event", "key"),
    [
        ("trader.purchased", EVENT, b"cust-77"),
        ("account.assigned", {"eventId": "e", "accountId": 5, "userId": 7}, b"7"),
        ("md.signed", {"eventId": "e", "userId": 7}, b"7"),
        (
            "permission.requested",
            {"eventId": "e", "accountId": 5, "ctaContact": "Jane", "ctaEmail": "jane@example.com"},
            b"5",
        ),
    ],
)
def test_the_key_is_the_trader(topic: str, event: dict[str, Any], key: bytes) -> None:
    """Events of one trader share a key, so that they stay in their order: the trader, the user, or the account."""
    ready, bad = judge(topic, [GivenEvent("line 1", json.dumps(event).encode())], {})
    assert bad == []
    assert [(one.key, one.event_id) for one in ready] == [(key, event["eventId"])]


@pytest.mark.parametrize(
    ("given", "hint"),
    [("trader.purchase", "did you mean trader.purchased?"), ("TRADER.LEFT", "did you mean trader.left?"), ("q", ":")],
)
def test_a_mistyped_name_gets_the_nearest_one(given: str, hint: str) -> None:
    """What is nearly right is suggested, and what is not near to anything gets the list."""
    with pytest.raises(CommandRefused, match="is no input topic") as refused:
        one_of(given, INPUT_TOPICS, "input topic")
    assert hint in str(refused.value)
    assert refused.value.code == 2


def test_a_mistyped_name_cannot_command_the_terminal() -> None:
    """Control characters and endless words of the command line are not echoed."""
    with pytest.raises(CommandRefused) as refused:
        one_of("\x1b[2J" + "x" * 500, INPUT_TOPICS, "input topic")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400
    assert quoted("e" * 128) == f'"{"e" * 128}"'  # the longest id


def test_failures_are_one_line_with_a_code() -> None:
    """What an operator can correct is one line with its exit code; a fault of the program is not hidden."""
    with pytest.raises(SettingsError) as wrong:
        load(KafkaSettings, {"KAFKA_TOPIC_PARTITIONS": "0", "KAFKA_BOOTSTRAP_SERVERS": "!"})
    failure = failure_of(wrong.value)
    assert failure is not None
    assert failure.code == 2
    assert {"KAFKA_TOPIC_PARTITIONS", "KAFKA_BOOTSTRAP_SERVERS"} <= set(failure.sentence.split())
    broken = failure_of(FileUnusable(Path("traders.csv"), OSError(2, "away"), FileUse.TRADERS))
    assert broken is not None
    assert broken.sentence == "traders.csv cannot be read (away): name a file with traders."
    away = failure_of(FileNotFoundError(2, "away", "traders.csv"))
    assert away is not None
    assert away.sentence == "away: traders.csv."
    assert failure_of(ZeroDivisionError()) is None


@pytest.mark.parametrize("text", ["-----BEGIN PRIVATE KEY-----\nMC4CAQ\n", "MC4CAQ" * 100, "\x1b[2JMC4CAQ"])
def test_the_text_of_a_file_in_place_of_its_name_is_not_shown(text: str) -> None:
    """Who gives a key or an event where its file should be named does not find it in a log."""
    for error in (FileUnusable(Path(text), OSError(36, "too long"), FileUse.EVENTS), OSError(36, "too long", text)):
        failure = failure_of(error)
        assert failure is not None
        assert "too long" in failure.sentence
        assert "MC4CAQ" not in failure.sentence


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (asyncpg.InvalidPasswordError("x"), "password"),
        (asyncpg.InvalidCatalogNameError("x"), "createdb"),
        (asyncpg.UndefinedTableError("x"), "db upgrade"),
        (asyncpg.InsufficientPrivilegeError("x"), "grant"),
        (ConnectionRefusedError(), "DATABASE_URL"),
        (TimeoutError(), "load"),
        (asyncpg.DeadlockDetectedError("x"), "try again"),
        (asyncpg.PostgresSyntaxError("x"), "db upgrade"),
    ],
)
def test_the_database_is_away_in_a_sentence(error: Exception, fix: str) -> None:
    """Each way in which a database cannot be used names its own fix."""
    failure = failure_of(of_driver(error))
    assert failure is not None
    assert (failure.code, fix in failure.sentence) == (1, True)


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (kafka.KafkaConnectionError(), "KAFKA_BOOTSTRAP_SERVERS"),
        (kafka.TopicAuthorizationFailedError(), "ACL"),
        (kafka.UnknownTopicOrPartitionError(), "topics create"),
        (kafka.MessageSizeTooLargeError(), "max.message.bytes"),
    ],
)
def test_kafka_is_away_in_a_sentence(error: Exception, fix: str) -> None:
    """Each way in which Kafka cannot be used names its own fix, also where no command has turned the error into one of
    ours: it never ends in a traceback.
    """
    assert fix in KafkaUnavailable.of(error, load(KafkaSettings, {})).sentence
    failure = failure_of(error)
    assert failure is not None
    assert (failure.code, fix in failure.sentence) == (1, True)


def test_a_row_is_aligned_and_never_cut() -> None:
    """Values wider than their column stay whole, and what a terminal would obey is made visible."""
    row = cells({"status": "failed", "orderId": "9" * 60, "errorText": "a\x1b[31mb\nc", "errorCode": "rejected"})
    assert "9" * 60 in line(row)
    assert line(row).isprintable()
    assert line(row).endswith(r"rejected: a\x1b[31mb\nc")
    assert line(cells({})).strip() != "\n"
    assert aligned(("a", "long name"), [["wide value", ""]]) == ["A           LONG NAME", "wide value"]
    assert printable(None) == ""


def test_filters_want_all_of_their_values() -> None:
    """An outcome is shown when every filter that is given fits it."""
    outcome = {"orderId": "1", "traderId": "t", "eventId": "e"}
    assert meets(outcome, {"orderId": None, "traderId": None})
    assert meets(outcome, {"orderId": "1", "traderId": "t"})
    assert not meets(outcome, {"orderId": "1", "traderId": "other"})


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (0, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_061, "1 d 1 h")]
)
def test_ages_have_two_units(seconds: int, text: str) -> None:
    """An age is read at a glance."""
    assert age(timedelta(seconds=seconds)) == text


def test_a_hold_shows_its_end() -> None:
    """The end of a hold has milliseconds and its zone; without an end, an operator clears the hold."""
    moment = datetime(2026, 11, 20, 23, 0, 5, tzinfo=UTC)
    assert until(Hold(1, "all", "429", moment, moment), utc_text) == "2026-11-20T23:00:05.000Z"
    assert until(Hold(1, "login", "refused", None, moment), utc_text) == "cleared by an operator"
    assert still_paused([ALL_CALLS, "x"]).endswith("`tradovate-worker resume` ends that.")
    assert still_paused(["x"]) == "Still paused: x; `tradovate-worker resume x` ends that."


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(None, "unknown"), (-1, "for ever"), (604_800_000, "168 h"), (1500, "1500 ms")]
)
def test_retention_is_reported_in_hours(milliseconds: int | None, text: str) -> None:
    """Retention is reported in the unit of its setting."""
    assert retention(milliseconds) == text


def test_commands_decide_nothing_in_cli() -> None:
    """The entry point parses, runs and prints, in under a hundred lines."""
    assert len(Path(inspect.getfile(main)).read_text().splitlines()) < 100
