"""What a ledger holds, as tests ask for it again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg

__all__ = ["Rows"]

_ENDED = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError)
"""What a connection says whose server has ended since."""


class Rows:
    """Queries over connections that are kept: a new one for each takes 8 ms of CPU, most of it the server's
    for a process. Another one is made while they are busy.

    `url`: where the ledger is now. Tests move it, and take servers down and up again.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._led_to = ""
        self._free: list[asyncpg.Connection[asyncpg.Record]] = []

    async def __call__(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """What a query returns."""
        if self._led_to != self._url():
            self.close()
            self._led_to = self._url()
        while self._free:
            try:
                return await self._fetch(self._free.pop(), query, *arguments)
            except _ENDED:
                continue  # the server has ended since
        connection = await asyncpg.connect(self._led_to, statement_cache_size=0)  # tests change the schema
        return await self._fetch(connection, query, *arguments)

    async def _fetch(
        self, connection: asyncpg.Connection[asyncpg.Record], query: str, *arguments: Any
    ) -> list[asyncpg.Record]:
        led_to = self._led_to
        try:
            found = list(await connection.fetch(query, *arguments))
        except BaseException:  # what state it is in is not known
            connection.terminate()
            raise
        if led_to == self._led_to:
            self._free.append(connection)
        else:
            connection.terminate()
        return found

    def close(self) -> None:
        """Gives up the connections, whatever the server does."""
        while self._free:
            self._free.pop().terminate()
