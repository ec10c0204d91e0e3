"""Bulk writes of one transaction, sent as one statement: a round trip and a plan where there would be eight of each.

The parts run in the order in which they were added, and all of them see the ledger as it was before the first. So no
two parts may write the same row: whoever adds a part that could leaves out what an earlier one writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from worker.ledger.database import Again, Connection

_ARGUMENT = re.compile(r"\$(\d+)")

_COUNT = "count(*)"


@dataclass(slots=True)
class Writes:
    """The writes of one transaction. They have not happened before `run`."""

    _parts: list[tuple[str, str, str, int]] = field(default_factory=list)
    _arguments: list[Any] = field(default_factory=list)
    _expected: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, sql: str, *arguments: Any, rows: int | None = None, told: str = _COUNT) -> None:
        """Adds a part: an insert or update with `returning`, its arguments numbered from `$1`, all of them cast.

        `rows`: how many it must write; another number means that a race was lost. `told`: instead of being counted,
        what it returns is told by this aggregate. Lists are columns, side by side in one `unnest`.
        """
        self._parts.append((name, sql, told, len(self._arguments)))
        self._arguments += map(_spared, arguments)
        if rows is not None:
            self._expected[name] = rows

    async def run(self, connection: Connection) -> Mapping[str, Any]:
        """Writes; what each part tells, by its name. Raises `Again` when a part wrote fewer rows than it must."""
        if not self._parts:
            return {}
        row: Any = await connection.fetchrow(_joined(tuple(self._parts)), *self._arguments)
        if any(row[name] != rows for name, rows in self._expected.items()):
            raise Again
        return dict(row)


def columns(rows: Sequence[Any], *names: str) -> list[list[Any]]:
    """Attributes of rows, each as a column for `unnest`."""
    return [[getattr(row, name) for row in rows] for name in names]


def _spared(argument: Any) -> Any:
    """A column of nothing but nulls goes empty: `unnest` fills it up, and the driver looks at each value it gets."""
    return [] if type(argument) is list and argument.count(None) == len(argument) else argument


@lru_cache(maxsize=512)
def _joined(parts: tuple[tuple[str, str, str, int], ...]) -> str:
    """One text for each combination of parts, so that the driver prepares it once a connection."""
    bodies = [f"{name} as ({_shifted(sql, before)})" for name, sql, _, before in parts]
    # A part runs when it is first read: this list is what puts them in order.
    told = [f"(select {told} from {name}) as {name}" for name, _, told, _ in parts]  # noqa: S608 - constants of ours
    return f"with {', '.join(bodies)} select {', '.join(told)}"


def _shifted(sql: str, by: int) -> str:
    return _ARGUMENT.sub(lambda found: f"${int(found[1]) + by}", sql)
