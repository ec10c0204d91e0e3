"""The driver's errors, read: which of the program's own errors each one is."""

from __future__ import annotations

import ssl

import asyncpg

from worker.ledger.errors import Cause, DatabaseError, DatabaseUnavailable, DataRefused

# By SQLSTATE, the longest prefix first. https://www.postgresql.org/docs/current/errcodes-appendix.html
_CAUSES = {
    "08P01": Cause.POOLER,  # a start-up parameter or a mode of transactions that a pooler does not know
    "08": Cause.UNREACHABLE,
    "0A000": Cause.SCHEMA,  # a plan that a migration has made stale
    "23": Cause.SCHEMA,  # ours name no value of an event, so the constraint is not of this release
    "25006": Cause.READ_ONLY,
    "25P03": Cause.TOO_SLOW,
    "26": Cause.POOLER,  # a prepared statement that another server connection has
    "28": Cause.LOGIN,
    "3D": Cause.NO_DATABASE,
    "3F": Cause.SCHEMA,
    "40": Cause.BUSY,
    "42501": Cause.PRIVILEGE,
    "42P07": Cause.TAKEN,  # only an upgrade makes tables
    "42P05": Cause.POOLER,  # a prepared statement that another client has left there
    "42": Cause.SCHEMA,
    "53100": Cause.DISK,
    "53300": Cause.CONNECTIONS,
    "53": Cause.RESOURCES,
    "55000": Cause.CLOSED,
    "55P03": Cause.BUSY,
    "57014": Cause.TOO_SLOW,
    "57": Cause.STARTING,
}
_LENGTHS = sorted({len(prefix) for prefix in _CAUSES}, reverse=True)
_DATA = "22"

# PgBouncer has one code for everything, and hangs up. Its words hold no more than the names of a user or a database.
_POOLERS = ("08P01", "08003")
_NO_TRANSACTIONS = "pooling mode"


def of_driver(error: Exception, *, connecting: bool = False) -> DatabaseError:
    """The program's error for any error of the driver's. `connecting`: no statement of ours was sent yet."""
    if isinstance(error, DatabaseError):
        return error
    name = type(error).__name__
    code = getattr(error, "sqlstate", None)
    if isinstance(code, str):
        if code.startswith(_DATA) and not connecting:
            return DataRefused(code)
        cause = next((_CAUSES[code[:length]] for length in _LENGTHS if code[:length] in _CAUSES), Cause.INTERNAL)
        if isinstance(error, asyncpg.InvalidCachedStatementError):
            return DatabaseUnavailable(cause, name)
        said = " ".join(str(error.args[0]).split())[:200] if code in _POOLERS and error.args else ""
        if _NO_TRANSACTIONS in said:
            cause = Cause.POOLER
        return DatabaseUnavailable(cause, code, said)
    return DatabaseUnavailable(_cause_of(error), name)


def _cause_of(error: Exception) -> Cause:
    """Of an error that the server has given no SQLSTATE."""
    match error:
        case ssl.SSLError():
            return Cause.TLS
        case TimeoutError():
            return Cause.TOO_SLOW
        case asyncpg.TargetServerAttributeNotMatched():
            return Cause.READ_ONLY
        case asyncpg.ClientConfigurationError():
            return Cause.ADDRESS
        case OSError() | asyncpg.InterfaceError() | asyncpg.InternalClientError():
            # InternalClientError is what the driver makes of a server that stops while a statement is prepared.
            return Cause.UNREACHABLE
        case _:
            return Cause.INTERNAL
