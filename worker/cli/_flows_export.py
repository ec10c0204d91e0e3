"""`flows export`: who did what and when."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer

from schemas.cleaning import clean
from worker._interrupt import INTERRUPTED
from worker.cli._app import example
from worker.cli._errors import CommandRefused, OptionFault, OptionRefused
from worker.cli._export_lines import Format, LineWriter
from worker.cli._output import warn
from worker.cli._times import Local, clock_of, moment_of
from worker.ledger.errors import DatabaseError
from worker.operate.flow_export import export as written
from worker.wiring.commands import flow_ledger

__all__ = ["EXAMPLE", "export"]

EXAMPLE = example(
    "tradovate-worker flows export --since 2026-11-01 --until 2026-12-01 > november.csv",
    "tradovate-worker flows export --trader cust-77 --format jsonl | jq .state",
)


class ExportIncomplete(CommandRefused):
    """The database has failed before the last line."""

    def __init__(self, error: DatabaseError) -> None:
        super().__init__(error)
        self.error = error

    @property
    def sentence(self) -> str:
        """For an operator."""
        return f"The export is not complete: {self.error.sentence}"


def export(
    *,
    form: Annotated[Format, typer.Option("--format", help="How a line is written.")] = Format.CSV,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only what began then or later: a day, or a time.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only what began before.")] = None,
    trader: Annotated[str | None, typer.Option("--trader", help="Only this traderId's, and what it led to.")] = None,
    local: Local = False,
    bom: Annotated[bool, typer.Option("--bom", help="Begin CSV with a byte order mark: Excel asks for one.")] = False,
) -> int:
    """Print who did what and when, for auditors: a line for each flow, call and action of an operator.

    In the order of time, UTC unless --local. It shows the moment at which it began, holds nothing up however long it
    takes, and a server that takes no writes will do. README.md lists the columns.
    """
    if bom and form is not Format.CSV:
        raise OptionRefused("--bom", OptionFault.CSV_ONLY)
    begin = None if since is None else moment_of(since, "--since", local=local)
    end = None if until is None else moment_of(until, "--until", local=local)
    if begin is not None and end is not None and begin >= end:
        raise OptionRefused("--since", OptionFault.NOT_BEFORE)
    with _interruptible():
        count = asyncio.run(_export(form, begin, end, None if trader is None else clean(trader), local=local, bom=bom))
    if not count:
        warn("There is nothing to export.")
    return 0


async def _export(
    form: Format,
    since: datetime | None,
    until: datetime | None,
    trader: str | None,
    *,
    local: bool,
    bom: bool,
) -> int:
    async with flow_ledger() as database:
        writer = LineWriter(form, clock_of(local=local), bom=bom)
        try:
            return await written(database, writer, since=since, until=until, trader_id=trader)
        except DatabaseError as error:
            raise ExportIncomplete(error) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the process at once, also while it waits for a reader: asyncio's own handler would wait for that to
    end. An exception would be lost where it is raised in a callback, of the driver or of the garbage collector. There
    is nothing to clean up: it only reads.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
