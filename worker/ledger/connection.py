"""One connection to PostgreSQL, as the rest of the program knows it: four methods, and no error of the driver's.

Every transaction has time limits on the server. Without them, a replica that is frozen (SIGSTOP, a paused VM) inside
one would hold its locks for ever, also the one under which calls are begun.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, TypeVar

import asyncpg

from worker.ledger.driver_errors import of_driver
from worker.ledger.errors import Cause, DatabaseError, DatabaseUnavailable, DataRefused

LIMITS: Mapping[str, str] = {
    # 5 s: our transactions take milliseconds; a holder that is frozen must let go well before the 15 s within which
    # its work has to go on elsewhere.
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "10000",
    "statement_timeout": "25000",
    "jit": "off",  # our statements are short; compiling them costs more than running them
    # Nothing is kept that was planned while a table had one page, but for the plans of the transactions through which
    # each event goes: see `Database.transaction`.
    "plan_cache_mode": "force_custom_plan",
    "random_page_cost": "1.1",  # what is looked up was written a moment ago, and is in memory
}

_BEGIN_KEEPING = "begin; set local plan_cache_mode = 'force_generic_plan'"
_BEGIN_POOLED = "begin; " + "".join(f"set local {name} = '{value}'; " for name, value in LIMITS.items())
# The status line of a statement says how many rows it found; a statement without arguments is never prepared.
_CAN_WRITE = "select where not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off'"
_FOUND = "SELECT 1"

_FIRST_OWN_TYPE = 16_384
"""Types with smaller ids come with PostgreSQL, and are the same in every database (transam.h)."""

_TYPES: dict[frozenset[int], Any] = {}
"""What the driver has learned of such types."""

_NOT_SENT = SimpleNamespace(name="not sent")
"""In place of the statement that the driver would have sent; without a name it would replace the one before it."""

T = TypeVar("T")


class RawConnection(asyncpg.Connection):
    """The driver's connection. `pooled`: it leads to a pooler, and each transaction may be another server session's."""

    pooled = False

    async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> tuple[Any, Any]:  # noqa: ASYNC109
        """What the driver asks of types that it has not met, on every connection, by a statement that takes the server
        five milliseconds: once for all connections of the process.
        """
        asked = frozenset(typeoids)
        if asked in _TYPES:
            return _TYPES[asked], _NOT_SENT
        types, statement = await super()._introspect_types(asked, timeout)  # type: ignore[misc]  # private
        if max(asked, default=_FIRST_OWN_TYPE) < _FIRST_OWN_TYPE:
            _TYPES[asked] = types
        return types, statement

    async def is_pooled(self) -> bool:
        """Whether something answers in the server's place: a pooler hands out a process id of its own making."""
        return await self.execute(f"select where pg_backend_pid() = {self.get_server_pid()}") != _FOUND

    @property
    def is_read_only(self) -> bool:
        """Whether the server has said that it is a standby, or takes no writes. It says so unasked, with whatever it
        answers next (PostgreSQL 14 and later). A pooler repeats what it received in another session.
        """
        if self.pooled:
            return False
        said = self.get_settings()
        flags = (getattr(said, name, "off") for name in ("in_hot_standby", "default_transaction_read_only"))
        return "on" in flags


class Connection:
    """A connection of the pool. Every method raises `DatabaseUnavailable` or `DataRefused`, and no error of the driver.

    After an error that says something of the connection itself, it is closed and leaves the pool.
    """

    __slots__ = ("_in_transaction", "_pooled", "_raw", "_reading")

    def __init__(self, raw: Any, *, reading: bool = False) -> None:
        self._raw = raw
        self._pooled: bool = raw.pooled
        self._reading = reading
        self._in_transaction = False

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """All rows."""
        return await self._run(lambda: self._raw.fetch(query, *arguments))

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        """The first row, None without one."""
        return await self._run(lambda: self._raw.fetchrow(query, *arguments))

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """The first value of the first row, None without one."""
        return await self._run(lambda: self._raw.fetchval(query, *arguments))

    async def execute(self, query: str, *arguments: Any) -> str:
        """The command's tag, for example `DELETE 3`."""
        return await self._run(lambda: self._raw.execute(query, *arguments))

    async def begin(self, *, keep_plans: bool = False) -> None:
        """Begins a READ COMMITTED transaction. `keep_plans`: see `Database.transaction`."""
        self._in_transaction = True
        if not self._pooled:
            await self._ask(lambda: self._raw.execute(_BEGIN_KEEPING if keep_plans else "begin"))
            return
        # Whose server session it is shows with each transaction only: its limits, and whether it can write.
        check = "" if self._reading else _CAN_WRITE
        if await self._ask(lambda: self._raw.execute(_BEGIN_POOLED + check)) != _FOUND and check:
            self.terminate()
            raise DatabaseUnavailable(Cause.READ_ONLY)

    async def commit(self) -> None:
        """Ends it. When this raises, the transaction may have been committed or not."""
        self._in_transaction = False
        await self._ask(lambda: self._raw.execute("commit"))

    async def roll_back(self) -> None:
        """Ends it without effect; a connection that cannot do so is closed, which has the same effect."""
        self._in_transaction = False
        with suppress(DatabaseError):
            await self._ask(lambda: self._raw.execute("rollback"))

    def terminate(self) -> None:
        """Closes it at once: it leaves the pool."""
        with suppress(Exception):  # one that the server has closed has left the pool already, and says so
            self._raw.terminate()

    async def _run(self, statement: Callable[[], Awaitable[T]]) -> T:
        if self._in_transaction or not self._pooled:
            return await self._ask(statement)
        # Prepared and executed are two requests, between which a pooler may change the server session.
        try:
            await self.begin()
            result = await self._ask(statement)
        except BaseException:
            await self.roll_back()
            raise
        await self.commit()
        return result

    async def _ask(self, statement: Callable[[], Awaitable[T]]) -> T:
        try:
            return await statement()
        except Exception as error:  # noqa: BLE001 - all of them are the driver's, and it lists them nowhere
            found = of_driver(error)
            if not isinstance(found, DataRefused) and _is_broken(error, found):
                self.terminate()
            raise found from None


def _is_broken(error: Exception, found: DatabaseError) -> bool:
    """Whether the connection must not be used again: the driver has lost track of it, or it leads to a wrong place."""
    if not isinstance(error, asyncpg.PostgresError):
        return True
    return isinstance(found, DatabaseUnavailable) and found.cause in {
        Cause.INTERNAL, Cause.POOLER, Cause.READ_ONLY, Cause.STARTING, Cause.UNREACHABLE
    }  # fmt: skip
