"""`import`: what the firm has at Tradovate already, out of a file into the ledger."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from worker import _forms as forms
from worker.cli._app import example, group
from worker.cli._errors import FileMissing, FileUnusable, FileUse, OptionFault, OptionRefused
from worker.cli._note import By, name_from
from worker.cli._output import continued, warn
from worker.cli._progress import progress
from worker.cli._rebuild import RebuildSettings, rebuild
from worker.cli._wait_report import WaitReport
from worker.engine.flows.names import account_name
from worker.ledger.imports import Imports
from worker.operate.import_file.checking import Checks
from worker.operate.import_file.file_lines import Line, Refused, lines
from worker.operate.import_file.running import Counts, Run, rehearsing
from worker.operate.operator_note import one_line
from worker.settings import load
from worker.wiring.partner_reads import ReadingSettings, partner_reader

app = group()

_STDIN = Path("-")

Write = Callable[[Sequence[object]], object]
"""Writes a row of the report."""

_EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""


class ImportSettings(ReadingSettings):
    """What `import` uses: the ledger, Tradovate, and the prefix of names that follow from orders."""

    tradovate_account_prefix: forms.AccountPrefix = "EVAL"


@app.command(
    epilog=example(
        "tradovate-worker import traders.csv --dry-run",
        "tradovate-worker import traders.csv --report refused.csv",
        "psql -qtA -f traders.sql | tradovate-worker import -",
        "tradovate-worker import --from-outcomes",
    )
)
def import_(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="CSV with a header, or JSON Lines; - is standard input."),
    ] = None,
    *,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write the refused lines there too, as CSV.", show_default=False),
    ] = None,
    from_outcomes: Annotated[
        bool, typer.Option("--from-outcomes", help="In place of a file: rebuild a lost ledger from the outcome topics.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and write nothing.")] = False,
    by: By = None,
) -> int:
    """Load traders and accounts that exist at Tradovate, so that this worker continues with them.

    One trader or account a line: traderId; userId or userName; orderId, accountId or accountName, purchasedAt if
    there are any. What is right goes into the ledger as if this worker had created it; what Tradovate says otherwise
    is reported by line, with exit code 1. It may be interrupted: the same command continues.
    """
    if from_outcomes:
        if file is not None or report is not None:
            raise OptionRefused("--from-outcomes", OptionFault.NO_FILES)
        rebuilding = load(RebuildSettings)
        with continued():
            return asyncio.run(rebuild(rebuilding, by=name_from(by), dry_run=dry_run))
    if file is None:
        raise FileMissing("traders")
    settings = load(ImportSettings)
    with ExitStack() as stack:
        stream, total = _opened(file, stack)
        if report is not None and _is_same(stream, report):
            raise OptionRefused("--report", OptionFault.SAME_FILE)
        write = None if report is None else _report(report, stack)
        source = ImportSource("standard input" if file == _STDIN else file.name, stream, total)
        with continued():
            return asyncio.run(import_lines(settings, source, name_from(by), write, dry_run=dry_run))


def _opened(file: Path, stack: ExitStack) -> tuple[BinaryIO, int | None]:
    """The file, and how many lines it has, if that can be seen."""
    if file == _STDIN:
        if sys.stdin.isatty():
            raise FileMissing("traders")
        return sys.stdin.buffer, None
    try:
        stream = stack.enter_context(file.open("rb"))
        total = (
            sum(part.count(b"\n") for part in iter(lambda: stream.read(1 << 20), b"")) if stream.seekable() else None
        )
        if total is not None:
            stream.seek(0)
    except OSError as error:
        raise FileUnusable(file, error, FileUse.TRADERS) from None
    return stream, total


def _is_same(stream: BinaryIO, report: Path) -> bool:
    try:
        read = os.fstat(stream.fileno())
        return stat.S_ISREG(read.st_mode) and os.path.samestat(read, report.stat())
    except OSError:  # there is no such report yet, or the stream is no file
        return False


def _report(report: Path, stack: ExitStack) -> Write:
    try:
        opened = stack.enter_context(report.open("w", encoding="utf-8", newline="", buffering=1))
    except OSError as error:
        raise FileUnusable(report, error, FileUse.REPORT) from None
    write: Write = csv.writer(opened).writerow
    write(("line", "traderId", "orderId", "reason"))
    return write


@dataclass(frozen=True, slots=True)
class ImportSource:
    """What is imported. `total`: how many lines it has, if that can be seen."""

    name: str
    stream: BinaryIO
    total: int | None


async def import_lines(
    settings: ImportSettings, source: ImportSource, by: str, write: Write | None, *, dry_run: bool
) -> int:
    """Imports the lines of a file; `write` gets the rows of the report."""
    prefix = settings.tradovate_account_prefix
    counts, shown = Counts(), _Shown(write)
    async with partner_reader(settings, "import", WaitReport()) as reader, rehearsing(dry_run=dry_run) as rehearsal:
        run = Run(Imports(reader.database, reader.vault, one_line(source.name), by), Checks(reader), rehearsal)
        with closing(lines(source.stream, lambda order_id: account_name(prefix, order_id), warn)) as read:
            found = _interruptible(read) if source.total is None else read
            try:
                with progress("Lines", source.total) as advance:
                    async for refused in run.blocks(found, counts):
                        shown.block(refused, counts, reader.calls, advance)
            except BaseException:
                if counts.lines:  # what was done stands
                    _sum_up(counts, reader.calls, dry_run=dry_run)
                raise
        _sum_up(counts, reader.calls, dry_run=dry_run)
    return 1 if counts.refused else 0


def _sum_up(counts: Counts, calls: int, *, dry_run: bool) -> None:
    done = "Would import" if dry_run else "Imported"
    print(
        f"{done} {counts.imported} of {counts.lines} line{'s' * (counts.lines != 1)};"
        f" {counts.known} were known already, {counts.refused} refused; {calls} call{'s' * (calls != 1)}."
    )


class _Shown:
    """Refused lines on standard error and in the report; progress, where there is no terminal, as plain lines."""

    def __init__(self, write: Write | None) -> None:
        self._write = write
        self._plain = not sys.stderr.isatty()
        self._at = time.monotonic()
        self._advanced = 0

    def block(self, refused: Sequence[Refused], counts: Counts, calls: int, advance: Callable[[int], None]) -> None:
        """Shows a block that is done."""
        for line in refused:
            print(f"line {line.number}: {line.sentence}", file=sys.stderr)
            if self._write is not None:
                self._write((line.number, line.trader_id, line.order_id, line.sentence))
        advance(counts.lines - self._advanced)
        self._advanced = counts.lines
        if self._plain and time.monotonic() - self._at >= _EVERY:
            self._at = time.monotonic()
            warn(f"{counts.lines} lines, {calls} calls ...")


def _interruptible(found: Iterator[Line]) -> Iterator[Line]:
    """The same lines. While standard input is waited for, Ctrl-C ends the program at once."""
    while True:
        with _heard():
            line = next(found, None)
        if line is None:
            return
        yield line


@contextmanager
def _heard() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
