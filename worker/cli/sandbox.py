"""`sandbox`: the simulated partner alone."""

from __future__ import annotations

import asyncio
import errno
import shlex
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from worker._interrupt import INTERRUPTED
from worker.cli._app import example, group
from worker.cli._errors import FAILED, WRONG_USAGE, CommandRefused, FileUnusable, FileUse
from worker.errors import SandboxError, quoted
from worker.sandbox import (
    FaultFile,
    Sandbox,
    SandboxConfig,
    read_faults,
    serve,
    settings_for,
    with_switches,
)

app = group()


class FaultsRefused(CommandRefused):
    """The file of `--faults` has a wrong switch or rule."""

    code = WRONG_USAGE

    def __init__(self, error: SandboxError) -> None:
        super().__init__(error)
        self.error = error

    @property
    def sentence(self) -> str:
        """With what is wrong in it."""
        return f"--faults: {self.error.sentence}; correct the file."


class AddressRefused(CommandRefused):
    """The sandbox cannot listen at `--host` and `--port`."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(host, port, error)
        self.host = host
        self.port = port
        self.error = error
        self.wrong_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        self.code = WRONG_USAGE if self.wrong_host else FAILED

    @property
    def sentence(self) -> str:
        """With the system's reason."""
        why = self.error.strerror
        if self.wrong_host:
            return f"--host {quoted(self.host)} is not a name or address of this machine ({why}); 127.0.0.1 is."
        return f"{self.host}:{self.port} cannot be listened on ({why}): take another --port, or 0."


@app.command(
    epilog=example(
        "tradovate-worker sandbox --port 8765 > sandbox.env",
        "tradovate-worker sandbox --port 0 --faults faults.toml",
    )
)
def sandbox(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8765,
    faults: Annotated[
        Path | None, typer.Option("--faults", metavar="FILE", help="Switches and fault rules, TOML or JSON.")
    ] = None,
) -> int:
    """Serve the simulated Tradovate until SIGTERM or Ctrl-C.

    Prints the settings that make a worker use it, one NAME=value a line, fit for a .env file or `export`. It forgets
    everything when it ends. What it did is shown under /control/state.
    """
    partner = _furnished(_read(faults))
    return asyncio.run(_serve(partner, host, port))


def _read(path: Path | None) -> FaultFile:
    if path is None:
        return FaultFile([], {})
    try:
        return read_faults(path)
    except OSError as error:
        raise FileUnusable(path, error, FileUse.FAULTS) from None
    except SandboxError as error:
        raise FaultsRefused(error) from None


def _furnished(file: FaultFile) -> Sandbox:
    try:
        partner = Sandbox(with_switches(SandboxConfig(), file.switches))
        for rule in file.faults:
            partner.core.faults.add(rule)
    except SandboxError as error:
        raise FaultsRefused(error) from None
    return partner


async def _serve(partner: Sandbox, host: str, port: int) -> int:
    stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(code: int) -> None:
        if not stop.done():
            stop.set_result(code)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end, 0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, end, INTERRUPTED)
    try:
        running = await serve(partner, host, port)
    except OSError as error:
        raise AddressRefused(host, port, error) from None
    for name, value in settings_for(running).items():
        print(f"{name}={shlex.quote(value)}")
    sys.stdout.flush()
    code = await stop
    await running.stop()
    return code
