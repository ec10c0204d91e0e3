"""`holds`: what keeps calls back, for an operator to see and to clear."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from schemas.cleaning import clean
from schemas.times import Clock, utc_text
from worker.cli._app import example, group
from worker.cli._errors import WRONG_USAGE, CommandRefused
from worker.cli._ledger import ledger
from worker.cli._output import print_json, table
from worker.cli._times import Local, clock_of
from worker.ledger import holds
from worker.ledger.clock import database_time
from worker.ledger.holds import Hold

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
        rows = [(hold.id, hold.scope, hold.reason, until(hold, clock), age(now - hold.created_at)) for hold in held]
        table(("id", "scope", "why", "until", "age"), rows, empty="Nothing keeps calls back.")
    return 0


@app.command(epilog=example('tradovate-worker holds clear 12 --reason "password changed at Tradovate"'))
def clear(
    hold_id: Annotated[int, typer.Argument(metavar="ID", help="The id that `holds list` shows.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.", show_default=False)],
) -> int:
    """Clear a hold; calls go on at once."""
    asked = given_reason(reason)
    hold = asyncio.run(_clear(hold_id, asked))
    if hold is None:
        raise CommandRefused(f"There is no hold {hold_id}: `tradovate-worker holds list` shows those that live.")
    print(f"Cleared hold {hold.id} ({hold.scope}: {hold.reason}).")
    return 0


def given_reason(reason: str) -> str:
    """The reason without spaces around it. Raises `CommandRefused` when there is none."""
    if not (asked := " ".join(clean(reason).split())):
        raise CommandRefused("--reason is empty: say why, for it is kept.", WRONG_USAGE)
    return asked


def until(hold: Hold, clock: Clock) -> str:
    """When a hold ends by itself."""
    return "cleared by an operator" if hold.until is None else clock(hold.until)


def age(passed: timedelta) -> str:
    """A time span in its two largest units."""
    seconds = max(0, int(passed.total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count or first == 3)


def _as_json(hold: Hold) -> dict[str, Any]:
    return {
        "id": hold.id,
        "scope": hold.scope,
        "reason": hold.reason,
        "until": None if hold.until is None else utc_text(hold.until),
        "createdAt": utc_text(hold.created_at),
        "ticket": hold.ticket is not None,
    }


async def _list() -> tuple[list[Hold], datetime]:
    async with ledger() as connection:
        return await holds.list_holds(connection), await database_time(connection)


async def _clear(hold_id: int, reason: str) -> Hold | None:
    if not 0 < hold_id < 2**63:  # no id that PostgreSQL could have given
        return None
    async with ledger() as connection:
        return await holds.clear(connection, hold_id, reason)
