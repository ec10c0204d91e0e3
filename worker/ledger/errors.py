"""What goes wrong at the database: the program's own errors, made from the driver's in one place (`driver_errors.py`).

    DatabaseError
    ├── DatabaseUnavailable   the database cannot serve now: wait, with the reason, and try again
    │   └── Again             a race was lost: the transaction is run again from its start
    └── DataRefused           a value of this very statement can never be stored

The driver's list of errors is open, so the rule is the other way round: only what the server says of a value (SQLSTATE
class 22) is the value's fault. Everything else, also what nobody has listed, means that the database cannot serve now.
The driver's own texts are not kept, for they may quote values; only a pooler's are, which has no better code.
"""

from __future__ import annotations

from enum import Enum

from worker.errors import Unavailable, WorkerError

__all__ = ["Again", "Cause", "DataRefused", "DatabaseError", "DatabaseUnavailable", "reason_of"]


class Cause(Enum):
    """Why the database cannot serve: what is the matter, and what an operator can do about it."""

    UNREACHABLE = "PostgreSQL cannot be reached", "start it, or correct DATABASE_URL"
    TOO_SLOW = "PostgreSQL did not answer in time", "look at its load, or at the network"
    STARTING = "PostgreSQL is starting or stopping", "wait, or start it"
    LOGIN = "PostgreSQL refuses the user or the password", "correct DATABASE_URL, or allow the user in pg_hba.conf"
    NO_DATABASE = "the database does not exist", "create it (createdb), or correct DATABASE_URL"
    CLOSED = "the database does not accept connections", "allow them: alter database … allow_connections true"
    PRIVILEGE = "the user of DATABASE_URL lacks a privilege on the ledger", "grant it, or name another user"
    READ_ONLY = "the database is read-only, perhaps a standby", "name the primary in DATABASE_URL"
    SCHEMA = "the ledger's schema does not fit this program", "run `tradovate-worker db upgrade`"
    TAKEN = "the database holds tables of the same names that are no ledger's", "use an empty database"
    BUSY = "the ledger is busy", "try again"
    CONNECTIONS = "PostgreSQL has no free connection", "raise max_connections, or end other programs"
    DISK = "PostgreSQL has no disk space left", "free some on its server, or enlarge its disk"
    RESOURCES = "PostgreSQL has no memory left", "free some on its server, or raise its limits"
    POOLER = "the pooler in front of PostgreSQL refuses", "look into its log; pool_mode: transaction or session"
    ENCODING = "the database's encoding cannot hold every name", "create it with the encoding UTF8"
    TLS = "the TLS connection to PostgreSQL failed", "correct the ssl parameters of DATABASE_URL"
    ADDRESS = "DATABASE_URL cannot be used", "correct it, for example postgresql://user:password@host:5432/name"
    INTERNAL = "PostgreSQL or its driver reports an internal error", "look into PostgreSQL's log"
    CUT = "the connections to the database were closed, because the program stops", "wait"

    @property
    def text(self) -> str:
        """What is the matter."""
        return self.value[0]

    @property
    def fix(self) -> str:
        """What an operator can do about it."""
        return self.value[1]


class DatabaseError(WorkerError):
    """Anything that went wrong at the database. `code`: the SQLSTATE, or the name of the driver's error; `fix`: what
    an operator can do about it.
    """

    def __init__(self, text: str, code: str, fix: str) -> None:
        super().__init__(f"{text} ({code})" if code else text)
        self.code = code
        self.fix = fix

    @property
    def reason(self) -> str:
        """What is the matter, for log and health; it holds no value and no secret."""
        return str(self.args[0])

    @property
    def sentence(self) -> str:
        """The reason and the fix, for an operator."""
        return f"{self.reason[:1].upper()}{self.reason[1:]}: {self.fix}."


class DatabaseUnavailable(DatabaseError, Unavailable):
    """The database cannot serve now: the caller waits, names the reason, and tries again. `said`: a pooler's words."""

    def __init__(self, cause: Cause, code: str = "", said: str = "") -> None:
        super().__init__(f"{cause.text}: {said}" if said else cause.text, code, cause.fix)
        self.cause = cause

    @property
    def passes(self) -> bool:
        """Whether the same transaction may well succeed when it is run again at once."""
        return self.cause is Cause.BUSY or self.code == "InvalidCachedStatementError"


class Again(DatabaseUnavailable):
    """Raised inside `Database.atomically` when another replica wrote what this transaction had counted on."""

    def __init__(self) -> None:
        super().__init__(Cause.BUSY)


class DataRefused(DatabaseError):
    """The server, or the driver, refuses a value of this statement: the same statement is refused whenever it is sent.

    Raised by statements only, never while connecting.
    """

    def __init__(self, code: str) -> None:
        super().__init__("PostgreSQL refuses a value", code, "report it")


def reason_of(error: Exception) -> str:
    """For log and health: a database's reason, or the name of an error of Kafka's."""
    return error.reason if isinstance(error, DatabaseError) else type(error).__name__
