"""`flows export`: lines as CSV that a spreadsheet may open, or as JSON Lines."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from schemas.times import Clock
from worker.cli._output import printable
from worker.ledger.audit import Line

__all__ = ["COLUMNS", "Format", "LineWriter"]


class Format(StrEnum):
    """How lines are written."""

    CSV = "csv"
    JSONL = "jsonl"


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.capitalize() for each in others)


COLUMNS = tuple(_camel(name) for name in Line._fields)
"""The columns, in their order: it never changes, and new ones come last."""

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula. Tabs and line ends, which do too, are written as escapes."""


class LineWriter:
    """Writes lines to standard output, as UTF-8 whatever the terminal's encoding is."""

    def __init__(self, form: Format, clock: Clock, *, bom: bool = False) -> None:
        self._form, self._clock = form, clock
        self._text = io.StringIO()
        self._csv = csv.writer(self._text, lineterminator="\n")
        self._out = sys.stdout.buffer
        if form is Format.CSV:
            self._csv.writerow(COLUMNS)
            self._out.write((b"\xef\xbb\xbf" if bom else b"") + self._written())

    def __call__(self, lines: Sequence[Line]) -> None:
        """Writes these."""
        if self._form is Format.CSV:
            self._csv.writerows([[self._cell(value) for value in line] for line in lines])
            self._out.write(self._written())
        else:
            self._out.writelines(orjson.dumps(self._json(line)) + b"\n" for line in lines)
        self._out.flush()

    def _written(self) -> bytes:
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return text.encode("utf-8", "replace")

    def _cell(self, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            text = value if value.isprintable() else printable(value)
            return f"'{text}" if text.startswith(_FORMULA) else text
        if isinstance(value, datetime):
            return self._clock(value)
        return " ".join(value) if isinstance(value, list) else str(value)

    def _json(self, line: Line) -> dict[str, Any]:
        values = (self._clock(value) if isinstance(value, datetime) else value for value in line)
        return dict(zip(COLUMNS, values, strict=True))
