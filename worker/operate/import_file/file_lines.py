"""Lines out of a file as people have them: CSV of any spreadsheet, or JSON Lines. One line at a time is in memory."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any, BinaryIO, cast

from worker.engine.imported import Given
from worker.errors import OperatorError
from worker.operate.import_file.values import COLUMNS, Fraction, given_of

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

LONGEST = 1 << 20
"""Characters of a line. A file without line ends is never whole in memory."""

_WIDE = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"))

_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b")
"""How files of spreadsheet programs, and archives, begin: .xlsx and .ods, .xls, gzip."""

_HINT = f"the columns are {', '.join(COLUMNS)}"


class FileFault(Enum):
    """Why a file cannot be imported, for an operator."""

    WORKBOOK = "The file is a workbook or an archive: save it as CSV UTF-8, and import that."
    NOT_TEXT = "The file is no text in UTF-8, or in UTF-16 with a byte order mark: save it as CSV UTF-8."
    ARRAY = "The file is one JSON array; give one object a line: `jq -c '.[]' FILE`."
    SPREAD = "The file has JSON objects of several lines; give one object a line: `jq -c . FILE`."
    EMPTY = "The file is empty; {hint}."
    NO_COLUMNS = "The first line names no column that is known; {hint}."
    COLUMN_TWICE = "The column {column} is there twice."
    COLUMNS_MISSING = (
        "The file needs the columns traderId, and userId or userName; {hint}, separated by commas, semicolons, tabs or"
        " bars."
    )
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
    shown = begins.decode(encoding, errors="ignore")
    if begins.startswith(_WORKBOOKS):
        raise ImportFileRefused(FileFault.WORKBOOK)
    controls = sum(letter < " " and letter not in "\t\r\n" for letter in shown)
    if begins.startswith(codecs.BOM_UTF32_LE) or controls * 20 > len(shown):  # of what is compressed it is a fifth
        raise ImportFileRefused(FileFault.NOT_TEXT)
    first = shown.lstrip("\ufeff \t\r\n")[:1]
    if first == "[":
        raise ImportFileRefused(FileFault.ARRAY)
    # Of UTF-16 a byte that is missing cannot be kept as it is.
    errors = "replace" if encoding == "utf-16" else "surrogateescape"
    text = io.TextIOWrapper(buffered, encoding, errors=errors, newline="")
    found = _json_lines(_TextLines(text), note) if first == "{" else _table(_TextLines(text), note)
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
    # A byte that is no UTF-8 was read as half a surrogate pair, which no file of text can hold.
    return value.strip().encode("utf-8", "replace").decode() if isinstance(value, str) else None


class _TextLines:
    """Lines of a file, none longer than `LONGEST`. `count`: how many were read; `cut`: the last one that was longer."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.count = 0
        self.cut = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LONGEST)
        if not line:
            raise StopIteration
        self.count += 1
        more = line
        while len(more) == LONGEST and more[-1] not in "\r\n":
            self.cut = self.count
            more = self._text.readline(LONGEST)
        return f"{line}\n" if self.cut == self.count else line


_TOO_LONG = f"The line is longer than {LONGEST:,} characters."


# CSV


def _table(text: _TextLines, note: Callable[[str], None]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    head = next((line for line in text if line.strip()), None)
    if head is None:
        raise ImportFileRefused(FileFault.EMPTY)
    delimiter = None
    if head.strip().lower().startswith("sep=") and len(head.strip()) == len("sep=;"):
        delimiter, head = head.strip()[-1], next(text, "")
    delimiter = delimiter or max(DELIMITERS, key=lambda each: sum(map(bool, _columns(_cells(head, each)))))
    cells = _cells(head, delimiter)
    columns = _header(cells, note)
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        number = text.count + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if text.count == number:  # the next line begins as if this one had not been there
                yield number, f"A cell is longer than {csv.field_size_limit():,} characters."
                continue
            raise ImportFileRefused(FileFault.BROKEN, line=number, reason=str(error)) from None
        if text.cut >= number:
            yield number, _TOO_LONG
        elif wrong := _wrong_cells(row, cells, delimiter):
            yield number, wrong
        elif any(cell.strip() for cell in row):
            yield number, {name: cell for name, cell in zip(columns, row, strict=False) if name is not None}


def _wrong_cells(row: Sequence[str], head: Sequence[str], delimiter: str) -> str | None:
    """Why the cells of a line are not those that the first line names."""
    if len(row) > len(head) and any(cell.strip() for cell in row[len(head) :]):
        return f"The line has {len(row)} cells, and the first line names {len(head)} columns."
    if len(row) == 1 and any(other in row[0] for other in DELIMITERS if other != delimiter):
        how = DELIMITERS.get(delimiter, repr(delimiter))
        return f"The line is one cell: its cells are not separated by {how}, as those of the first line are."
    return None


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
    # Other columns do no harm, unless one was meant to be known.
    others = [cell for cell, name in zip(cells, columns, strict=True) if name is None]
    if (near := _nearest(others, named)) is not None:
        raise ImportFileRefused(FileFault.COLUMN_MISSPELT, column=near[0], meant=near[1])
    if "traderId" not in named or not {"userId", "userName"} & set(named):
        raise ImportFileRefused(FileFault.COLUMNS_MISSING)
    if unused := [cell.strip() for cell in others if cell.strip()]:
        note(f"Columns that are not used: {', '.join(unused)}.")
    return columns


def _nearest(others: Iterable[str], named: Container[str]) -> tuple[str, str] | None:
    """The first of the names that looks like a known one which is not there, and that one."""
    missing = {_folded(name): name for name in COLUMNS if name not in named}
    for name in others:
        if near := get_close_matches(_folded(name), missing, n=1, cutoff=0.8):
            return name.strip(), missing[near[0]]
    return None


# JSON Lines


def _json_lines(text: _TextLines, note: Callable[[str], None]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    noted: set[str] = set()
    for line in text:
        if not line.strip():
            continue
        if text.cut == text.count:
            yield text.count, _TOO_LONG
            continue
        try:
            values = json.loads(line.lstrip("\ufeff"), parse_float=Fraction)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict):
            yield text.count, _fields(values, noted, note)
        elif line.strip() == "{":
            raise ImportFileRefused(FileFault.SPREAD)
        else:
            yield text.count, "The line is no JSON object."


def _fields(values: Mapping[str, Any], noted: set[str], note: Callable[[str], None]) -> Mapping[str, Any] | str:
    """The values by column; a text: why there are none. Names may be written as people write those of a table."""
    found: dict[str, Any] = {}
    others: list[str] = []
    for name, value in values.items():
        column = _KNOWN.get(_folded(name))
        if column is None:
            others.append(name)
        elif column in found:
            return f"The field {column} is there twice."
        else:
            found[column] = value
    if (near := _nearest(others, found)) is not None:
        return f'There is no field "{near[0]}"; did you mean {near[1]}?'
    if len(noted) < _MOST_NOTED and (new := [name for name in others if name not in noted]):
        noted.update(new)
        note(f"Fields that are not used: {', '.join(name.strip() for name in new)}.")
    return found


_MOST_NOTED = 1000
"""Names of fields that are remembered as noted: a file with more of them has values for names."""
