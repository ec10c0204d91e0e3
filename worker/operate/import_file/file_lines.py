"""Lines out of a file as people have them: CSV of any spreadsheet, or JSON Lines. One line at a time is in memory."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any, BinaryIO, cast

from worker.engine.imported import Given
from worker.errors import OperatorError
from worker.operate.import_file.values import COLUMNS, Fraction, given_of

DELIMITERS = ",;\t|"

_WIDE = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"))

_HINT = f"the columns are {', '.join(COLUMNS)}"


class FileFault(Enum):
    """Why a file cannot be imported, for an operator."""

    ARRAY = "The file is one JSON array; give one object a line: `jq -c '.[]' FILE`."
    EMPTY = "The file is empty; its first line must name the columns: {hint}."
    NO_COLUMNS = "The first line names no column that is known; {hint}."
    COLUMN_TWICE = "The column {column} is there twice."
    COLUMNS_MISSING = "The file needs the columns traderId, and userId or userName; {hint}."
    COLUMN_MISSPELT = 'There is no column "{column}"; did you mean {meant}?'
    BROKEN = (
        "Line {line} and what follows cannot be read ({reason}): a quote may not be closed. The lines before it are"
        " done."
    )


class ImportFileRefused(OperatorError):
    """The file cannot be read, or not from here on. What was done stands.

    `column`: the one that is wrong; `meant`: a known one; `line`: from 1; `reason`: the parser's.
    """

    def __init__(self, fault: FileFault, *, column: str = "", meant: str = "", line: int = 0, reason: str = "") -> None:
        super().__init__(fault.name)
        self.fault = fault
        self.column = column
        self.meant = meant
        self.line = line
        self.reason = reason
        self.code = 1 if fault is FileFault.BROKEN else 2

    @property
    def sentence(self) -> str:
        """For an operator."""
        return self.fault.value.format(
            hint=_HINT, column=self.column, meant=self.meant, line=self.line, reason=self.reason
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that is not imported, and why."""

    number: int
    sentence: str
    trader_id: str | None = None
    order_id: str | None = None


Line = Given | Refused


def lines(
    stream: BinaryIO, account_name: Callable[[str], str], note: Callable[[str], None]
) -> Generator[Line, None, None]:
    """The lines of a file; `note` gets what an operator should know of it. Raises `ImportFileRefused`."""
    begins, buffered = _begins(stream)
    encoding = next((name for mark, name in _WIDE if begins.startswith(mark)), "utf-8")
    first = begins.decode(encoding, errors="ignore").lstrip("\ufeff \t\r\n")[:1]
    if first == "[":
        raise ImportFileRefused(FileFault.ARRAY)
    text = io.TextIOWrapper(buffered, encoding, errors="surrogateescape", newline="")
    found = _json_lines(text, note) if first == "{" else _table(text, note)
    try:
        for number, values in found:
            if isinstance(values, str):
                yield Refused(number, values)
                continue
            given = given_of(number, values, account_name)
            if isinstance(given, Given):
                yield given
            else:
                yield Refused(number, given, _shown(values.get("traderId")), _shown(values.get("orderId")))
    finally:
        text.detach()  # the stream stays its owner's


def _begins(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", stream))
    return bytes(buffered.peek(4096)[:4096]), buffered


def _shown(value: Any) -> str | None:
    return value.strip()[:128] if isinstance(value, str) else None


# CSV


def _table(text: io.TextIOWrapper, note: Callable[[str], None]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    head, before = "", 0
    for head in text:
        before += 1
        if head.strip():
            break
    else:
        raise ImportFileRefused(FileFault.EMPTY)
    delimiter = None
    if head.strip().lower().startswith("sep=") and len(head.strip()) == len("sep=;"):
        delimiter, head, before = head.strip()[-1], next(text, ""), before + 1
    delimiter = delimiter or max(DELIMITERS, key=lambda each: sum(map(bool, _columns(_cells(head, each)))))
    cells = _cells(head, delimiter)
    columns = _header(cells, note)
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        number = before + reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ImportFileRefused(FileFault.BROKEN, line=number, reason=str(error)) from None
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(cells) and any(cell.strip() for cell in row[len(cells) :]):
            yield number, f"The line has {len(row)} cells, and the first line names {len(cells)} columns."
            continue
        yield number, {name: cell for name, cell in zip(columns, row, strict=False) if name is not None}


def _cells(head: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([head], delimiter=delimiter), [])
    except csv.Error:
        return []


def _folded(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


_KNOWN = {_folded(name): name for name in COLUMNS}


def _columns(cells: Sequence[str]) -> list[str | None]:
    return [_KNOWN.get(_folded(cell)) for cell in cells]


def _header(cells: Sequence[str], note: Callable[[str], None]) -> list[str | None]:
    columns = _columns(cells)
    named = [name for name in columns if name is not None]
    if not named:
        raise ImportFileRefused(FileFault.NO_COLUMNS)
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise ImportFileRefused(FileFault.COLUMN_TWICE, column=twice)
    _misspelt([cell for cell, name in zip(cells, columns, strict=True) if name is None], named, note)
    if "traderId" not in named or not {"userId", "userName"} & set(named):
        raise ImportFileRefused(FileFault.COLUMNS_MISSING)
    return columns


def _misspelt(others: Sequence[str], named: Sequence[str], note: Callable[[str], None]) -> None:
    """Other columns do no harm, unless one was meant to be known."""
    missing = {_folded(name): name for name in COLUMNS if name not in named}
    for cell in others:
        if near := get_close_matches(_folded(cell), missing, n=1, cutoff=0.8):
            raise ImportFileRefused(FileFault.COLUMN_MISSPELT, column=cell.strip()[:40], meant=missing[near[0]])
    if unused := [cell.strip()[:40] for cell in others if cell.strip()]:
        note(f"Columns that are not used: {', '.join(unused)}.")


# JSON Lines


def _json_lines(text: io.TextIOWrapper, note: Callable[[str], None]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    seen: set[str] = set(COLUMNS)
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line.lstrip("\ufeff"), parse_float=Fraction)
        except (ValueError, RecursionError):
            yield number, "The line is no JSON object."
            continue
        if not isinstance(values, dict):
            yield number, "The line is no JSON object."
            continue
        if len(seen) < 1000 and (others := [name for name in values if name not in seen]):
            seen.update(others)
            _misspelt(others, [name for name in COLUMNS if name in values], note)
        yield number, values
