"""The sandbox as a process of its own: print the settings that fit, serve until asked to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, TextIO

from worker.sandbox.config import SandboxConfig
from worker.sandbox.http_app import Sandbox
from worker.sandbox.server import serve, settings_for
from worker.sandbox.switches import with_switches

if TYPE_CHECKING:
    from worker.sandbox.fault_rules import FaultFile

__all__ = ["run_standalone"]


async def run_standalone(host: str, port: int, faults: FaultFile, *, out: TextIO | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `out` (standard output) gets one `NAME=value` line a setting.

    :raises SwitchError: a switch of the faults file that does not exist or cannot take its value.
    :raises OSError: the address cannot be taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    sandbox = Sandbox(with_switches(SandboxConfig(), faults.switches))
    for rule in faults.faults:
        sandbox.core.faults.add(rule)
    running = await serve(sandbox, host, port)
    out = out or sys.stdout
    out.write("".join(f"{name}={value}\n" for name, value in settings_for(running).items()))
    out.flush()
    await stop.wait()
    await running.stop()
