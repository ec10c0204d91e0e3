"""What the driver's errors mean: only a value that can never be stored is the fault of a statement."""

from __future__ import annotations

import asyncio
import ssl

import asyncpg
import pytest
from asyncpg import exceptions

from worker.ledger.driver_errors import of_driver
from worker.ledger.errors import Again, Cause, DatabaseError, DatabaseUnavailable, DataRefused

SECRET = "cust-77 jane@example.com hunter2"

DRIVERS = [
    error
    for error in vars(exceptions).values()
    if isinstance(error, type) and issubclass(error, Exception) and not issubclass(error, Warning)
]
"""Every error that the driver can raise, also those that we have not thought of."""

_OTHERS = [OSError, TimeoutError, ConnectionResetError, ssl.SSLError, asyncio.InvalidStateError, AssertionError]


@pytest.mark.parametrize("kind", [*DRIVERS, *_OTHERS], ids=lambda kind: kind.__name__)
def test_every_error_is_one_of_ours(kind: type[Exception]) -> None:
    """Every error of the driver means to wait, but for those that the server says of a value; none shows its text."""
    found = of_driver(kind(SECRET))
    of_value = getattr(kind, "sqlstate", None) is not None and kind.sqlstate.startswith("22")  # type: ignore[attr-defined]
    assert isinstance(found, DataRefused if of_value else DatabaseUnavailable)
    for word in SECRET.split() if getattr(kind, "sqlstate", None) not in ("08P01", "08003") else ():  # a pooler's
        assert word not in found.sentence


def test_no_error_while_connecting_is_a_values() -> None:
    """Before a statement was sent, nothing can be wrong with its values."""
    assert isinstance(of_driver(asyncpg.InvalidParameterValueError("x"), connecting=True), DatabaseUnavailable)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (asyncpg.InvalidAuthorizationSpecificationError("role is not permitted to log in"), Cause.LOGIN),
        (asyncpg.InvalidPasswordError("x"), Cause.LOGIN),
        (asyncpg.InsufficientPrivilegeError("x"), Cause.PRIVILEGE),
        (asyncpg.ObjectNotInPrerequisiteStateError("not currently accepting connections"), Cause.CLOSED),
        (asyncpg.InvalidCachedStatementError("x"), Cause.SCHEMA),
        (asyncpg.UndefinedColumnError("x"), Cause.SCHEMA),
        (asyncpg.NotNullViolationError("x"), Cause.SCHEMA),
        (asyncpg.InternalServerError("x"), Cause.INTERNAL),
        (asyncpg.InternalClientError("x"), Cause.UNREACHABLE),
        (asyncpg.ReadOnlySQLTransactionError("x"), Cause.READ_ONLY),
        (asyncpg.InvalidSQLStatementNameError("x"), Cause.POOLER),
        (asyncpg.TooManyConnectionsError("x"), Cause.CONNECTIONS),
        (asyncpg.DiskFullError("x"), Cause.DISK),
        (asyncpg.OutOfMemoryError("x"), Cause.RESOURCES),
        (asyncpg.DeadlockDetectedError("x"), Cause.BUSY),
        (TimeoutError(), Cause.TOO_SLOW),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_each_kind_names_its_cause(error: Exception, cause: Cause) -> None:
    """An operator reads what is the matter and what to do, not the driver's word for it."""
    found = of_driver(error)
    assert isinstance(found, DatabaseUnavailable)
    assert (found.cause, found.fix) == (cause, cause.fix)


def test_what_passes_is_run_again_at_once() -> None:
    """A race and a stale plan end when the transaction is run again; no other error does."""
    stale = of_driver(asyncpg.InvalidCachedStatementError("x"))
    passing = [Again(), of_driver(asyncpg.DeadlockDetectedError("x")), stale]
    assert all(isinstance(error, DatabaseUnavailable) and error.passes for error in passing)
    assert not DatabaseUnavailable(Cause.SCHEMA, "42703").passes
    assert all(issubclass(kind, DatabaseError) for kind in (Again, DataRefused, DatabaseUnavailable))
