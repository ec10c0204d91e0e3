"""The connection pool and its transactions; what an away database looks like to everybody else.

Every session carries time limits set on the server: a replica that is frozen (SIGSTOP, a paused VM) in the middle of
a transaction would otherwise hold its row locks, and the lock that orders all beginnings of calls, for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import orjson

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
else:
    Connection = Any

T = TypeVar("T")


class Again(Exception):  # noqa: N818 - not a failure: a race was lost and is run anew
    """Raised inside `atomically` when somebody else wrote what this transaction had counted on."""


RACES = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError, Again)
"""A transaction that lost a race has written nothing, and goes again from its start."""

AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.OutOfMemoryError,
    asyncpg.DiskFullError,
    TimeoutError,
    # A machine so busy that a race was lost time and again. No event is bad for it, and no result may be forgotten.
    *RACES,
)
"""Errors that mean: the database cannot be reached or cannot serve just now; wait and try again."""

BEHIND = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
"""Errors that mean: the ledger's schema is behind this program, `db upgrade` has not run."""


class Database:
    """A pool of PostgreSQL connections. `url` is a postgresql:// address; `size` the most connections of this process.

    Raises any of `AWAY` when the server cannot be reached.
    """

    def __init__(self, url: str, size: int = 10) -> None:
        self._url = url
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._cut = False

    async def open(self) -> None:
        """Connects; raises any of `AWAY`."""
        if self._cut:
            raise ConnectionAbortedError("the connections to the database were cut")
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._size,
                timeout=5,  # seconds to connect: below the 10 s within which health must have noticed
                command_timeout=30,  # above every statement we have; a silent network must not hang a lane
                init=_prepare,
                reset=_leave,
                server_settings={
                    "application_name": "tradovate-worker",
                    # 5 s: our transactions take milliseconds; a holder that is frozen must let go well before the
                    # 15 s within which its work has to go on elsewhere.
                    "idle_in_transaction_session_timeout": "5000",
                    "lock_timeout": "10000",
                    "statement_timeout": "25000",
                    "jit": "off",  # our statements are short; compiling them costs more than running them
                    # All find their rows by an index. A plan that was made while a table was small, and is kept,
                    # would walk it when it has grown.
                    "enable_seqscan": "off",
                },
            )

    async def close(self) -> None:
        """Closes all connections, in flight or not, within five seconds."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except (TimeoutError, *AWAY):
                pool.terminate()

    def cut(self) -> None:
        """Breaks all connections for good: whoever waits for the database, were it frozen, is told so at once."""
        self._cut = True
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside of a transaction: reads."""
        await self.open()
        assert self._pool is not None
        async with self._pool.acquire(timeout=10) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A READ COMMITTED transaction: commits at the end of the block, rolls back when it raises."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def atomically(self, work: Callable[[Connection], Awaitable[T]], tries: int = 5) -> T:
        """Runs `work` in a transaction, again from its start when it lost a race (deadlock, lock time-out, `Again`).

        A race that is lost `tries` times is raised: all of them are among `AWAY`, for whoever can wait longer.
        """
        for left in range(tries - 1, -1, -1):
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except RACES:
                if not left:
                    raise
        raise AssertionError("unreachable")


_ARRAYS = ("bigint", "boolean", "bytea", "float8", "int", "jsonb", "smallint", "text", "timestamptz", "uuid")
"""What our statements send and get lists of."""


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
    )
    # The driver asks the server about every kind of array that it meets, one by one and for ten milliseconds each.
    await connection.prepare(f"select {', '.join(f'null::{kind}[]' for kind in _ARRAYS)}")


async def _leave(_connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """What a connection goes back to the pool with. A transaction that is still open is rolled back before this; we
    set, listen to and lock nothing that outlives one, so that the driver's own reset would be a round trip for nothing.
    """
