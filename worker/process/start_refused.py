"""Why `run` or `bridge` does not start: an operator has to change something first."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from worker.errors import OperatorError
from worker.ledger import schema

__all__ = ["CannotListen", "SchemaDoesNotFit", "StartRefused", "TopicsNeeded"]


class StartRefused(OperatorError):
    """`run` or `bridge` does not start like this; also a command that needs the same."""


class CannotListen(StartRefused):
    """HTTP cannot be served at HTTP_HOST and HTTP_PORT. `error`: the system's."""

    def __init__(self, port: int, error: OSError) -> None:
        super().__init__(port, error)
        self.port = port
        self.error = error
        self.code = 2 if self.wrong_host else 1

    @property
    def wrong_host(self) -> bool:
        """A host that is not this machine's is a wrong setting; a port may just be taken."""
        return isinstance(self.error, socket.gaierror) or self.error.errno == errno.EADDRNOTAVAIL

    @property
    def sentence(self) -> str:
        """For an operator."""
        why = self.error.strerror
        if self.wrong_host:
            return f"HTTP_HOST is not a name or address of this machine ({why}); 127.0.0.1 or 0.0.0.0 are."
        return f"HTTP_PORT {self.port} cannot be listened on ({why}); set another, or 0."


class SchemaDoesNotFit(StartRefused):
    """The ledger's schema is not one that this program can work with."""

    def __init__(self, status: schema.SchemaStatus) -> None:
        super().__init__(status)
        self.status = status

    @property
    def sentence(self) -> str:
        """For an operator."""
        found = f"release {self.status.found}" if self.status.found else "no tables yet"
        newer = " with the newer program." if self.status.fit is schema.Fit.UNKNOWN else "."
        return (
            f"The ledger's schema has {found}, this program needs {self.status.wanted}:"
            f" run `tradovate-worker db upgrade`{newer}"
        )


class TopicsNeeded(StartRefused):
    """Topics that the program uses do not exist: `topics`, without the prefix."""

    def __init__(self, topics: Sequence[str]) -> None:
        super().__init__(*topics)
        self.topics = tuple(topics)

    @property
    def sentence(self) -> str:
        """For an operator."""
        return f"Topics are missing: {', '.join(self.topics)}. Run `tradovate-worker topics create`."
