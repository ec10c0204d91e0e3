"""What a ledger holds, as tests ask for it again and again."""

from __future__ import annotations

from typing import Any

import asyncpg

__all__ = ["Rows"]


class Rows:
    """Queries over connections that are kept: a new one for each takes 8 ms of CPU, most of it the server's
    for a process. Another one is made while they are busy, or after the server has closed them.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[asyncpg.Connection[asyncpg.Record]] = []

    async def __call__(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """What a query returns."""
        self._free = [connection for connection in self._free if not connection.is_closed()]
        if self._free:
            connection = self._free.pop()
        else:
            connection = await asyncpg.connect(self._url, statement_cache_size=0)  # tests change the schema
        try:
            found = await connection.fetch(query, *arguments)
        except BaseException:  # what state it is in is not known
            connection.terminate()
            raise
        self._free.append(connection)
        return list(found)

    def close(self) -> None:
        """Gives up the connections, whatever the server does."""
        while self._free:
            self._free.pop().terminate()
