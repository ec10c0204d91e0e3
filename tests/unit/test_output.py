"""What commands print where there is no terminal: JSON is UTF-8, and nothing is left out."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from io import BytesIO, TextIOWrapper

import orjson
import pytest

from tests.unit.test_browse_timeline import FLOW
from worker.cli._outcome_reader import OutcomeArrival
from worker.cli._output import print_json
from worker.cli._rebuild import report
from worker.cli.reconcile import print_differences
from worker.cli.watch import WireJson
from worker.ledger.differences import Difference, Kind
from worker.operate.flow_reading import named
from worker.operate.from_outcomes import OutcomesRead

NAMES = "é 😀 →"
"""Letters that Latin-1 has, and such as it lacks."""


async def differing() -> AsyncIterator[Difference]:
    yield Difference(Kind.UNSIGNED, NAMES)


def reconciled() -> None:
    asyncio.run(print_differences(differing()))


def watched() -> None:
    value = orjson.dumps({"errorText": NAMES})
    WireJson().add(OutcomeArrival("md.signed.outcome", 0, 0, value, orjson.loads(value), {}), orjson.loads(value))


@pytest.mark.parametrize("shown", [lambda: print_json([NAMES]), reconciled, watched])
def test_json_is_utf_8_in_every_encoding(monkeypatch: pytest.MonkeyPatch, shown: Callable[[], None]) -> None:
    """JSON goes out as UTF-8 whatever the encoding of standard output is, after what was printed before it."""
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, "latin-1", errors="backslashreplace"))
    sys.stdout.write("0\n")
    shown()
    sys.stdout.flush()
    first, _, rest = written.getvalue().decode("utf-8").partition("\n")
    assert first == "0"
    assert NAMES in rest
    assert json.loads(rest)


def test_every_event_and_flow_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """However many there are: events that are to be read again after a rebuild, and flows that one id means."""
    report(OutcomesRead(pending={("md.signed", f"e-{number}"): None for number in range(50)}), dry_run=True)
    assert capsys.readouterr().err.count("has no final outcome") == 50
    assert named([replace(FLOW, event_id=f"e-{number}") for number in range(50)]).count("event e-") == 50
