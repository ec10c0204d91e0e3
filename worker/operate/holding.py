"""Holds and pauses, for an operator: what keeps calls back now, and what may be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.base import MAX_INT64
from worker.errors import OperatorError
from worker.ledger import holds
from worker.ledger.clock import database_time
from worker.ledger.database import Database
from worker.ledger.holds import Hold
from worker.operate.operator_note import Note

__all__ = ["ALL_CALLS", "HoldActions", "HoldNotFound", "NotPaused", "still_paused"]

ALL_CALLS = "all calls"
"""The name of a pause of every operation."""

_OF_ONE = "pause:"
"""What the scope of a pause begins with."""


class HoldNotFound(OperatorError):
    """There is no live hold with this id."""

    def __init__(self, hold_id: int) -> None:
        super().__init__(hold_id)
        self.hold_id = hold_id

    @property
    def sentence(self) -> str:
        """For an operator."""
        return f"There is no hold {self.hold_id}: `tradovate-worker holds list` shows those that live."


class NotPaused(OperatorError):
    """There is no pause of `operation` (None: of all calls) to end. `still`: what else is paused."""

    def __init__(self, operation: str | None, still: Sequence[str]) -> None:
        super().__init__(operation, *still)
        self.operation = operation
        self.still = tuple(still)

    @property
    def sentence(self) -> str:
        """For an operator at the command line."""
        hint = still_paused(self.still) if self.still else "`tradovate-worker holds list` shows what holds."
        return f"No pause of {self.operation or ALL_CALLS} to end. {hint}"


@dataclass(frozen=True, slots=True)
class HoldActions:
    """Raises `DatabaseError`. What is changed holds for every replica within two seconds."""

    database: Database

    async def listed(self) -> tuple[Sequence[Hold], datetime]:
        """All holds, the oldest first, and the database's time."""
        async with self.database.connection() as connection:
            return await holds.list_holds(connection), await database_time(connection)

    async def clear(self, hold_id: int, note: Note) -> Hold:
        """Clears a hold; calls go on at once. Raises `HoldNotFound`."""
        hold = None
        if 0 < hold_id <= MAX_INT64:  # an id that PostgreSQL can have given
            async with self.database.transaction() as connection:
                hold = await holds.clear(connection, hold_id, note.reason, note.by)
        if hold is None:
            raise HoldNotFound(hold_id)
        return hold

    async def pause(self, operation: str | None, note: Note) -> int:
        """No calls of `operation` (None: of any) until resumed; the id of the hold."""
        async with self.database.transaction() as connection:
            return await holds.pause(connection, operation, note.reason, note.by)

    async def resume(self, operation: str | None, note: Note) -> Sequence[str]:
        """Ends a pause; returns what is still paused: operations, and `ALL_CALLS`. Raises `NotPaused`."""
        async with self.database.transaction() as connection:
            ended = await holds.resume(connection, operation, note.reason, note.by)
            scopes = [hold.scope for hold in await holds.live(connection)]
        still = [
            ALL_CALLS if scope == holds.PAUSE_ALL else scope.removeprefix(_OF_ONE)
            for scope in scopes
            if scope.startswith(_OF_ONE)
        ]
        if not ended:
            raise NotPaused(operation, still)
        return still


def still_paused(names: Sequence[str]) -> str:
    """What is still paused, and the command that ends it. `names` is not empty."""
    command = "tradovate-worker resume" + ("" if names[0] == ALL_CALLS else f" {names[0]}")
    return f"Still paused: {', '.join(names)}; `{command}` ends that."
