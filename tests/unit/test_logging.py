"""What the log says, and what it never does."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence

import pytest
import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, TypeAdapter, ValidationError

from worker.cli._errors import CommandRefused
from worker.telemetry.logging import HIDDEN, configure, redact


def _fail(user_email: str) -> None:
    raise RuntimeError(f"no luck with {len(user_email)} characters")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leaves the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    ours = structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.configure(**ours)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_own_and_foreign_loggers_share_one_chain(capsys: pytest.CaptureFixture[str]) -> None:
    """A library's line has the same fields as ours, with a time, a level and the logger's name, and no colours."""
    configure("info", "json")
    structlog.get_logger("worker.dispatch").info("dispatch.call_sent", items=100)
    logging.getLogger("somelib").warning("went %s", "wrong", extra={"node": 3, "color_message": "\x1b[1mwrong"})
    ours, theirs = lines(capsys)
    assert (ours["event"], ours["items"], ours["logger"]) == ("dispatch.call_sent", 100, "worker.dispatch")
    assert (theirs["event"], theirs["node"], theirs["logger"]) == ("went wrong", 3, "somelib")
    assert ours.keys() - {"items"} == theirs.keys() - {"node"} == {"event", "level", "logger", "timestamp"}


_PERSON = "jane@example.com"


def _validation(person: str) -> None:
    TypeAdapter(int).validate_python(person)


def _key(person: str) -> None:
    try:
        _validation(person)
    except ValidationError as error:
        raise KeyError(person) from error


def _group(person: str) -> None:
    raise ExceptionGroup("several", [RuntimeError(person), ConnectionResetError("reset by the broker")])


def _ours(_person: str) -> None:
    raise CommandRefused("It is full.")


def _meanwhile(_person: str) -> None:
    try:
        raise OSError("first")  # noqa: TRY301 - the one in the middle of which the second comes
    except OSError:
        raise OSError("second")  # noqa: B904


@pytest.mark.parametrize(
    ("fail", "in_order"),
    [
        (_validation, ["Traceback (most recent call last):", "in _validation", "ValidationError"]),
        (_key, ["ValidationError", "the cause of this one:", "\nKeyError"]),
        (_group, ["in _group", "\nExceptionGroup", "\nRuntimeError", "\nConnectionResetError: reset by the broker"]),
        (_ours, ["in _ours", "CommandRefused: It is full."]),
        (_meanwhile, ["OSError: first", "was handled", "OSError: second"]),
    ],
)
@pytest.mark.parametrize("logger", ["worker", "asyncio"])
def test_a_traceback_quotes_nobody(
    capsys: pytest.CaptureFixture[str], logger: str, fail: Callable[[str], None], in_order: Sequence[str]
) -> None:
    """Errors of libraries may quote the value that they are about. A traceback says which errors, and where; it has the
    texts of errors that hold no such data. Causes stand before what they caused. A library's line is no exception.
    """
    configure("info", "json")
    try:
        fail(_PERSON)
    except Exception as error:  # noqa: BLE001 - each of them
        (structlog.get_logger if logger == "worker" else logging.getLogger)(logger).error("failed", exc_info=error)
    (line,) = lines(capsys)
    text = str(line["exception"])
    assert _PERSON not in str(line)
    places = [text.index(words) for words in in_order]
    assert places == sorted(places)
    assert text.endswith(in_order[-1])


@pytest.mark.parametrize("name", ["aiokafka.conn", "httpx", "httpcore.http11", "websockets.client"])
def test_libraries_never_print_what_they_carry(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Even at debug no record, no frame and no address of a call is logged: they name persons. Their warnings are."""
    configure("debug", "json")
    structlog.get_logger("worker").debug("ours")
    logging.getLogger(name).debug("Response from %s: %s", "broker", {"firstName": "Jane"})
    logging.getLogger(name).info("GET /user/find?name=jane77")
    logging.getLogger(name).warning("lost")
    assert [line["event"] for line in lines(capsys)] == ["ours", "lost"]


def test_bound_ids_are_on_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Ids that are bound once stand on our lines and on the libraries'."""
    configure("info", "json")
    with structlog.contextvars.bound_contextvars(flow_id="f-1"):
        structlog.get_logger().info("flow.planned")
        logging.getLogger("somelib").warning("x")
    assert [line["flow_id"] for line in lines(capsys)] == ["f-1", "f-1"]


def test_levels_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines below the level are not written, and libraries that chatter are held at warning."""
    configure("info", "json")
    structlog.get_logger().debug("hidden")
    logging.getLogger("httpx").info("HTTP Request: POST …")
    logging.getLogger("aiokafka.consumer").info("polled")
    assert lines(capsys) == []


def test_configuring_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    """Logging that is set up twice writes each line once."""
    log = structlog.get_logger()
    configure("error", "json")
    configure("info", "json")
    log.info("once")
    assert [line["event"] for line in lines(capsys)] == ["once"]


def test_console_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """The console format is readable, and has no colours where there is no terminal."""
    configure("info", "console")
    structlog.get_logger().info("flow.ended", flow_id="f-1")
    written = capsys.readouterr().err
    assert "flow.ended" in written
    assert "flow_id=f-1" in written
    assert "\x1b[" not in written


def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception is logged with its place, without the values that were around it."""
    for kind in ("json", "console"):
        configure("info", kind)
        try:
            _fail(f"{'jane'}@example.com")  # the line itself is in the traceback
        except RuntimeError:
            structlog.get_logger().exception("step.failed")
        written = capsys.readouterr().err
        assert "no luck" in written
        assert "jane@example.com" not in written


def test_warnings_are_lines_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """A library's warning is a line like any other."""
    configure("info", "json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "old" in str(lines(capsys)[0]["event"])


@pytest.mark.parametrize(
    "field",
    ["password", "TRADOVATE_PASSWORD", "accessToken", "Authorization", "secret_key", "sec", "p-ticket"],
)
def test_fields_called_like_secrets_are_hidden(field: str) -> None:
    """A field that is called like a secret is hidden at any depth."""
    event = redact(None, "info", {"event": "x", field: "hunter2", "body": {"list": [{field: "hunter2"}]}})
    assert "hunter2" not in repr(event)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hunter2",
        '{"name": "acme", "password": "hunter2"}',
        "{'accessToken': 'hunter2'}",
        "POST /v1/x?access_token=hunter2&y=1",
        "authorize\n1\n\nhunter2",
        "could not connect to postgresql://worker:hunter2@db/ledger",
        "password=hunter2",
    ],
)
def test_texts_lose_their_secrets(text: str) -> None:
    """A secret inside a text, ours or a library's, is hidden."""
    event = redact(None, "info", {"event": text, "detail": text, "error": RuntimeError(text)})
    assert "hunter2" not in str(event)


def test_numbers_about_secrets_stay() -> None:
    """How long a token lives may be logged; the token may not, in whatever type."""
    event = redact(None, "info", {"token_seconds_left": 17, "token": SecretStr("x"), "held": [SecretStr("hunter2")]})
    assert event["token_seconds_left"] == 17
    assert event["token"] == HIDDEN
    assert "hunter2" not in str(event)


def test_ordinary_texts_are_left_alone() -> None:
    """Sentences that only speak of tokens and secrets stay as they are."""
    text = "the token is renewed 15 minutes before its end; flow f-1 took 3 calls to https://host/v1/user/find"
    assert redact(None, "info", {"event": text})["event"] == text


@example({"surrogate": "\udcff", "odd": object(), "big": 1 << 200, "nested": {1: {"b": b"\xff"}}})
@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.binary() | st.lists(st.text())))
@settings(max_examples=50)
def test_no_value_breaks_a_line(fields: dict[str, object]) -> None:
    """Whatever is logged, lone surrogates and odd types included, the line is one line of JSON."""
    configure("info", "json")
    record = logging.LogRecord("x", logging.INFO, "f", 1, "event", None, None)
    record.fields = fields
    written = logging.getLogger().handlers[0].format(record)
    assert json.loads(written)["event"] == "event"
    assert "\n" not in written
