"""One form of time for all readers: no file has a form of its own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import worker
from schemas.times import utc_text
from worker.operate.console.display import when

WORKER = Path(worker.__file__).parent

_OWN_FORM = re.compile(r"strftime|%H|%M|%Y|(?<!from)isoformat\(")

_KEPT = {
    "operate/console/display.py": "the marks of the chart's axis, which says that it is UTC",
    "cli/demo/__init__.py": "a trade date",
    "engine/steps/written.py": "a step's history, which its reader parses",
    "engine/flows/left.py": "the day of a renewal, in a warning",
    "engine/flows/reset.py": "a trade date",
}
"""Files that write a time for a program to parse, or no time that a person reads."""


def test_no_file_has_a_form_of_time_of_its_own() -> None:
    """Whatever console, commands, health and doctor show is written by `utc_text` or `local_text`."""
    found = {
        str(path.relative_to(WORKER))
        for path in (*WORKER.rglob("*.py"), *WORKER.rglob("*.html"))
        if "sandbox" not in path.parts and _OWN_FORM.search(path.read_text())
    }
    assert found <= set(_KEPT), f"write times by schemas.times: {found - set(_KEPT)}"
    assert found == set(_KEPT)


def test_the_console_writes_times_as_outcomes_have_them() -> None:
    """What stands on a page is found again in a record, a log line or an export as it is."""
    at = datetime(2026, 11, 20, 12, 5, 0, 7000, tzinfo=UTC)
    assert when(at) == utc_text(at) == "2026-11-20T12:05:00.007Z"
