"""The connection pool and its transactions. The driver's errors end here: what leaves this module is `errors`'.

Every session carries time limits set on the server: a replica that is frozen (SIGSTOP, a paused VM) in the middle of
a transaction would otherwise hold its row locks, and the lock that orders all beginnings of calls, for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg
import orjson

from worker.ledger.driver import of_driver
from worker.ledger.errors import Again, Cause, DatabaseError, DatabaseUnavailable, DataRefused

__all__ = ["Again", "Connection", "DataRefused", "Database", "DatabaseError", "DatabaseUnavailable"]

T = TypeVar("T")


class Connection:
    """A connection of the pool. Every method raises `DatabaseUnavailable` or `DataRefused`, and no error of the driver.

    After an error that says something of the connection itself, it is closed and leaves the pool.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """All rows."""
        rows: list[Any] = await self._run(self._raw.fetch, query, arguments)
        return rows

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        """The first row, None without one."""
        return await self._run(self._raw.fetchrow, query, arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """The first value of the first row, None without one."""
        return await self._run(self._raw.fetchval, query, arguments)

    async def execute(self, query: str, *arguments: Any) -> str:
        """The command's tag, for example `DELETE 3`."""
        tag: str = await self._run(self._raw.execute, query, arguments)
        return tag

    async def _run(self, method: Callable[..., Awaitable[Any]], query: str, arguments: tuple[Any, ...]) -> Any:
        try:
            return await method(query, *arguments)
        except Exception as error:  # noqa: BLE001 - all of them are the driver's, and it lists them nowhere
            found = of_driver(error)
            if not isinstance(found, DataRefused) and _is_broken(error, found):
                with suppress(Exception):  # one that the server has closed has left the pool already, and says so
                    self._raw.terminate()
            raise found from None

    async def begin(self) -> None:
        """Begins a READ COMMITTED transaction."""
        await self.execute("begin")

    async def commit(self) -> None:
        """Ends it. When this raises, the transaction may have been committed or not."""
        await self.execute("commit")

    async def roll_back(self) -> None:
        """Ends it without effect; a connection that cannot do so is closed, which has the same effect."""
        with suppress(DatabaseError):
            await self.execute("rollback")


def _is_broken(error: Exception, found: DatabaseError) -> bool:
    """Whether the connection must not be used again: the driver has lost track of it, or it leads to a wrong place."""
    if not isinstance(error, asyncpg.PostgresError):
        return True
    return isinstance(found, DatabaseUnavailable) and found.cause in {
        Cause.INTERNAL, Cause.POOLER, Cause.READ_ONLY, Cause.STARTING, Cause.UNREACHABLE
    }  # fmt: skip


class Database:
    """A pool of PostgreSQL connections. `url` is a postgresql:// address; `size` the most connections of this process.

    All that it and its connections raise is a `DatabaseError`.
    """

    def __init__(self, url: str, size: int = 10) -> None:
        self._url = url
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._cut = False

    async def open(self) -> None:
        """Makes the pool; it connects when a connection is asked for."""
        if self._cut:
            raise DatabaseUnavailable(Cause.CUT)
        if self._pool is None:
            try:
                self._pool = await self._new_pool()
            except Exception as error:  # noqa: BLE001 - the driver's, as above
                raise of_driver(error, connecting=True) from None

    async def _new_pool(self) -> asyncpg.Pool[asyncpg.Record]:
        return await asyncpg.create_pool(
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
            except Exception:  # noqa: BLE001 - whatever the driver says of a connection that is to go
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
        pool = self._pool
        assert pool is not None
        try:
            raw: Any = await pool.acquire(timeout=10)
        except Exception as error:  # noqa: BLE001 - the driver's, as above
            raise of_driver(error, connecting=True) from None
        try:
            yield Connection(raw)
        finally:
            # What goes wrong here closes the connection; what was done with it stands.
            with suppress(Exception):
                await pool.release(raw)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A READ COMMITTED transaction: commits at the end of the block, rolls back when it raises."""
        async with self.connection() as connection:
            await connection.begin()
            try:
                yield connection
            except BaseException:
                await connection.roll_back()
                raise
            await connection.commit()

    async def atomically(self, work: Callable[[Connection], Awaitable[T]], tries: int = 5) -> T:
        """Runs `work` in a transaction, again from its start when it lost a race (deadlock, lock time-out, `Again`).

        A race that is lost `tries` times is raised, for a caller who can wait longer.
        """
        for left in range(tries - 1, -1, -1):
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except DatabaseUnavailable as error:
                if not (left and error.passes):
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
