"""What commands print where there is no terminal: JSON is UTF-8."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from io import BytesIO, TextIOWrapper

import orjson
import pytest

from worker.cli._outcome_reader import OutcomeArrival
from worker.cli._output import print_json
from worker.cli.reconcile import print_differences
from worker.cli.watch import WireJson
from worker.ledger.differences import Difference, Kind

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
