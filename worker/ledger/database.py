"""The connection pool and its transactions. The driver's errors end here: what leaves this module is `errors`'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg

from worker.ledger.clock import DatabaseClock
from worker.ledger.connect import Connector
from worker.ledger.connection import Connection, RawConnection
from worker.ledger.driver_errors import of_driver
from worker.ledger.errors import Again, Cause, DatabaseError, DatabaseUnavailable, DataRefused

__all__ = ["Again", "Connection", "DataRefused", "Database", "DatabaseError", "DatabaseUnavailable"]

ACQUIRE_SECONDS = 10.0
"""To get a connection: above two tries to connect."""

T = TypeVar("T")


class Database:
    """A pool of PostgreSQL connections. `url` is a postgresql:// address; `size` the most connections of this process,
    of which `kept` are for what goes first; `reading`: a server that takes no writes will do.

    All that it and its connections raise is a `DatabaseError`.
    """

    def __init__(self, url: str, size: int = 10, *, kept: int = 0, reading: bool = False) -> None:
        self._connector = Connector(url, reading)
        self._reading = reading
        self._size = size
        self._ordinary = asyncio.Semaphore(size - kept)
        self._lost = False
        self.clock = DatabaseClock()
        self.when_back: Callable[[], None] = lambda: None  # called when it serves again after it did not
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._cut = False

    @property
    def pooled(self) -> bool | None:
        """Whether a pooler stands in front of PostgreSQL; None before the first connection."""
        return self._connector.pooled

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
        """Breaks all connections for good: a caller that waits for a frozen database fails at once."""
        self._cut = True
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.terminate()

    @property
    def first(self) -> Database:
        """The same database for what must not wait behind slow statements of others: it may use all connections."""
        return _First(self)

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection outside of a transaction: reads, and single statements."""
        return self._ordinary_connection()

    @asynccontextmanager
    async def _ordinary_connection(self) -> AsyncIterator[Connection]:
        try:
            async with asyncio.timeout(ACQUIRE_SECONDS):
                await self._ordinary.acquire()
        except TimeoutError as error:
            raise of_driver(error, connecting=True) from None
        try:
            async with self._any_connection() as connection:
                yield connection
        finally:
            self._ordinary.release()

    @asynccontextmanager
    async def _any_connection(self) -> AsyncIterator[Connection]:
        try:
            pool = await self._opened()
            raw = await self._acquire(pool)
            try:
                yield Connection(raw, reading=self._reading)
            finally:
                await _release(pool, raw)
        except DatabaseUnavailable as error:
            self._lost = self._lost or not error.passes
            raise
        if self._lost:
            self._lost = False
            self.when_back()

    @asynccontextmanager
    async def transaction(self, *, keep_plans: bool = False) -> AsyncIterator[Connection]:
        """A READ COMMITTED transaction: commits at the end of the block, rolls back when it raises.

        `keep_plans`: of its statements, for as long as a prepared statement is kept (`Connector`), but not behind a
        pooler. To plan those of a lone event takes as long as to run them, those of a hundred a tenth. They must be
        such that a plan which was made in an empty ledger is right in a full one (`tests/integration/test_plans.py`).
        """
        async with self.connection() as connection:
            try:
                await connection.begin(keep_plans=keep_plans)
                yield connection
            except BaseException:
                await connection.roll_back()
                raise
            await connection.commit()

    async def atomically(
        self, work: Callable[[Connection], Awaitable[T]], tries: int = 5, *, keep_plans: bool = False
    ) -> T:
        """Runs `work` in a transaction, again from its start when it lost a race (deadlock, lock time-out, `Again`).
        `keep_plans`: see `transaction`.

        A race that is lost `tries` times is raised, for a caller who can wait longer.
        """
        for left in range(tries - 1, -1, -1):
            try:
                async with self.transaction(keep_plans=keep_plans) as connection:
                    return await work(connection)
            except DatabaseUnavailable as error:
                if not (left and error.passes):
                    raise
        raise AssertionError("unreachable")

    async def _opened(self) -> asyncpg.Pool[asyncpg.Record]:
        if self._cut:
            raise DatabaseUnavailable(Cause.CUT)
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                min_size=0,
                max_size=self._size,
                connection_class=RawConnection,
                connect=self._connector,
                reset=_leave,
            )
        return self._pool

    async def _acquire(self, pool: asyncpg.Pool[asyncpg.Record]) -> Any:
        """A connection that can write. One that led to a primary which has been demoted leaves the pool."""
        try:
            raw: Any = await pool.acquire(timeout=ACQUIRE_SECONDS)
            while raw.is_read_only and not self._reading:
                await pool.expire_connections()
                Connection(raw).terminate()
                await _release(pool, raw)
                raw = await pool.acquire(timeout=ACQUIRE_SECONDS)
        except Exception as error:  # noqa: BLE001 - the driver's: it lists them nowhere
            raise of_driver(error, connecting=True) from None
        return raw


class _First(Database):
    """A view of a database that is not bound to the ordinary share of its connections."""

    def __init__(self, whole: Database) -> None:
        self._whole = whole
        self.clock = whole.clock

    @property
    def pooled(self) -> bool | None:
        return self._whole.pooled

    async def close(self) -> None:
        await self._whole.close()

    def cut(self) -> None:
        self._whole.cut()

    @property
    def first(self) -> Database:
        return self

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        return self._whole._any_connection()  # noqa: SLF001 - a view of it


async def _release(pool: asyncpg.Pool[asyncpg.Record], raw: Any) -> None:
    # What goes wrong here closes the connection; what was done with it stands.
    with suppress(Exception):
        await pool.release(raw)


async def _leave(_connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """What a connection goes back to the pool with. A transaction that is still open is rolled back before this; we
    set, listen to and lock nothing that outlives one, so that the driver's own reset would be a round trip for nothing.
    """
