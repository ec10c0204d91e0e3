"""Changes of several tables as one statement: a round trip to the server costs a lone event a third of a millisecond.

A part is a statement of its own, in plain SQL, whose rows come as one JSON document with named columns. To run one in
psql, put the document in the place of `:rows`. All parts see the tables as they were before the statement, so no two of
them may change the same row; they are executed, and lock, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from worker.ledger.connection import Connection

Rows = Sequence[Mapping[str, Any]]
"""A JSON object for each row: texts, numbers, times, ids; bytes as `bytes_in_json` makes them."""


@dataclass(frozen=True, slots=True)
class Part:
    """`sql` reads `json_to_recordset(:rows)`. `result`: an expression over the rows that it returns."""

    name: str
    sql: str
    result: str = "count(*)"


async def run(connection: Connection, parts: Iterable[tuple[Part, Rows]]) -> Mapping[str, Any]:
    """Runs the parts that have rows as one statement. Returns the result of each, by name."""
    present = [(part, rows) for part, rows in parts if rows]
    if not present:
        return {}
    row = await connection.fetchrow(_text(tuple(part for part, _ in present)), *(rows for _, rows in present))
    return dict(row)


@cache
def _text(parts: Sequence[Part]) -> str:
    named = [f"{part.name} as ({part.sql.replace(':rows', f'${n}::json')})" for n, part in enumerate(parts, 1)]
    results = [f"(select {part.result} from {part.name}) as {part.name}" for part in parts]  # noqa: S608 - of ours
    return f"with {', '.join(named)} select {', '.join(results)}"


def bytes_in_json(value: bytes | None) -> str | None:
    """Bytes as PostgreSQL reads them from text."""
    return None if value is None else f"\\x{value.hex()}"
