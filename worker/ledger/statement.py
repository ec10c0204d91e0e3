"""Changes of several tables as one statement: a round trip to the server costs a lone event a third of a millisecond.

A part is a statement of its own, in plain SQL, whose rows come as one JSON document with named columns. To run one in
psql, put the document in the place of `:rows` (and an array in that of `:long`). All parts see the tables as they were
before the statement, so no two of them may change the same row; they are executed, and lock, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

from worker.ledger.connection import Connection

Rows = Sequence[Mapping[str, Any]]
"""A JSON object for each row: texts, numbers, times, ids; bytes as `bytes_in_json` makes them, or as `Part.long`."""


@dataclass(frozen=True, slots=True)
class Part:
    """`sql` reads `json_to_recordset(:rows)`. `result`: an expression over the rows that it returns.

    `long`: a column of bytes that are long. As hexadecimal text in the document they would cost the server a third of
    the time of an insert. So they are passed beside it as an array (`:long`), and the column has each one's index in
    it.
    """

    name: str
    sql: str
    result: str = "count(*)"
    long: str | None = None


async def run(connection: Connection, parts: Iterable[tuple[Part, Rows]]) -> Mapping[str, Any]:
    """Runs the parts that have rows as one statement. Returns the result of each, by name."""
    present = [(part, rows) for part, rows in parts if rows]
    if not present:
        return {}
    arguments = [argument for part, rows in present for argument in _arguments(part, rows)]
    return dict(await connection.fetchrow(_text(tuple(part for part, _ in present)), *arguments))


def _arguments(part: Part, rows: Rows) -> Iterator[Sequence[Any]]:
    if part.long is None:
        yield rows
    else:
        yield [{**row, part.long: place} for place, row in enumerate(rows, 1)]
        yield [row[part.long] for row in rows]


@cache
def _text(parts: Sequence[Part]) -> str:
    numbers, named = count(1), []
    for part in parts:
        sql = part.sql.replace(":rows", f"${next(numbers)}::json")
        if part.long is not None:
            sql = sql.replace(":long", f"(${next(numbers)}::bytea[])")
        named.append(f"{part.name} as ({sql})")
    results = [f"(select {part.result} from {part.name}) as {part.name}" for part in parts]  # noqa: S608 - of ours
    return f"with {', '.join(named)} select {', '.join(results)}"


def bytes_in_json(value: bytes | None) -> str | None:
    """Bytes as PostgreSQL reads them from text."""
    return None if value is None else f"\\x{value.hex()}"
