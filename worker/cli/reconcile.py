"""`reconcile`: where the ledger and Tradovate differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Annotated

import orjson
import typer

from worker.cli._app import example, group
from worker.cli._errors import FileUnusable, FileUse
from worker.cli._output import continued, printable, warn, write
from worker.cli._progress import progress
from worker.cli._wait_report import WaitReport
from worker.ledger import reconcile_view
from worker.ledger.database import Database
from worker.ledger.differences import Difference
from worker.ledger.reconcile_results import RunSeen
from worker.operate.partner_reader import PartnerReader
from worker.operate.reconcile.reconciliation import Reconciliation
from worker.operate.reconcile.report import (
    EVENT_TOPICS,
    as_json,
    as_line,
    event_file,
    found,
    try_to_write,
    write_csv,
    write_events,
)
from worker.settings import OwnSettings, load
from worker.wiring.partner_reads import ReadingSettings, partner_reader

app = group()

DAYS = 7
"""A trader signs when they first log in, which most do within a week."""


class ReconcileSettings(ReadingSettings, OwnSettings):
    """What `reconcile` uses."""


@app.command(
    epilog=example(
        "tradovate-worker reconcile",
        "tradovate-worker reconcile --json | jq -r '.[].traderId'",
        "tradovate-worker reconcile --events fixes --csv differences.csv",
        "tradovate-worker send trader.failed fixes/trader.failed.jsonl",
    )
)
def reconcile(
    *,
    days: Annotated[
        int, typer.Option("--days", min=0, max=10_000, help="Report who bought longer ago and has not signed.")
    ] = DAYS,
    listed: Annotated[
        bool, typer.Option("--list", help="List all accounts: which ones belong to no trader of the ledger?")
    ] = False,
    as_json_: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all differences to a file.")] = None,
    events: Annotated[
        Path | None,
        typer.Option("--events", metavar="DIR", help="Write the events that fix them, a file for each topic."),
    ] = None,
) -> int:
    """Compare the ledger with Tradovate, a line for each difference and the event that fixes it.

    Changes nothing. Exit code 0 if both agree, 1 if not. It makes bulk reads, the least urgent of all calls; after
    Ctrl-C the same command continues.
    """
    settings = load(ReconcileSettings)
    _prepare(csv, events)
    with continued():
        return asyncio.run(_reconcile(settings, days, csv, events, listed=listed, as_json_=as_json_))


def _prepare(csv: Path | None, events: Path | None) -> None:
    """Finds out now whether files can be written, and not after hundreds of calls. Raises `FileUnusable`."""
    try:
        if events is not None:
            events.mkdir(parents=True, exist_ok=True)
            for topic in EVENT_TOPICS:
                try_to_write(event_file(events, topic))
        if csv is not None:
            try_to_write(csv)
    except OSError as error:
        raise FileUnusable(Path(str(error.filename)), error, FileUse.DIFFERENCES) from None


async def _reconcile(
    settings: ReconcileSettings, days: int, csv: Path | None, events: Path | None, *, listed: bool, as_json_: bool
) -> int:
    async with partner_reader(settings, "reconcile", WaitReport()) as reads:
        work = Reconciliation(
            reads.database,
            reads,
            reads.name,
            days,
            listed,
            settings.tradovate_account_prefix,
            settings.tradovate_tprop_entitlement_id,
        )
        run = await work.begin()
        if run.resumed:
            warn(f"Goes on with the run that was interrupted after {run.traders} traders.")
        async with reads.database.connection() as connection:
            total = await reconcile_view.size(connection)
        with progress("Comparing traders", total) as advance:
            advance(run.traders)
            work.advance = advance
            work.one_by_one = partial(_one_by_one, total - run.traders, reads, listed=listed)
            ended = await work.run(run)
        await _report(reads.database, ended, csv, events, as_json_=as_json_)
    return 0 if _agree(ended) else 1


def _one_by_one(traders: int, reads: PartnerReader, *, listed: bool) -> None:
    if listed:
        warn("Tradovate does not read several users in one call: all that the organization has is listed.")
        return
    calls, an_hour = 2 * traders, reads.budget.limit(reserve=False) - reads.budget.for_steps
    warn(
        f"Tradovate does not read several users in one call: {traders} traders take {calls} calls or more, at most"
        f" {an_hour} of them an hour. With --list it takes a few: interrupt this, and begin again with it."
    )


async def _report(database: Database, run: RunSeen, csv: Path | None, events: Path | None, *, as_json_: bool) -> None:
    if csv is not None:
        await write_csv(csv, found(database, run.id))
    counts = {} if events is None else await write_events(database, run.id, events)
    if as_json_:
        await print_differences(found(database, run.id))
    else:
        async for difference in found(database, run.id):
            print(printable(as_line(difference)))
        if _agree(run):
            print("The ledger and Tradovate agree.")
    warn(_summary(run))
    for topic, count in counts.items():
        assert events is not None
        warn(f"{count} event{'s' if count > 1 else ''}: tradovate-worker send {topic} {event_file(events, topic)}")


async def print_differences(differences: AsyncIterator[Difference]) -> None:
    """Prints a JSON array, one difference in a line: it is never whole in memory."""
    before = b"["
    async for difference in differences:
        write(before + b"\n " + orjson.dumps(as_json(difference)))
        before = b","
    write(b"[]\n" if before == b"[" else b"\n]\n")


def _summary(run: RunSeen) -> str:
    by_kind = ", ".join(f"{kind} {count}" for kind, count in sorted(run.counts.items()))
    differences = sum(run.counts.values())
    compared = f"{run.traders} trader{'s' * (run.traders != 1)} compared with {run.calls} call{'s' * (run.calls != 1)}"
    text = f"{compared}: {differences} difference{'s' * (differences != 1)}"
    unread = f" {run.unread} of them could not be read at Tradovate: nothing is known of these." if run.unread else ""
    return f"{text}{f' ({by_kind})' if by_kind else ''}.{unread}"


def _agree(run: RunSeen) -> bool:
    return not run.counts and not run.unread
