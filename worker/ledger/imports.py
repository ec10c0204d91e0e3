"""Lines of `import` against the ledger: what it knows of them, and writing those that are right.

The locks are those of every transaction, in the same order: the worker may be working on the same traders meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.engine.flows.base import Names
from worker.engine.imported import Given, Holding, Importing, ImportVerdict, known
from worker.engine.snapshot import Snapshot
from worker.ledger import changing, notes, snapshots
from worker.ledger.crypto import Vault
from worker.ledger.database import Connection, Database

Overlay = Callable[[Snapshot, Sequence[Names]], None]
"""Adds rows to a snapshot that are not in the ledger: those of a rehearsal."""

Said = Sequence[ImportVerdict | str | None]
"""Of each line what became of it; a text: why it is refused; None: not known."""


def _as_it_is(_snapshot: Snapshot, _named: Sequence[Names]) -> None:
    """Adds nothing."""


@dataclass(frozen=True, slots=True)
class Imports:
    """Raises `DatabaseError`. `file`, `by`: what is imported and who does it, for the note that is kept."""

    database: Database
    vault: Vault
    file: str
    by: str

    async def known(self, lines: Sequence[Given], overlay: Overlay = _as_it_is) -> Said:
        """What the ledger alone says of lines."""

        async def work(connection: Connection) -> Said:
            now = await self.database.clock.read(connection)
            named = [line.names for line in lines]
            snapshot = await snapshots.load_named(connection, named, self.vault, self.database.clock, now)
            overlay(snapshot, named)
            return known(snapshot, lines, now)

        return await self.database.atomically(work)

    async def judge(self, holdings: Sequence[Holding], overlay: Overlay = _as_it_is) -> tuple[Said, Importing]:
        """What would become of these lines, and the rows that they would make."""

        async def work(connection: Connection) -> tuple[Said, Importing]:
            return await self._decide(connection, holdings, overlay, new=False)

        return await self.database.atomically(work)

    async def write(self, holdings: Sequence[Holding]) -> Said:
        """Writes the rows of lines that are right, all of them or none; traders that are new get a row."""

        async def work(connection: Connection) -> Said:
            said, importing = await self._decide(connection, holdings, _as_it_is, new=True)
            await changing.write(connection, importing.changes(), self.vault, {})
            if new := sum(each is ImportVerdict.IMPORTED for each in said):
                await notes.of_import(connection, f"lines of {self.file}: {new}", self.by)
            return said

        return await self.database.atomically(work)

    async def _decide(
        self, connection: Connection, holdings: Sequence[Holding], overlay: Overlay, *, new: bool
    ) -> tuple[Said, Importing]:
        now = await self.database.clock.read(connection)
        named = [holding.names for holding in holdings]
        snapshot = await snapshots.load_named(connection, named, self.vault, self.database.clock, now, new=new)
        overlay(snapshot, named)
        importing = Importing(snapshot, now)
        return [importing.add(holding) for holding in holdings], importing
