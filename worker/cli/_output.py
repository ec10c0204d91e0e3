"""What commands print: tables and lines, with colours on a terminal, and on a pipe never cut, wrapped or coloured."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

_ENDLESS = 100_000
"""Columns of what is no terminal: nothing is ever wrapped."""


def console(stream: TextIO | None = None) -> Console:
    """A console that takes text as it is: no markup, no guessing what might be a number."""
    stream = stream or sys.stdout
    terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=terminal,  # FORCE_COLOR and the like are about other programs' pipes
        color_system="auto" if terminal else None,
        width=None if terminal else _ENDLESS,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=not terminal,
    )


def printable(value: object) -> str:
    """A value as text on one line, with nothing in it that a terminal would obey."""
    text = "" if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Prints rows under the names of their columns; `empty` when there are none."""
    cells = [[printable(value) for value in row] for row in rows]
    if not cells:
        print(empty)
    elif sys.stdout.isatty():
        shown = Table(box=None, header_style="bold", pad_edge=False)
        for name in columns:
            shown.add_column(name, overflow="fold")
        for row in cells:
            shown.add_row(*(Text(cell) for cell in row))
        console().print(shown)
    else:
        for line in aligned(columns, cells):
            print(line)


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The names of the columns in capitals and the rows, each column as wide as its widest cell."""
    names = [name.upper() for name in columns]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (names, *rows)
    ]


def reader_has_gone(error: BaseException) -> bool:
    """Whether `error` says no more than that the reader of standard output has seen enough (`| head`)."""
    if isinstance(error, SystemExit):  # what typer makes of a broken pipe
        return isinstance(error.__context__, BrokenPipeError) and _has_no_reader(sys.stdout)
    return isinstance(error, BrokenPipeError) and _has_no_reader(sys.stdout)


def end_streams() -> None:
    """Writes what is buffered. What cannot be written (no reader, a full disk) is dropped: else Python would try again
    when the program ends, and end it with a code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # ValueError: it is closed
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def _has_no_reader(stream: TextIO) -> bool:
    try:
        watch = select.poll()
        watch.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in watch.poll(0))
    except (OSError, ValueError):  # it is no file
        return False


def warn(sentence: str) -> None:
    """A note beside the output, on standard error, in one line."""
    print(" ".join(sentence.split()), file=sys.stderr)


@contextmanager
def continued() -> Iterator[None]:
    """For work that may be interrupted at any moment: what the same command does then is said on standard error."""
    try:
        yield
    except KeyboardInterrupt:
        warn("Interrupted: the same command continues.")
        raise


def print_json(value: Any) -> None:
    """Prints one JSON document, indented for an operator, readable by a program."""
    write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")


def write(data: bytes) -> None:
    """Writes to standard output as it is. JSON is UTF-8 whatever the terminal's encoding is, which may lack letters."""
    sys.stdout.flush()  # what was printed before comes before
    sys.stdout.buffer.write(data)
