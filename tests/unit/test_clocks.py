"""Decisions do not use this machine's clock (README, "What happens when"): it may be wrong, and may jump."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import schemas
import worker
from worker.ledger.clock import DatabaseClock

WORKER = Path(worker.__file__).parent
SCHEMAS = Path(schemas.__file__).parent

ALLOWED = {
    "operate/doctor/ledger_check.py": "compares this machine's clock with the database's, and says so when they differ",
    "cli/demo/__init__.py": "the day that is written into a sample event",
    "operate/console/guard.py": "the end of a signed cookie, which other replicas and a restart must understand: a"
    " wrong clock makes a session of twelve hours longer or shorter by as much",
    "operate/console/live.py": "the same cookie",
    "telemetry/spans.py": "the times of spans, which are shown beside those of other programs",
}
"""Files that may read this machine's clock, and why no decision about a flow, a call or a session depends on it."""

_OF_DATETIME = {"now", "utcnow", "today"}
_OF_TIME = {"time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "asctime", "clock_gettime"}


def _readers() -> Iterator[tuple[str, str]]:
    """Files of the worker that may read this machine's clock, and how. The sandbox is the partner: it has its own."""
    for home, paths in ((WORKER, WORKER.rglob("*.py")), (SCHEMAS.parent, SCHEMAS.rglob("*.py"))):
        for path in sorted(paths):
            name = str(path.relative_to(home))
            if name.startswith("sandbox/"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    owner, word = node.value.id, node.attr
                    words = {"datetime": _OF_DATETIME, "date": _OF_DATETIME, "time": _OF_TIME}.get(owner, set())
                    if word in words:
                        yield name, f"{owner}.{word}"
                elif isinstance(node, ast.ImportFrom) and node.module == "time":
                    for each in node.names:
                        if each.name in _OF_TIME:
                            yield name, f"from time import {each.name}"


def test_this_machines_clock_is_read_where_a_reason_says_so_alone() -> None:
    """Code that needs the time asks the ledger (`ledger/clock.py`); durations are measured by the monotonic clock."""
    found = dict(_readers())
    assert {name: how for name, how in found.items() if name not in ALLOWED} == {}
    assert set(ALLOWED) <= set(found), "an exception that nobody needs any more"


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(-7200, 7200), st.floats(0, 100)), min_size=1, max_size=10),
)
def test_the_ledgers_clock_follows_the_last_time_that_it_read(tellings: list[tuple[float, float, float]]) -> None:
    """Whatever time the database returns: the clock gives the last one plus what has passed here since."""
    seconds = 0.0
    clock = DatabaseClock(monotonic=lambda: seconds)
    reported = datetime(2026, 11, 20, 12, tzinfo=UTC)
    for before, jump, after in tellings:
        seconds += before
        reported += timedelta(seconds=jump)
        clock.set(reported)
        seconds += after
        assert abs((clock.now() - reported).total_seconds() - after) < 1e-3
