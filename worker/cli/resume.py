"""`resume`: the end of a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from worker.cli._app import example, group
from worker.cli._complete import completing
from worker.cli._errors import one_of
from worker.cli._note import By, note_from
from worker.operate.holding import ALL_CALLS, still_paused
from worker.operate.operator_note import Note
from worker.partner.operations import ENDPOINTS
from worker.wiring.commands import holding

app = group()


@app.command(epilog=example("tradovate-worker resume", "tradovate-worker resume createEvaluationAccounts"))
def resume(
    operation: Annotated[
        str | None,
        typer.Argument(
            metavar="[OPERATION]",
            help="The operation that was paused; left out for all calls.",
            autocompletion=completing(ENDPOINTS),
        ),
    ] = None,
    *,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is kept.", show_default=False)] = None,
    by: By = None,
) -> int:
    """End the pause of all calls, or that of one operation; exit 1 when there is none."""
    if operation is not None:
        one_of(operation, ENDPOINTS, "operation")
    still = asyncio.run(_resume(operation, note_from(reason, by, "resumed")))
    print(f"Resumed {operation or ALL_CALLS}.{f' {still_paused(still)}' if still else ''}")
    return 0


async def _resume(operation: str | None, note: Note) -> Sequence[str]:
    async with holding() as held:
        return await held.resume(operation, note)
