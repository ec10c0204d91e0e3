"""`resume`: the end of a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from worker.cli._app import example, group
from worker.cli._complete import completing
from worker.cli._errors import CommandRefused, one_of
from worker.cli._ledger import ledger
from worker.ledger import holds
from worker.partner.operations import ENDPOINTS

app = group()

_OF_ONE = "pause:"


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
) -> int:
    """End the pause of all calls, or that of one operation; exit 1 when there is none."""
    if operation is not None:
        one_of(operation, ENDPOINTS, "operation")
    ended, still = asyncio.run(_resume(operation))
    what = operation or "all calls"
    others = f" {still_paused(still)}" if still else ""
    if not ended:
        raise CommandRefused(
            f"No pause of {what} to end.{others or ' `tradovate-worker holds list` shows what holds.'}"
        )
    print(f"Resumed {what}.{others}")
    return 0


def still_paused(scopes: Sequence[str]) -> str:
    """What is still paused, and the command that ends it."""
    names = ["all calls" if scope == holds.PAUSE_ALL else scope.removeprefix(_OF_ONE) for scope in scopes]
    command = "tradovate-worker resume" + ("" if scopes[0] == holds.PAUSE_ALL else f" {names[0]}")
    return f"Still paused: {', '.join(names)}; `{command}` ends that."


async def _resume(operation: str | None) -> tuple[bool, list[str]]:
    async with ledger() as connection:
        ended = await holds.resume(connection, operation)
        scopes = [hold.scope for hold in await holds.live(connection)]
        return ended, [scope for scope in scopes if scope.startswith(_OF_ONE)]
