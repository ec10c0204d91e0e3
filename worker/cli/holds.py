"""`holds`: what keeps calls back, for an operator to see and to clear."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from schemas.times import Clock, utc_text
from worker.cli._app import example, group
from worker.cli._note import By, note_from
from worker.cli._output import print_json, table
from worker.cli._times import Local, clock_of
from worker.ledger.holds import Hold
from worker.operate.operator_note import Note
from worker.operate.quantities import span
from worker.wiring.commands import holding

app = group(
    "What keeps calls back: lock-outs, penalties, pauses, the hold of a rejected login.", "tradovate-worker holds list"
)


@app.command("list", epilog=example("tradovate-worker holds list", "tradovate-worker holds list --json"))
def list_(
    *,
    local: Local = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> int:
    """Show what keeps calls back now: what it holds, why, and until when."""
    held, now = asyncio.run(_list())
    if as_json:
        print_json([_as_json(hold) for hold in held])
    else:
        clock = clock_of(local=local)
        rows = [(hold.id, hold.scope, hold.why, until(hold, clock), age(now - hold.created_at)) for hold in held]
        table(("id", "scope", "why", "until", "age"), rows, empty="Nothing keeps calls back.")
    return 0


@app.command(epilog=example('tradovate-worker holds clear 12 --reason "password changed at Tradovate"'))
def clear(
    hold_id: Annotated[int, typer.Argument(metavar="ID", help="The id that `holds list` shows.", show_default=False)],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.", show_default=False)],
    by: By = None,
) -> int:
    """Clear a hold; calls go on at once."""
    hold = asyncio.run(_clear(hold_id, note_from(reason, by)))
    print(f"Cleared hold {hold.id} ({hold.scope}: {hold.reason}).")
    return 0


def until(hold: Hold, clock: Clock) -> str:
    """When a hold ends by itself."""
    return "cleared by an operator" if hold.until is None else clock(hold.until)


def age(passed: timedelta) -> str:
    """A time span in whole seconds, minutes, hours or days, the two largest of them."""
    return span(max(0, int(passed.total_seconds())))


def _as_json(hold: Hold) -> dict[str, Any]:
    return {
        "id": hold.id,
        "scope": hold.scope,
        "reason": hold.reason,
        "by": hold.by,
        "until": None if hold.until is None else utc_text(hold.until),
        "createdAt": utc_text(hold.created_at),
        "ticket": hold.ticket is not None,
    }


async def _list() -> tuple[Sequence[Hold], datetime]:
    async with holding() as held:
        return await held.listed()


async def _clear(hold_id: int, note: Note) -> Hold:
    async with holding() as held:
        return await held.clear(hold_id, note)
