"""Tools that a machine may lack: their tests skip, and it is said aloud; with CI=true they fail."""

from __future__ import annotations

import os

import pytest

_REASONS = pytest.StashKey[set[str]]()


def lacks(request: pytest.FixtureRequest, reason: str) -> None:
    """Skips the test, for a reason that says what did not run and its fix."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; with CI=true this is never skipped")
    request.config.stash.setdefault(_REASONS, set()).add(reason)
    pytest.skip(reason)


def tell(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was skipped is said at the end, not only counted."""
    reasons: set[str] = config.stash.get(_REASONS, set())
    for reason in sorted(reasons):
        terminalreporter.write_sep("!", reason, red=True, bold=True)
