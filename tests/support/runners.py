"""How many runners share a run of the tests, and who gets which test."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

__all__ = ["TOGETHER", "OneByOne", "runners_for", "slow_first"]

_PER_CORE = 3
"""Most of what a test does is wait for leases, brokers and processes: with two, a third of the processors was idle."""

_MOST = 8
"""Each runner has a PostgreSQL and a browser of its own."""

TOGETHER = (
    "tests/browser/test_console.py",
    "tests/deploy/test_image.py",
    "tests/integration/test_browse.py",
    "tests/integration/test_plans.py",
    "tests/schemas/test_types.py",
)
"""Files whose tests share something that takes long to make: one runner gets all of a file."""


def runners_for(arguments: Sequence[str], *, selected: bool, cores: int | None = None) -> int:
    """How many runners these arguments of pytest deserve; 0: the tests run in pytest's own process.

    A runner needs some seconds to start and to collect, which a few files are not worth. `selected`: whether an option
    picks some of the tests.
    """
    files = {argument.partition("::")[0] for argument in arguments}
    if selected or (len(files) <= 2 and all(file.endswith(".py") for file in files)):
        return 0
    return min(_MOST, _PER_CORE * (cores or os.cpu_count() or 1))


class OneByOne(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist ships no types
    """The runner that is free gets the next test, so that no long file holds back the end of the run."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in TOGETHER else nodeid


def slow_first(items: list[pytest.Item]) -> None:
    """Tests that take long come first, so that none of them begins when the other runners have nothing left to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
