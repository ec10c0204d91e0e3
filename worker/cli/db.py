"""`db`: the ledger's schema."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from worker.cli._app import example, group
from worker.cli._errors import CommandRefused
from worker.cli._output import print_json
from worker.ledger import schema
from worker.settings import DatabaseSettings, load

app = group("The ledger's schema: bring it up to date, or see how it stands.", "tradovate-worker db upgrade")

_FIXES = {
    schema.Fit.EMPTY: "The ledger has no tables yet: run `tradovate-worker db upgrade`.",
    schema.Fit.BEHIND: "The ledger's schema is behind: run `tradovate-worker db upgrade`.",
    schema.Fit.UNKNOWN: "The ledger's schema is newer than this program knows: use the newer program.",
}


class SchemaUnusable(CommandRefused):
    """`run` would not start on the ledger's schema."""

    def __init__(self, fit: schema.Fit) -> None:
        super().__init__(fit)
        self.fit = fit

    @property
    def sentence(self) -> str:
        """What to do about it."""
        return _FIXES[self.fit]


@app.command(epilog=example("tradovate-worker db upgrade"))
def upgrade() -> int:
    """Bring the ledger's schema up to date.

    Safe to run again and from several places at once; a schema that is ahead is left as it is.
    """
    url = load(DatabaseSettings).database_url.get_secret_value()
    before = asyncio.run(schema.status(url))
    after = asyncio.run(schema.upgrade(url))
    if not after.usable:
        raise SchemaUnusable(after.fit)
    if before.found == after.found:
        print(f"Nothing to do: the schema is at {after.found} ({after.fit}).")
    else:
        print(f"Upgraded the schema from {before.found or 'nothing'} to {after.found}.")
    return 0


@app.command(epilog=example("tradovate-worker db status", "tradovate-worker db status --json"))
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Show the ledger's schema, the one this program wants, and how they fit; exit 1 when `run` would refuse it."""
    url = load(DatabaseSettings).database_url.get_secret_value()
    found = asyncio.run(schema.status(url))
    if as_json:
        print_json({"found": found.found, "wanted": found.wanted, "fit": str(found.fit), "usable": found.usable})
    else:
        print(f"found   {found.found or 'nothing'}\nwanted  {found.wanted}\nfit     {found.fit}")
    if not found.usable:
        raise SchemaUnusable(found.fit)
    return 0
