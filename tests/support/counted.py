"""What transactions read, as the server itself counts it: with their own plans, those that were kept among them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from worker.ledger.connection import Connection
from worker.ledger.database import Database

_READ = "select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables"


class _Counted(Connection):
    """A connection that notes what each of its transactions has read: rows, by table."""

    __slots__ = ("_before", "_noted")

    def __init__(self, inner: Connection, noted: list[Mapping[str, int]]) -> None:
        super().__init__(inner._raw)
        self._noted = noted

    async def begin(self, *, keep_plans: bool = False) -> None:
        await super().begin(keep_plans=keep_plans)
        self._before = dict(await super().fetch(_READ))

    async def commit(self) -> None:
        read = {table: rows - self._before.get(table, 0) for table, rows in await super().fetch(_READ)}
        self._noted.append({table: rows for table, rows in read.items() if rows})
        await super().commit()


@dataclass
class Counted(Database):
    """A database of one connection, whose transactions are counted; `read` holds them in their order."""

    url: str
    read: list[Mapping[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.url, 1)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with super().connection() as connection:
            yield _Counted(connection, self.read)
