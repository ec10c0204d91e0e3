"""A server that several runners of a run use. The process that leads them starts it when the first one asks for it, and
ends it with the run.
"""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

__all__ = ["Keeper", "address_of"]

_ADDRESS_BYTES = 64 * 1024
"""Room for an address, or for what a server said that did not start."""


class _Server(Protocol):
    @property
    def bootstrap_servers(self) -> str: ...

    def close(self) -> None: ...


class Keeper:
    """Keeps a server in the leading process: a runner that ends, in whatever way, takes it from no other runner.

    `start` is called once at most, when the first runner asks at `place`.
    """

    def __init__(self, start: Callable[[], _Server]) -> None:
        self._start = start
        self._home = tempfile.TemporaryDirectory(prefix="tradovate-shared-")
        self.place = f"{self._home.name}/socket"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.place)
        self._listener.listen()
        # One thread for all of the run: what a thread has started ends with it (see `processes`).
        self._thread = threading.Thread(target=self._serve, name="keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the server, if there is one."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self._home.cleanup()

    def _serve(self) -> None:
        server: _Server | None = None
        failure = ""
        while True:
            try:
                asking, _ = self._listener.accept()
            except OSError:  # closed
                break
            with asking:
                if server is None and not failure:
                    try:
                        server = self._start()
                    except Exception as error:  # noqa: BLE001, each runner that asks gets it
                        failure = f"{type(error).__name__}: {error}"
                said = f"no {failure}" if server is None else f"at {server.bootstrap_servers}"
                with suppress(BrokenPipeError):  # a runner that was killed meanwhile
                    asking.sendall(said.encode())
        if server is not None:
            server.close()


def address_of(place: str) -> str:
    """The address of the server that is kept there. Raises `RuntimeError` when it did not start."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(place)
        said = asking.makefile("r").read(_ADDRESS_BYTES)
    found, _, text = said.partition(" ")
    if found != "at":
        raise RuntimeError(text or "the leading process has ended")
    return text
