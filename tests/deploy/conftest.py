"""Tools that Python does not bring: without one its tests skip, and it is said aloud; with CI=true they fail."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.spine import ledger_template, ledgers, stage

__all__ = ["ledger_template", "ledgers", "stage"]

_LACKING = pytest.StashKey[list[str]]()


@pytest.fixture
def promtool(request: pytest.FixtureRequest) -> str:
    """Prometheus' own checker."""
    found = shutil.which("promtool")
    if found is None:
        lacks(request, "promtool was not found: alerts were not checked (Debian: apt-get install prometheus)")
    assert found is not None
    return found


@pytest.fixture
def hadolint(request: pytest.FixtureRequest) -> Path:
    """The Dockerfile's linter, out of its wheel."""
    found = Path(sys.executable).with_name("hadolint")
    if not found.exists():
        lacks(request, "hadolint has no wheel for this machine: the Dockerfile was not linted")
    return found


def lacks(request: pytest.FixtureRequest, reason: str) -> None:
    """Skips the test, and has it said at the end."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; with CI=true this is never skipped")
    request.config.stash.setdefault(_LACKING, []).append(reason)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was skipped is said aloud, not only counted."""
    lacking: list[str] = config.stash.get(_LACKING, [])
    for reason in sorted(set(lacking)):
        terminalreporter.write_sep("!", reason, red=True, bold=True)
