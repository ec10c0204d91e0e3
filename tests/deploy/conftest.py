"""Tools that Python does not bring: without one its tests skip, and it is said aloud; with CI=true they fail."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.lacking import lacks
from tests.support.spine import stage

__all__ = ["stage"]


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
