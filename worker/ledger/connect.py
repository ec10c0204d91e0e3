"""How a connection is made: to which of the hosts, whether a pooler stands there, and what it needs before its use.

Straight to PostgreSQL, statements are prepared once a connection and the time limits are the session's. Behind a pooler
in transaction mode neither holds: what is prepared is on another server session when it is used, and start-up
parameters are refused. There each statement is prepared where it runs, in a transaction that sets its own limits.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
from asyncpg.connect_utils import SessionAttribute

from worker.addresses import database_address
from worker.errors import Interruption
from worker.ledger.connection import LIMITS, RawConnection
from worker.ledger.driver_errors import of_driver
from worker.ledger.errors import Cause, DatabaseError, DatabaseUnavailable

CONNECT_SECONDS = 5.0
"""To connect to a host: below the 10 s within which health must have noticed."""

_ALL_SECONDS = 9.0
"""To connect to one of several hosts: each gets its share, and the whole is below the time for a connection."""

_SILENT = (Cause.UNREACHABLE, Cause.TOO_SLOW)
"""Says less than what another host answers."""

_NAME = {"application_name": "tradovate-worker"}
"""The one start-up parameter that every pooler takes."""

_ENCODINGS = ("UTF8", "SQL_ASCII")
"""In which every text can be stored. In any other one a good name would be refused for its letters."""


@dataclass(slots=True)
class Connector:
    """Makes connections to `url`. `reading`: to a server that takes no writes, too."""

    url: str
    reading: bool = False
    pooled: bool | None = None
    """Whether a pooler stands there; None before the first connection."""
    _hosts: list[tuple[str, int]] = field(init=False)

    def __post_init__(self) -> None:
        """Reads the address."""
        self._hosts = list(database_address(self.url).hosts)

    async def __call__(self, *_: Any, **__: Any) -> RawConnection:
        """A new connection. Raises `DatabaseError`."""
        if len(self._hosts) < 2:
            return await self._connect()
        # The driver gives all hosts one time limit together, of which one that does not answer uses up all.
        errors: list[DatabaseError] = []
        for host in list(self._hosts):
            try:
                raw = await self._connect(host)
            except DatabaseError as error:
                errors.append(error)
                continue
            self._hosts.remove(host)
            self._hosts.insert(0, host)  # the next one need not wait for those that do not answer
            return raw
        raise min(errors, key=lambda error: isinstance(error, DatabaseUnavailable) and error.cause in _SILENT)

    async def _connect(self, host: tuple[str, int] | None = None) -> RawConnection:
        try:
            if not self.pooled:
                try:
                    return await self._made(host, pooled=False)
                except (_Pooled, asyncpg.ProtocolViolationError):  # the latter: it refuses start-up parameters
                    pass
            return await self._made(host, pooled=True)
        except Exception as error:  # noqa: BLE001 - all of them are the driver's, and it lists them nowhere
            raise of_driver(error, connecting=True) from None

    async def _made(self, host: tuple[str, int] | None, *, pooled: bool) -> RawConnection:
        there: dict[str, Any] = {} if host is None else {"host": host[0], "port": host[1]}
        raw: RawConnection = await asyncpg.connect(
            self.url,
            **there,
            timeout=CONNECT_SECONDS if len(self._hosts) < 2 else _ALL_SECONDS / len(self._hosts),
            command_timeout=30,  # above every statement we have; a silent network must not hang a lane
            connection_class=RawConnection,
            statement_cache_size=0 if pooled else 100,
            max_cached_statement_lifetime=300,  # and so long a plan is kept
            # Looked at below: what a pooler says of this may be long over.
            target_session_attrs=SessionAttribute.any,
            server_settings=_NAME if pooled else {**_NAME, **LIMITS},
        )
        try:
            raw.pooled = pooled
            await self._check(raw)
            await _prepare(raw)
        except BaseException:
            raw.terminate()
            raise
        self.pooled = pooled
        return raw

    async def _check(self, raw: RawConnection) -> None:
        if not raw.pooled and await raw.is_pooled():
            raise _Pooled
        if not self.reading and raw.is_read_only:
            raise DatabaseUnavailable(Cause.READ_ONLY)
        if raw.get_settings().server_encoding not in _ENCODINGS:
            raise DatabaseUnavailable(Cause.ENCODING)


class _Pooled(Interruption):
    """A pooler has taken start-up parameters that it does not pass on."""


_ARRAYS = ("bigint", "boolean", "bytea", "float8", "int", "jsonb", "smallint", "text", "timestamptz", "uuid")
"""What our statements send and get lists of."""


def _in_json(value: Any) -> str:
    if isinstance(value, uuid.UUID):  # the driver has a kind of its own
        return str(value)
    raise TypeError(type(value).__name__)


async def _prepare(raw: RawConnection) -> None:
    await raw.set_type_codec(
        "json",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: orjson.dumps(value, default=_in_json),
        decoder=orjson.loads,
    )
    await raw.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
    )
    if raw.pooled:
        await raw.execute("begin")
    # The driver asks the server about every kind of array that it meets, one by one: all at once, see `RawConnection`.
    await raw.fetchrow(f"select {', '.join(f'null::{kind}[]' for kind in _ARRAYS)}")
    if raw.pooled:
        await raw.execute("commit")
