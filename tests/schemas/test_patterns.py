"""A pattern means one thing to every reader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import StringConstraints, TypeAdapter

from schemas.rules import FORMS
from schemas.texts import ACCOUNT_NAME, EMAIL, NATIONAL_ID, US_TAX_ID
from schemas.times import DATE, TIME, UTC_TIME
from tests.support.node import run_script

_CHARACTERS = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000] + ["\U00020bb7", "\U0001f600"]
_BEGUN = {
    ACCOUNT_NAME.pattern: "EVAL",
    EMAIL.pattern: "jane@example",
    NATIONAL_ID.pattern: "A",
    US_TAX_ID.pattern: "12345678",
    DATE.pattern: "2026-11-2",
    TIME.pattern: "2026-11-20T23:00:00.0",
    UTC_TIME.pattern: "2026-11-20T23:00:00.000",
}
"""What one more character decides about."""


@pytest.mark.usefixtures("node")
def test_every_character_is_read_alike(tmp_path: Path) -> None:
    """Rust (intake), Python and ECMAScript, with and without the flag u, find the same characters in each pattern."""
    asked = [(pattern, ["", _BEGUN.get(pattern, "A")]) for pattern in FORMS]
    found = run_script("patterns.mjs", workplace=tmp_path, stdin=json.dumps([asked, _CHARACTERS]))
    for (pattern, begun), by_script in zip(asked, found, strict=True):
        texts = [start + character for start in begun for character in _CHARACTERS]
        # Not `search`: Python's `$` matches before a line break as well, which the schemas exclude a second time.
        read = re.compile(pattern).fullmatch
        by_python = "".join("01"[read(text) is not None] for text in texts)
        rust = TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)]).validator.isinstance_python
        assert "".join("01"[rust(text)] for text in texts) == by_python, pattern
        assert by_script == {"u": by_python, "plain": by_python}, pattern
