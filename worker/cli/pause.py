"""`pause`: no calls by any replica."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from worker.cli._app import example, group
from worker.cli._complete import completing
from worker.cli._errors import one_of
from worker.cli._note import By, note_from
from worker.operate.holding import ALL_CALLS
from worker.operate.operator_note import Note
from worker.partner.operations import ENDPOINTS
from worker.wiring.commands import holding

app = group()


@app.command(
    epilog=example(
        'tradovate-worker pause --reason "Tradovate asked us to wait"',
        'tradovate-worker pause createEvaluationAccounts --reason "wrong template"',
    )
)
def pause(
    operation: Annotated[
        str | None,
        typer.Argument(
            metavar="[OPERATION]",
            help="One Tradovate operation; all when left out.",
            autocompletion=completing(ENDPOINTS),
        ),
    ] = None,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept and shown in health.", show_default=False)],
    by: By = None,
) -> int:
    """Make no more calls, or none of one operation, from any replica, until resumed; calls in flight are finished."""
    if operation is not None:
        one_of(operation, ENDPOINTS, "operation")
    hold = asyncio.run(_pause(operation, note_from(reason, by)))
    again = "tradovate-worker resume" + (f" {operation}" if operation else "")
    print(f"Paused {operation or ALL_CALLS} (hold {hold}), within 2 s on every replica. `{again}` ends it.")
    return 0


async def _pause(operation: str | None, note: Note) -> int:
    async with holding() as held:
        return await held.pause(operation, note)
