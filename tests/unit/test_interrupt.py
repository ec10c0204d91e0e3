"""How a command is ended from outside, and what it does without its standard streams."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from worker._interrupt import terminated_as_interrupted
from worker.cli._output import continued
from worker.cli._wait_report import WaitReport
from worker.cli.main import main


@pytest.fixture
def ctrl_c_heard() -> Iterator[None]:
    """As on a terminal, also where the tests run as a background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_sigterm_ends_a_command_as_ctrl_c_does(ctrl_c_heard: None) -> None:
    """An orchestrator's SIGTERM is an interruption, after which the process has its own handler again; where Ctrl-C is
    not heard it keeps its usual meaning.
    """
    with pytest.raises(KeyboardInterrupt), terminated_as_interrupted():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with terminated_as_interrupted():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_may_be_continued_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """After Ctrl-C an operator learns that nothing is lost."""
    with pytest.raises(KeyboardInterrupt), continued():
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "Interrupted: the same command continues.\n"


def test_a_wait_is_said_once_however_often_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    """Half a minute later it is said again, and another reason at once; that it goes on only after what was said."""
    now = 0.0
    report = WaitReport(lambda: now)
    for now, why in ((1, "a, until 1"), (1, None), (2, "a, until 2"), (2, None), (3, "b"), (40, None), (41, "b")):  # noqa: B007
        report(why)
    assert capsys.readouterr().err.splitlines() == [
        "Waits: a, until 1.",
        "Goes on.",
        "Waits: b.",
        "Goes on.",
        "Waits: b.",
    ]


def test_a_closed_stream_takes_and_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`<&-`, `>&-` and `2>&-` are no traceback."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["send", "trader.failed"]) == 1  # nothing comes from its input
    assert main(["--help"]) == 0
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()
